"""The published script's name: ``python -m pspfast.get_info``; what it does is in ``pspfast.formats.info_files``."""

from pspfast.cli.commands.get_info import main
from pspfast.formats.info_files import bin_info, jpg_info

__all__ = ["bin_info", "jpg_info", "main"]

if __name__ == "__main__":
    main(prog_name="python -m pspfast.get_info")
