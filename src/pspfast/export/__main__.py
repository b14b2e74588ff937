"""``python -m pspfast.export``."""

from pspfast.export.export_command import main

if __name__ == "__main__":
    main(prog_name="python -m pspfast.export")
