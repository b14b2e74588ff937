"""Progress as a bar at the bottom of the terminal."""

from __future__ import annotations

from typing import Any

__all__ = ["ProgressBar"]


class ProgressBar:
    """Draws how far something is; what :class:`pspfast.system.terminal.Progress` shows itself by.

    Args:
        what: noun of the things counted, in the plural.
        total: how many there are.
        already: how many of them were done before.
    """

    def __init__(self, what: str, total: int, already: int) -> None:
        # Imported here: rich costs more time than a hundred pictures.
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: Any) -> Text:
                return Text(f"{task.finished_speed or task.speed or 0:.0f} {what}/s")

        self._bar = RichProgress(
            TextColumn(what),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task(what, total=total, completed=already, note="")

    def start(self) -> None:
        """Appear."""
        self._bar.start()

    def stop(self) -> None:
        """Stay as it is."""
        self._bar.stop()

    def advance(self, count: int) -> None:
        """Count ``count`` more things as done."""
        self._bar.advance(self._task, count)

    def note(self, text: str) -> None:
        """What to show beside the numbers, from now on."""
        self._bar.update(self._task, note=text)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
