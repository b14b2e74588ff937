"""``pspfast get-info``, and ``python -m pspfast.get_info bin DIR OUT W H`` or ``... jpg DIR OUT``."""

from __future__ import annotations

import click

from pspfast.cli import console
from pspfast.formats.info_files import bin_info, jpg_info
from pspfast.system import terminal
from pspfast.system.files import write_whole
from pspfast.system.output_conflicts import check_outputs

__all__ = ["bin_command", "jpg_command", "main"]


def _finish(out: str, what: str, lines: list[str], left_out: list[str]) -> int:
    for reason in left_out:
        terminal.tell(reason)
    write_whole(out, "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))
    terminal.tell(f"{len(lines)} {what} in {out}" + f", {len(left_out)} left out" * bool(left_out))
    return console.SOME_FAILED if left_out else console.DONE


class _Group(console.GuardedCommand, click.Group):
    """The group, which is a command of its own as ``python -m pspfast.get_info``."""


@click.group(cls=_Group, context_settings=console.CONTEXT_SETTINGS)
def main() -> None:
    """Write the info file that the benchmark tool or the postprocessing reads.

    One line a file: index path width height.
    """


@main.command("bin")
@click.argument("folder", metavar="DIR")
@click.argument("out", metavar="OUT")
@click.argument("width", type=click.IntRange(min=1))
@click.argument("height", type=click.IntRange(min=1))
@console.handles_errors
def bin_command(folder: str, out: str, width: int, height: int) -> int:
    """List the bins of DIR in OUT, each WIDTH x HEIGHT."""
    check_outputs([out], [folder])
    return _finish(out, "bins", *bin_info(folder, width, height))


@main.command("jpg")
@click.argument("folder", metavar="DIR")
@click.argument("out", metavar="OUT")
@console.handles_errors
def jpg_command(folder: str, out: str) -> int:
    """List the JPEGs of DIR in OUT with their own sizes, from their headers."""
    check_outputs([out], [folder])
    return _finish(out, "pictures", *jpg_info(folder))


if __name__ == "__main__":
    main(prog_name="python -m pspfast.get_info")
