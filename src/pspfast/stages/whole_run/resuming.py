"""What a run may keep of an earlier one: its lock, and the state in which it found its pictures."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pspfast
from pspfast.formats.run_folder import LEDGER
from pspfast.stages.counting import Rules
from pspfast.stages.whole_run.own_outputs import (
    EXAMPLES,
    remove_dumps,
    remove_leftovers_of_run,
    remove_pictures,
    remove_scores,
)
from pspfast.system.files import remove, write_whole
from pspfast.system.locks import FolderBusyError, held

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pspfast.datasets.sources import Item, Source
    from pspfast.stages.model_input import ModelInput

__all__ = ["ResumeState", "follows_from", "locked"]

_STATE, _LOCK = ".run.plan", ".run.lock"


class ResumeState:
    """What a run's outputs follow from, and in which state it found its pictures: what a later one goes by.

    It is written before the first picture is done, and after pictures that have changed since were dropped from the
    ledger: a picture that is in the ledger was in this state when it was counted.
    """

    def __init__(self, folder: Path, source: Source, follows_from: dict[str, Any]) -> None:
        self._folder, self._source, self._follows_from = folder, source, follows_from
        self._path = str(folder / _STATE)
        self._before: frozenset[str] = frozenset()  # pictures of an earlier run of the same kind

    def state(self, item: Item) -> list[Any]:
        """Of a picture, as it stands in the file."""
        trees = (self._source.pictures, self._source.labels)
        files = [tree.shown(one) for tree, one in zip(trees, (item.picture, item.labels), strict=True) if tree]
        return [item.id, *files, *item.state]

    def earlier(self) -> dict[str, list[Any]]:
        """States of the pictures when an earlier run of the same kind began.

        Raises:
            ValueError: it was one of another kind.
        """
        try:
            with open(self._path, encoding="utf-8") as file:
                found = json.load(file)
            follows_from, pictures = found["follows_from"], dict(found["pictures"])
        except FileNotFoundError:
            if os.path.exists(self._folder / LEDGER):
                raise ValueError(
                    f"{self._folder} has a {LEDGER} that is of no run; choose another folder (--output), or start over "
                    "(--no-resume)"
                ) from None
            return {}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}  # half a plan: nothing was done by it
        if follows_from != self._follows_from:
            names = sorted(follows_from.keys() | self._follows_from.keys())
            changed = [key for key in names if follows_from.get(key) != self._follows_from.get(key)]
            what = "; ".join(
                f"{key} {_short(follows_from.get(key))}, now {_short(self._follows_from.get(key))}"
                for key in changed[:3]
            )
            raise ValueError(
                f"{self._folder} has a run of another kind ({what}); choose another folder (--output), or start over "
                "(--no-resume)"
            )
        self._before = frozenset(pictures)
        return pictures

    def forget(self) -> None:
        """Remove what an earlier run left, of whatever model: what it says of pictures, and the pictures it made.

        Raises:
            OutputError: something cannot be removed.
        """
        try:
            with open(self._path, encoding="utf-8") as file:
                earlier = list(map(str, json.load(file)["pictures"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            earlier = []  # no plan, or half of one: nothing was done by it
        remove(self._path)
        remove_scores(self._folder, with_ledger=True)
        remove_pictures(self._folder, {*earlier, *(item.name for item in self._source.items)})
        remove_dumps(self._folder)

    def begin(self, kept: set[str]) -> None:
        """Write it, and remove what says more than is there: all scores, and what was made of others than ``kept``.

        Raises:
            OutputError: it cannot be written, or something not removed.
        """
        states = {item.name: self.state(item) for item in self._source.items}
        write_whole(self._path, json.dumps({"follows_from": self._follows_from, "pictures": states}).encode())
        if not (self._before == states.keys() == set(kept)):
            remove_scores(self._folder, with_ledger=False)
            remove_pictures(self._folder, states.keys() - kept)
            remove_pictures(self._folder, self._before - states.keys(), (EXAMPLES,))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def follows_from(sha256: str, of_runtime: dict[str, Any], model_input: ModelInput, rules: Rules) -> dict[str, Any]:
    """What every output of a run follows from: a run goes on with an earlier one only if all of it is the same."""
    subject = rules.subject
    found = {
        "pspfast": pspfast.__version__,
        "model": sha256,
        **of_runtime,
        "input": model_input.letterbox.dtype,
        **model_input.parameters,
        "classes": list(subject.classes),
        "ignore_index": subject.ignore_index,
        "geometry": subject.geometry,
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))  # as it comes back out of a file
    return plain


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder, for this run alone."""
    with held(str(folder / _LOCK), FolderBusyError(str(folder))):
        remove_leftovers_of_run(folder)
        yield
