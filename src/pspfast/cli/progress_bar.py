"""Progress as a bar at the bottom of the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ProgressBar", "fitting"]

_SPACE = 1  # between columns
_LEAST_BAR, _MOST_BAR = 10, 40


class ProgressBar:
    """Draws how far something is; what :class:`pspfast.system.terminal.Progress` shows itself by.

    A narrow terminal gets fewer columns, never halves of them: numbers last.

    Args:
        what: noun of the things counted, in the plural.
        total: how many there are.
        already: how many of them were done before.
    """

    def __init__(self, what: str, total: int, already: int) -> None:
        # Imported here: rich costs more time than a hundred pictures.
        from rich.console import Console
        from rich.progress import BarColumn, ProgressColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress
        from rich.text import Text

        console = Console(stderr=True)
        remaining = TimeRemainingColumn()

        class Line(ProgressColumn):
            """Everything in one column, which knows how wide it all is."""

            def render(self, task: Any) -> Any:
                from rich.table import Table

                time = remaining.render(task)
                texts = [
                    Text(what),
                    Text(f"{task.completed:.0f}/{task.total:.0f}", "progress.download"),
                    Text(f"{task.finished_speed or task.speed or 0:.0f} {what}/s"),
                    Text(f"{task.finished_speed or task.speed or 0:.0f}/s"),
                    time,
                    Text(task.fields["note"]),
                ]
                shown, bar = fitting([text.cell_len for text in texts], console.width)
                parts: list[Any] = [texts[index] for index in shown]
                if bar:
                    parts.insert(1 if 0 in shown else 0, BarColumn(bar).render(task))
                grid = Table.grid(padding=(0, _SPACE))
                for _ in parts:
                    grid.add_column(no_wrap=True)
                grid.add_row(*parts)
                return grid

        self._bar = RichProgress(Line(), console=console)
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


# Which texts of (noun, count, rate with noun, rate, time, note) are shown, from all there is to the count alone.
_CHOICES = ((0, 1, 2, 4, 5), (0, 1, 3, 4, 5), (1, 3, 4, 5), (1, 3, 4), (1, 3), (1,))


def fitting(widths: Sequence[int], room: int) -> tuple[tuple[int, ...], int]:
    """Which texts fit into a line, and how wide a bar fits beside them; the first bar to go, then texts.

    Args:
        widths: letters of the noun, the count, the rate with its noun, the rate, the time left and the note.
        room: letters in a line.

    Returns:
        Indices of what is shown, and the bar's letters, 0 for none.

    Example:
        >>> fitting((8, 9, 14, 5, 7, 0), 40)
        ((0, 1, 3, 4, 5), 0)
    """
    for shown in _CHOICES:
        used = [widths[index] for index in shown if widths[index]]
        left = room - sum(used) - _SPACE * len(used)
        if left >= _LEAST_BAR:
            return shown, min(left, _MOST_BAR)
        if left >= -_SPACE:
            return shown, 0
    return _CHOICES[-1], 0
