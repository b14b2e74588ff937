"""``pspfast``: one command whose subcommands are the stages. Each is imported when it is called."""

from __future__ import annotations

from importlib import import_module

import click

import pspfast
from pspfast import console

__all__ = ["main"]

# Name -> where its command is, and what it does; told here so that --help imports none of them.
_STAGES = {
    "export": ("pspfast.export.export_command", "A checkpoint to ONNX files."),
    "simplify": ("pspfast.export.simplify_command", "An ONNX file, simplified and checked."),
    "verify": ("pspfast.export.verify_command", "Two models, pixel by pixel: PyTorch and ONNX."),
    "doctor": ("pspfast.export.doctor_command", "What a compiler will not like in an ONNX file; mends pools."),
    "preprocess": ("pspfast.preprocess", "Pictures to the bins a network reads."),
    "get-info": ("pspfast.get_info", "The info files of the published guide."),
    "postprocess": ("pspfast.postprocess", "Dumped masks to scores."),
    "ledger": ("pspfast.ledger_commands", "Merge what was counted of each picture, score it again."),
    "compare": ("pspfast.compare", "Two evaluations against each other, with intervals and a verdict."),
    "oracle": ("pspfast.oracle", "What geometry alone costs, with labels as the network."),
}


class _Stages(click.Group):
    def list_commands(self, _: click.Context) -> list[str]:
        return list(_STAGES)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        name = name.replace("_", "-")
        if name not in _STAGES:
            return None
        command: click.Command = import_module(_STAGES[name][0]).main
        return command

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Stages, in the order of the work"):
            formatter.write_dl([(name, about) for name, (_, about) in _STAGES.items()])


@click.command("pspfast", cls=_Stages, context_settings=console.CONTEXT_SETTINGS)
@click.version_option(pspfast.__version__, prog_name="pspfast")
def main() -> None:
    """The data path of deployed semantic segmentation.

    Also `python -m pspfast`.
    """


if __name__ == "__main__":
    main(prog_name="pspfast")
