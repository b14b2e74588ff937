"""A data set through a model to scores, in memory and all at once: what ``pspfast run`` does, as a function.

Pictures are read and letterboxed into slots of a batch, run, and counted where the model left their masks; nothing is
written between these but what is asked for.

A run leaves in its folder: ``result.json``, ``voc_seg_result.txt`` and ``ledger.jsonl`` as ``pspfast postprocess``
writes them; ``run.json``, how it went; ``examples``, its worst and best pictures; ``report/index.html``. ``bins``,
``dumps``, ``masks`` and ``overlays`` are there if they were asked for; the last two alone if there are no labels.
"""

from pspfast.stages.whole_run.options import RunOptions
from pspfast.stages.whole_run.own_outputs import LEDGER, claim_run_folder, outputs_of_run
from pspfast.stages.whole_run.running import run, run_with
from pspfast.stages.whole_run.summary import Run

__all__ = ["LEDGER", "Run", "RunOptions", "claim_run_folder", "outputs_of_run", "run", "run_with"]
