"""Data sets: what their labels mean, where pictures live, and which of them a split names."""

from __future__ import annotations

from pspfast.datasets.colours import palette
from pspfast.datasets.dataset import DataSet
from pspfast.datasets.label_suffixes import labels_of_another_suffix, no_labels, with_label_suffix
from pspfast.datasets.layout import (
    Places,
    find_labels,
    find_picture,
    label_folder_beside,
    labels_in,
    pictures_in,
    places,
)
from pspfast.datasets.registry import DATASETS, data_set
from pspfast.datasets.splits import Split, read_classes, read_split
from pspfast.datasets.voc import VOC

__all__ = [
    "DATASETS",
    "VOC",
    "DataSet",
    "Places",
    "Split",
    "data_set",
    "find_labels",
    "find_picture",
    "label_folder_beside",
    "labels_in",
    "labels_of_another_suffix",
    "no_labels",
    "palette",
    "pictures_in",
    "places",
    "read_classes",
    "read_split",
    "with_label_suffix",
]
