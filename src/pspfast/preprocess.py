"""The published script's name: ``python -m pspfast.preprocess``; the work is ``pspfast.stages.preprocessing``."""

from pspfast.cli.commands.preprocess import main
from pspfast.stages.preprocessing import Failure, preprocess
from pspfast.stages.preprocessing import PreprocessSummary as Summary

__all__ = ["Failure", "Summary", "main", "preprocess"]

if __name__ == "__main__":
    main(prog_name="python -m pspfast.preprocess")
