"""``python -m pspfast.export``."""

from pspfast.cli.commands.export import main

if __name__ == "__main__":
    main(prog_name="python -m pspfast.export")
