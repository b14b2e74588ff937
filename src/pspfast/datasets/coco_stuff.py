"""COCO-Stuff 164k: 171 classes, by its own ids or by mmsegmentation's train ids.

``stuffthingmaps_trainval2017.zip`` has ``000000000139.png`` with category ids less one, 0 to 181, and 255 for what has
no label; eleven of these ids are of things that COCO never labelled. mmsegmentation's converter
(``coco_stuff164k.py``) writes ``000000000139_labelTrainIds.png`` beside them, with 0 to 170 and 255. Names, colours and
the numbers of either kind are those of mmsegmentation 1.2.2, and so are the folders: the labels are in ``annotations``.
"""

from __future__ import annotations

from dataclasses import replace

from pspfast.datasets.dataset import DataSet, named_colours

__all__ = ["COCO_STUFF", "COCO_STUFF_TRAIN_IDS"]

_CLASSES, _COLOURS = named_colours("""
00c040 person
00c040 bicycle
004060 car
80c0c0 motorcycle
004040 airplane
00c0e0 bus
00c0c0 train
80c040 truck
00c060 boat
80c040 traffic light
8020c0 fire hydrant
0000e0 stop sign
000040 parking meter
00a0c0 bench
800060 bird
8000c0 cat
0020c0 dog
8080e0 horse
0000c0 sheep
80a0c0 cow
808000 elephant
800020 bear
802000 zebra
800080 giraffe
408020 backpack
00a000 umbrella
000000 handbag
c080a0 tie
002000 suitcase
008080 frisbee
4080a0 skis
80a000 snowboard
008000 sports ball
c08020 kite
806080 baseball bat
000080 baseball glove
400020 skateboard
00e080 surfboard
800000 tennis racket
c000a0 bottle
006080 wine glass
808080 cup
4000a0 fork
80e080 knife
808040 spoon
c00020 bowl
806000 banana
8000c0 apple
008020 sandwich
40e000 orange
000040 broccoli
8080a0 carrot
406000 hot dog
0080c0 pizza
0080a0 donut
c0e000 cake
008040 chair
808020 couch
c02080 potted plant
0040c0 bed
000020 dining table
40a080 toilet
804040 tv
8000a0 laptop
402080 mouse
80c0c0 remote
0000a0 keyboard
c0a080 cell phone
80c000 microwave
800060 oven
c02000 toaster
804080 sink
408060 refrigerator
40a000 book
004000 clock
c080e0 vase
402000 scissors
00c080 teddy bear
4080e0 hair drier
c0a000 toothbrush
00c000 banner
c08060 blanket
c06080 branch
004080 bridge
400060 building-other
40e080 bush
804000 cabinet
c000e0 cage
406080 cardboard
80c080 carpet
4000e0 ceiling-other
c0e080 ceiling-tile
80c040 cloth
c00060 clothes
c06000 clouds
8040c0 counter
008060 cupboard
00e000 curtain
404040 desk-stuff
8080e0 dirt
006000 door-stuff
40c0c0 fence
0080e0 floor-marble
80e000 floor-other
40c040 floor-stone
808060 floor-tile
802080 floor-wood
4000c0 flower
004060 fog
00a080 food-other
c00040 fruit
8040e0 furniture-other
002080 grass
c080c0 gravel
0040e0 ground-other
80a080 hill
c08000 house
804020 leaves
802040 light
c00080 mat
40c020 metal
00a040 mirror-stuff
400000 moss
c0c0a0 mountain
002040 mud
408080 napkin
40c0a0 net
80a040 paper
408000 pavement
c0c020 pillow
8060c0 plant-other
400080 plastic
404020 platform
00e0c0 playingfield
c00000 railing
c040a0 railroad
0060c0 river
c08080 road
4040a0 rock
80e0c0 roof
c08040 rug
c04020 salad
806040 sand
c000c0 sea
00c020 shelf
40e040 sky-other
400040 skyscraper
80c0a0 snow
406040 solid-other
4080c0 stairs
00c0a0 stone
c0e040 straw
408040 structural-other
80c020 table
c020c0 tent
4040c0 textile-other
004020 towel
40a0c0 tree
c04040 vegetable
8040a0 wall-brick
4020c0 wall-concrete
c0c0c0 wall-other
0040a0 wall-panel
c0a0c0 wall-stone
c0c000 wall-tile
804060 wall-wood
c02040 water-other
c04080 waterdrops
40c060 window-blind
40a040 window-other
404000 wood
""")

