"""PASCAL VOC 2012, segmentation.

Names, order, folders and colours as in its development kit; 255 is the border of objects and what is too hard to tell.
"""

from __future__ import annotations

from pspfast.datasets.dataset import DataSet, named_colours

__all__ = ["VOC"]

_CLASSES, _COLOURS = named_colours("""
000000 background
800000 aeroplane
008000 bicycle
808000 bird
000080 boat
800080 bottle
008080 bus
808080 car
400000 cat
c00000 chair
408000 cow
c08000 diningtable
400080 dog
c00080 horse
408080 motorbike
c08080 person
004000 pottedplant
804000 sheep
00c000 sofa
80c000 train
004080 tvmonitor
""")

VOC = DataSet(
    name="voc",
    title="PASCAL VOC 2012",
    classes=_CLASSES,
    palette=_COLOURS,
    picture_folder="JPEGImages",
    label_folder="SegmentationClass",
    splits={"val": "val", "train": "train", "trainval": "trainval"},
    split_file="ImageSets/Segmentation/{split}.txt",
)
"""Root: ``VOCdevkit/VOC2012``."""
