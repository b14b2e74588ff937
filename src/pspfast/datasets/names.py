"""Which pictures a split or a folder names, and which of them are used."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pspfast.datasets import read_split
from pspfast.system.files import stem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pspfast.datasets import Split

__all__ = ["Failure", "names_of_split", "names_to_use", "placed_stem", "remarks_on"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that is left out, and why."""

    name: str
    reason: str


def names_of_split(split: str | os.PathLike[str]) -> tuple[list[str], list[Failure]]:
    """Ids that a split names, each once, and its further mentions of them.

    Raises:
        OSError: the split cannot be read.
        ValueError: it names nothing, or is not text.
    """
    named = read_split(split)
    return list(named.ids), remarks_on(named, os.fspath(split))


def remarks_on(named: Split, path: str) -> list[Failure]:
    """What is to be said of the ids that a split names again; the first mention counts."""
    return [
        Failure(name, f"{path}, line {line}: {name!r} is named again (first on line {first}), used once")
        for name, line, first in named.repeated
    ]


def placed_stem(name: str) -> str:
    """A picture's name up to its first dot, in the folder that it is in: outputs that lie as the pictures do.

    Example:
        >>> placed_stem("beach/2.day/img_1.jpg"), placed_stem("img_1.jpg")
        ('beach/2.day/img_1', 'img_1')
    """
    folder = os.path.dirname(name)
    return f"{folder}/{stem(name)}" if folder and stem(name) else stem(name)


def names_to_use(candidates: Iterable[str], key_of: Callable[[str], str] = stem) -> tuple[list[str], list[Failure]]:
    """Ids to use, in order, and those that cannot be because of another one, or because of what they are.

    Args:
        candidates: ids.
        key_of: what the outputs of a picture are named by.
    """
    failures: list[Failure] = []
    names: list[str] = []
    owner: dict[str, str] = {}
    for name in candidates:
        key = key_of(name)
        if not _can_be_a_file(name):
            failures.append(Failure(name, f"{name!r} cannot be the name of a file here"))
        elif not key:
            failures.append(Failure(name, f"{name!r} has nothing before its first dot to name a bin by"))
        elif key in owner:
            failures.append(Failure(name, f"{name!r} would have the same bin {key}.bin as {owner[key]!r}, not used"))
        else:
            owner[key] = name
            names.append(name)
    return names, failures


def _can_be_a_file(name: str) -> bool:
    try:
        return "\0" not in name and bool(os.fsencode(name))
    except UnicodeEncodeError:
        return False
