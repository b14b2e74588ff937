"""Cityscapes: 19 classes, by its label ids or by its train ids.

Classes, colours and the ids of both kinds as in cityscapesScripts (``helpers/labels.py``), folders and file names as
in ``leftImg8bit_trainvaltest.zip`` and ``gtFine_trainvaltest.zip``. The latter has label ids, ``_gtFine_labelIds.png``.
The scripts' ``createTrainIdLabelImgs.py`` writes ``_gtFine_labelTrainIds.png`` beside them, which mmsegmentation reads.
Scores are the same by either.
"""

from __future__ import annotations

from dataclasses import replace

from pspfast.datasets.dataset import DataSet, named_colours

__all__ = ["CITYSCAPES", "CITYSCAPES_TRAIN_IDS"]

_CLASSES, _COLOURS = named_colours("""
804080 road
f423e8 sidewalk
464646 building
66669c wall
be9999 fence
999999 pole
faaa1e traffic light
dcdc00 traffic sign
6b8e23 vegetation
98fb98 terrain
4682b4 sky
dc143c person
ff0000 rider
00008e car
000046 truck
003c64 bus
005064 train
0000e6 motorcycle
770b20 bicycle
""")

# Label ids that do not count: void, and kinds that are too rare (parking, rail track, bridge, caravan, ...).
_CLASS_OF_ID = {
    0: 255, 1: 255, 2: 255, 3: 255, 4: 255, 5: 255, 6: 255, 9: 255, 10: 255, 14: 255, 15: 255,
    16: 255, 18: 255, 29: 255, 30: 255,
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10,
    24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18,
}  # fmt: skip

CITYSCAPES = DataSet(
    name="cityscapes",
    title="Cityscapes",
    classes=_CLASSES,
    palette=_COLOURS,
    label_map=_CLASS_OF_ID,
    picture_folder="leftImg8bit/{split}",
    label_folder="gtFine/{split}",
    picture_suffix="_leftImg8bit.png",
    label_suffix="_gtFine_labelIds.png",
    nested=True,
    splits={"val": "val", "train": "train", "test": "test"},
)
"""Root: the folder with ``leftImg8bit`` and ``gtFine``; an id is ``frankfurt/frankfurt_000000_000294``."""

CITYSCAPES_TRAIN_IDS = replace(
    CITYSCAPES, name="cityscapes-train-ids", label_map={}, label_suffix="_gtFine_labelTrainIds.png"
)
"""The same by the labels that ``createTrainIdLabelImgs.py`` writes."""
