"""What ``pspfast run`` leaves in its folder, by name; commands that take a ledger or a result take the folder, too."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pspfast.formats.result import Result

__all__ = ["LEDGER", "RECORD", "RESULT", "ledger_in", "read_with", "result_in", "rules_of"]

LEDGER, RESULT, RECORD = "ledger.jsonl", "result.json", "run.json"
"""Pixels counted picture by picture, finished scores, and how the run went."""


def ledger_in(path: str | os.PathLike[str]) -> str:
    """The ledger that a path means: the file itself, or the one in a run's folder.

    Raises:
        FileNotFoundError: a folder without a ledger.

    Example:
        >>> ledger_in("om.ledger")
        'om.ledger'
    """
    path = os.fspath(path)
    if not os.path.isdir(path):
        return path
    ledger = os.path.join(path, LEDGER)
    if not os.path.exists(ledger):
        raise FileNotFoundError(
            None, f"no {LEDGER} in this folder; give the folder of a run with scores, or a ledger", path
        )
    return ledger


def result_in(path: str | os.PathLike[str]) -> str:
    """The finished scores that a path means, if it is a run's folder that has them; else the empty text."""
    result = os.path.join(path, RESULT)
    return result if os.path.isfile(result) else ""


def read_with(path: str | os.PathLike[str]) -> list[str]:
    """The path, and the files in it that are read where it is a run's folder: what no output may replace."""
    path = os.fspath(path)
    return [path, *(os.path.join(path, name) for name in (LEDGER, RESULT, RECORD) if os.path.isdir(path))]


def rules_of(result: Result) -> dict[str, Any]:
    """The rules about labels that a result was made by: its ledger has to be scored by them again."""
    source = dict(result.source)
    changes = source.get("label_map") or {}
    return {
        "label_map": {int(old): new for old, new in changes.items()},
        "reduce_zero_label": bool(source.get("reduce_zero_label")),
    }