# In the files -> class; those that become 255 occur in no picture.
_CLASS_OF_ID = {
    11: 255, 25: 255, 28: 255, 29: 255, 44: 255, 65: 255, 67: 255, 68: 255, 70: 255, 82: 255, 90: 255,
    0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9, 10: 10,
    12: 11, 13: 12, 14: 13, 15: 14, 16: 15, 17: 16, 18: 17, 19: 18, 20: 19, 21: 20, 22: 21,
    23: 22, 24: 23, 26: 24, 27: 25, 30: 26, 31: 27, 32: 28, 33: 29, 34: 30, 35: 31, 36: 32,
    37: 33, 38: 34, 39: 35, 40: 36, 41: 37, 42: 38, 43: 39, 45: 40, 46: 41, 47: 42, 48: 43,
    49: 44, 50: 45, 51: 46, 52: 47, 53: 48, 54: 49, 55: 50, 56: 51, 57: 52, 58: 53, 59: 54,
    60: 55, 61: 56, 62: 57, 63: 58, 64: 59, 66: 60, 69: 61, 71: 62, 72: 63, 73: 64, 74: 65,
    75: 66, 76: 67, 77: 68, 78: 69, 79: 70, 80: 71, 81: 72, 83: 73, 84: 74, 85: 75, 86: 76,
    87: 77, 88: 78, 89: 79, 91: 80, 92: 81, 93: 82, 94: 83, 95: 84, 96: 85, 97: 86, 98: 87,
    99: 88, 100: 89, 101: 90, 102: 91, 103: 92, 104: 93, 105: 94, 106: 95, 107: 96, 108: 97, 109: 98,
    110: 99, 111: 100, 112: 101, 113: 102, 114: 103, 115: 104, 116: 105, 117: 106, 118: 107, 119: 108, 120: 109,
    121: 110, 122: 111, 123: 112, 124: 113, 125: 114, 126: 115, 127: 116, 128: 117, 129: 118, 130: 119, 131: 120,
    132: 121, 133: 122, 134: 123, 135: 124, 136: 125, 137: 126, 138: 127, 139: 128, 140: 129, 141: 130, 142: 131,
    143: 132, 144: 133, 145: 134, 146: 135, 147: 136, 148: 137, 149: 138, 150: 139, 151: 140, 152: 141, 153: 142,
    154: 143, 155: 144, 156: 145, 157: 146, 158: 147, 159: 148, 160: 149, 161: 150, 162: 151, 163: 152, 164: 153,
    165: 154, 166: 155, 167: 156, 168: 157, 169: 158, 170: 159, 171: 160, 172: 161, 173: 162, 174: 163, 175: 164,
    176: 165, 177: 166, 178: 167, 179: 168, 180: 169, 181: 170,
}  # fmt: skip

COCO_STUFF = DataSet(
    name="coco-stuff164k",
    title="COCO-Stuff 164k",
    classes=_CLASSES,
    palette=_COLOURS,
    label_map=_CLASS_OF_ID,
    picture_folder="images/{split}",
    label_folder="annotations/{split}",
    other_suffixes=("_labelTrainIds.png",),
    splits={"val": "val2017", "train": "train2017"},
)
"""Root: the folder with ``images`` and ``annotations``."""

COCO_STUFF_TRAIN_IDS = replace(
    COCO_STUFF,
    name="coco-stuff164k-train-ids",
    label_map={},
    label_suffix="_labelTrainIds.png",
    other_suffixes=(),
)
"""The same by the labels that mmsegmentation's converter writes."""
