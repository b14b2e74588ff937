"""The published script's name: ``python -m pspfast.postprocess``; the work is ``pspfast.stages.postprocessing``."""

from pspfast.cli.commands.postprocess import main
from pspfast.stages.postprocessing import Evaluation, postprocess

__all__ = ["Evaluation", "main", "postprocess"]

if __name__ == "__main__":
    main(prog_name="python -m pspfast.postprocess")
