"""What options take that is a path, or may be one: what a path in ``pspfast.toml`` is meant from."""

from __future__ import annotations

import os

import click

__all__ = ["NameOrPath", "NamedPath", "path_from"]


def path_from(folder: str, path: str) -> str:
    """A path as it stands in a file of settings, from the file's folder; ``~`` is the home folder, as in a shell.

    Raises:
        ValueError: ``~somebody`` who has no home here.

    Example:
        >>> path_from("/data", "voc/val.txt")
        '/data/voc/val.txt'
    """
    whole = os.path.expanduser(path)
    if whole.startswith("~"):
        raise ValueError(f"{path}: nobody here has this home folder; ./{path} is a file of this name")
    return os.path.join(folder, whole) if whole else ""


class NameOrPath(click.Path):
    """A path, or something else by its name: a split of the data set, a known checkpoint, a URL."""

    def from_folder(self, folder: str, value: str) -> str:
        """A value of a file of settings in a folder: a path from there, or the name that it is.

        It is a path if it has a folder or an extension in it, or if there is such a file. Names have neither, but those
        of configs may end in ``.py``.
        """
        if "://" in value:
            return value
        path = path_from(folder, value)
        is_path = os.sep in value or value.startswith("~") or os.path.splitext(value)[1] not in ("", ".py")
        return path if is_path or os.path.exists(path) else value


class NamedPath(click.Path):
    """``FILE``, or ``NAME=FILE``."""

    def from_folder(self, folder: str, value: str) -> str:
        """A value of a file of settings in a folder, with its path from there."""
        name, equals, path = value.partition("=")
        whole = path_from(folder, value)
        return whole if not equals or os.path.exists(whole) else f"{name}={path_from(folder, path)}"
