"""``python -m pspfast``: the command ``pspfast`` where it is not on the path."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(prog_name: str | None = None) -> None:
    """Load the command and run it; Ctrl-C while it is loaded is told by the exit status, as it is later."""
    try:
        from pspfast.cli.main import main as command
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing was begun\n")
        raise SystemExit(130) from None
    command(prog_name=prog_name)


if __name__ == "__main__":
    main(prog_name="python -m pspfast")
