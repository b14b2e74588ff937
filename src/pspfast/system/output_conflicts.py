"""Outputs that must not replace what is read, or each other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


__all__ = ["check_outputs"]


def check_outputs(outputs: Iterable[str | None], inputs: Iterable[str]) -> None:
    """Raise ValueError for an output that would replace an input, or another output."""
    taken = {os.path.realpath(path): "is what this command reads" for path in inputs}
    for path in outputs:
        if path is None or path.startswith("/dev/"):
            continue
        real = os.path.realpath(path)
        if real in taken:
            raise ValueError(f"{path} {taken[real]}; choose another file for the output")
        taken[real] = "cannot be two outputs at once"
