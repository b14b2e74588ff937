"""``python -m pspfast``: the command ``pspfast`` where it is not on the path."""

from pspfast.cli.main import main

if __name__ == "__main__":
    main(prog_name="python -m pspfast")
