"""A folder of pictures and one of label pictures, with a list of the classes."""

from __future__ import annotations

from pspfast.datasets.dataset import DataSet

__all__ = ["FOLDER"]

FOLDER = DataSet(
    name="folder",
    title="a folder of pictures and one of labels",
    classes=(),
    palette=b"",
    picture_folder="images",
    label_folder="labels",
    nested=True,
    class_file="classes.txt",
)
"""Root, if they are in one: ``images``, ``labels`` and ``classes.txt``, a name a line. Colours are VOC's."""
