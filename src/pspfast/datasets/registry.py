"""Data sets by name; a table is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from pspfast.datasets.dataset import DataSet

__all__ = ["DATASETS", "data_set"]

# Name -> the module that has it, and what it is called there.
_HOME = {
    "voc": ("voc", "VOC"),
    "ade20k": ("ade20k", "ADE20K"),
    "cityscapes": ("cityscapes", "CITYSCAPES"),
    "cityscapes-train-ids": ("cityscapes", "CITYSCAPES_TRAIN_IDS"),
    "coco-stuff164k": ("coco_stuff", "COCO_STUFF"),
    "coco-stuff164k-train-ids": ("coco_stuff", "COCO_STUFF_TRAIN_IDS"),
    "folder": ("plain_folder", "FOLDER"),
}


class _DataSets(Mapping[str, DataSet]):
    def __getitem__(self, name: str) -> DataSet:
        module, variable = _HOME[name]
        found: DataSet = getattr(import_module(f"pspfast.datasets.{module}"), variable)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(_HOME)

    def __len__(self) -> int:
        return len(_HOME)


DATASETS: Mapping[str, DataSet] = _DataSets()
"""Every data set that is known, by name."""


def data_set(name: str) -> DataSet:
    """A data set by its name; capitals do not matter, and ``_`` may stand for ``-``.

    Raises:
        ValueError: there is none of this name; the text lists the names.

    Example:
        >>> data_set("Cityscapes").label_map[26], data_set("cityscapes").classes[13]
        (13, 'car')
    """
    known = name.lower().replace("_", "-")
    if known not in DATASETS:
        raise ValueError(f"no data set is called {name!r}; there are {', '.join(DATASETS)}")
    return DATASETS[known]
