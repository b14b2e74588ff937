"""The record of a data set: what its labels mean, and where its files are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pspfast.datasets.colours import palette

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DataSet", "named_colours"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """What the labels of a data set mean, and where its pictures and labels are.

    A picture's id is its path in the folder of pictures without ``picture_suffix``; its labels have the same id and
    ``label_suffix`` in the folder of labels.

    Attributes:
        name: as ``--dataset`` takes it.
        title: as its authors call it.
        classes: names, by class index.
        palette: red, green and blue of each class, a byte each.
        ignore_index: label of pixels that do not count, after the two rules below; ``None`` for none.
        label_map: class of each label in the files, of those that change; see :class:`pspfast.ConfusionMatrix`.
        reduce_zero_label: whether label 0 in the files means nothing and 1 is class 0.
        picture_folder, label_folder: in the root; ``{split}`` is the folder of a split.
        picture_suffix: what every picture's file name ends in; empty if any picture's extension will do.
        label_suffix: what every label picture's file name ends in.
        other_suffixes: what the names of other pictures in the folder of labels end in.
        nested: whether pictures and labels are in folders of these folders.
        splits: name of each split -> what stands for ``{split}``; the first one is taken if none is named.
        split_file: list of the ids of a split, in the root; empty if a split is everything in its folders.
        class_file: list of the classes, in the root, where these are not known beforehand; else empty.

    Example:
        >>> data_set = DataSet(name="yard", title="Back yard", classes=("lawn", "shed"), palette=bytes(6))
        >>> data_set.with_classes(("lawn",)).classes
        ('lawn',)
    """

    name: str
    title: str
    classes: tuple[str, ...]
    palette: bytes = field(repr=False)
    ignore_index: int | None = 255
    label_map: Mapping[int, int] = field(default_factory=dict, hash=False)
    reduce_zero_label: bool = False
    picture_folder: str = "images"
    label_folder: str = "labels"
    picture_suffix: str = ""
    label_suffix: str = ".png"
    other_suffixes: tuple[str, ...] = ()
    nested: bool = False
    splits: Mapping[str, str] = field(default_factory=dict, hash=False)
    split_file: str = ""
    class_file: str = ""

    def __post_init__(self) -> None:
        if len(self.palette) != 3 * len(self.classes):
            raise ValueError(f"{self.name}: {len(self.classes)} classes and {len(self.palette)} bytes of colours")

    def with_classes(self, classes: tuple[str, ...]) -> DataSet:
        """The same with other class names; they keep the colours of their indices."""
        return replace(self, classes=classes, palette=self._colours(len(classes)))

    def mask_palette(self) -> bytes:
        """256 colours, for PNGs of classes: its own, then VOC's, of which the last one means "no class"."""
        return self._colours(256)

    def _colours(self, count: int) -> bytes:
        return (self.palette + palette(count)[len(self.palette) :])[: 3 * count]

    def id_of(self, picture: str) -> str:
        """A picture's id, of its id or of its file's path in the folder of pictures."""
        return picture.removesuffix(self.picture_suffix)


def named_colours(table: str) -> tuple[tuple[str, ...], bytes]:
    """Names and colours of a table with a line ``rrggbb name`` for each class.

    Example:
        >>> named_colours("804080 road" + chr(10) + "f423e8 side walk")
        (('road', 'side walk'), b'\\x80@\\x80\\xf4#\\xe8')
    """
    lines = [line.split(maxsplit=1) for line in table.strip().splitlines()]
    return tuple(name.strip() for _, name in lines), bytes.fromhex("".join(colour for colour, _ in lines))
