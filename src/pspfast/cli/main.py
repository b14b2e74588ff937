"""``pspfast``: one command whose subcommands are the stages. Each is imported when it is called."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import click
from click.shell_completion import get_completion_class

import pspfast
from pspfast.cli import console
from pspfast.cli.suggestions import SuggestingGroup
from pspfast.system import terminal

__all__ = ["main"]

# Section -> name -> where its command is, and what it does; told here so that --help imports none of them.
_SECTIONS = {
    "All at once": {
        "run": ("pspfast.cli.commands.run", "Pictures to scores, in memory, with a report to look at."),
        "demo": ("pspfast.cli.commands.demo", "The same on pictures and a model of its own."),
        "report": ("pspfast.cli.commands.report", "Saved results as a page, one or several runs."),
    },
    "The model": {
        "export": ("pspfast.cli.commands.export", "A checkpoint to ONNX files."),
        "simplify": ("pspfast.cli.commands.simplify", "An ONNX file, simplified and checked."),
        "verify": ("pspfast.cli.commands.verify", "Two models, pixel by pixel: PyTorch and ONNX."),
        "doctor": ("pspfast.cli.commands.doctor", "What a compiler will not like in an ONNX file; mends pools."),
        "aipp": ("pspfast.cli.commands.aipp", "The file that lets an Ascend device normalize pictures itself."),
        "atc": ("pspfast.cli.commands.atc", "An ONNX file to an .om for an Ascend device, with its ATC."),
    },
    "The data path, stage by stage": {
        "preprocess": ("pspfast.cli.commands.preprocess", "Pictures to the bins a network reads."),
        "get-info": ("pspfast.cli.commands.get_info", "The info files of the published guide."),
        "infer": ("pspfast.cli.commands.infer", "Bins to masks: ONNX Runtime, or an Ascend device."),
        "postprocess": ("pspfast.cli.commands.postprocess", "Dumped masks to scores."),
    },
    "Scores": {
        "ledger": ("pspfast.cli.commands.ledger", "Merge what was counted of each picture, score it again."),
        "compare": (
            "pspfast.cli.commands.compare",
            "Two evaluations against each other, with intervals and a verdict.",
        ),
        "oracle": ("pspfast.cli.commands.oracle", "What geometry alone costs, with labels as the network."),
    },
    "Speed": {
        "benchmark": (
            "pspfast.cli.commands.benchmark",
            "How fast a model runs, stage by stage; drives the vendors' tools, too.",
        ),
        "compare-perf": ("pspfast.cli.commands.compare_perf", "Measured throughputs side by side, and unsound claims."),
    },
}
_STAGES = {name: stage for section in _SECTIONS.values() for name, stage in section.items()}
_OWN = {"completion": "Lines that let bash, zsh or fish complete pspfast."}

_EXAMPLES = """\
pspfast demo
pspfast run --voc-root VOCdevkit/VOC2012 --model pspnet.onnx
pspfast export --checkpoint pspnet_r50-d8_512x512_20k_voc12aug --output-file pspnet.onnx
pspfast compare --baseline voc-opensource pspfast_run/ledger.jsonl
pspfast doctor env"""


class _Stages(console.GuardedCommand, SuggestingGroup):
    def list_commands(self, _: click.Context) -> list[str]:
        return [*_STAGES, *self.commands]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        name = name.replace("_", "-")
        if name not in _STAGES:
            return super().get_command(ctx, name)
        command: click.Command = import_module(_STAGES[name][0]).main
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        typed, command, rest = super().resolve_command(ctx, args)
        if command is not None and typed is not None and not ctx.resilient_parsing:
            stage = typed.replace("_", "-")
            if stage in _STAGES:
                self._take_variables(stage, command)
            ctx.default_map = {typed: self._defaults(ctx, stage, command)}
        return typed, command, rest

    def _take_variables(self, stage: str, command: click.Command) -> None:
        from pspfast.cli.variables import check_variables, name_variables

        name_variables(stage, command)
        try:
            check_variables(stage, command, _STAGES, os.environ)
        except ValueError as error:
            raise click.UsageError(str(error)) from error

    def _defaults(self, ctx: click.Context, name: str, command: click.Command) -> dict[str, Any]:
        from pspfast.cli import settings

        found: dict[str, Any] = {}
        path = settings.find_settings(ctx.params["config"])
        if path is not None:
            try:
                tables = settings.read_settings(path, _STAGES)
                found = settings.defaults(path, tables, name, command, self._all_commands)
            except OSError as error:
                raise click.UsageError(f"{path}: {error.strerror}") from error
            except ValueError as error:
                raise click.UsageError(str(error)) from error
        if ctx.params["log_level"] == "warning" and any(one.name == "quiet" for one in command.params):
            found["quiet"] = True
        return found

    def _all_commands(self) -> list[click.Command]:
        return [import_module(module).main for module, _ in _STAGES.values()]

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        for section, stages in _SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, about) for name, (_, about) in stages.items()])
        with formatter.section("This program"):
            formatter.write_dl([("doctor env", "What it finds here: CPU, libraries, tools."), *_OWN.items()])
        with formatter.section("Examples"):
            formatter.write("".join(f"  {line}\n" for line in _EXAMPLES.splitlines()))


@click.command("pspfast", cls=_Stages, context_settings=console.CONTEXT_SETTINGS | {"auto_envvar_prefix": "PSPFAST"})
@click.option("--config", metavar="FILE", help="Defaults of options, in place of ./pspfast.toml (PSPFAST_CONFIG).")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning"]),
    default="info",
    help="debug: also where errors come from; warning: no progress, as --quiet.",
)
@click.version_option(pspfast.__version__, prog_name="pspfast")
def main(config: str | None, log_level: str) -> None:  # noqa: ARG001 - config is read with the stage
    """The data path of deployed semantic segmentation: pictures in, tensors out, masks back, scores.

    pspfast STAGE --help teaches each stage. Options that one would retype go into pspfast.toml: a table for each stage,
    [all] for every one. What is typed wins, then the environment (PSPFAST_RUN_WORKERS=1), then the file.

    Exit status: 0 done, 1 some inputs failed, 2 usage, 3 a tool or library is missing, 130 interrupted.
    """
    console.set_level(log_level)


@main.command("completion", short_help=_OWN["completion"])
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@console.handles_errors
def completion(shell: str) -> int:
    """Print what lets a shell complete pspfast: stages, options and their values.

    \b
      echo 'eval "$(pspfast completion bash)"' >> ~/.bashrc
      echo 'eval "$(pspfast completion zsh)"' >> ~/.zshrc
      pspfast completion fish > ~/.config/fish/completions/pspfast.fish
    """
    found = get_completion_class(shell)
    assert found is not None  # click has these three
    terminal.report(found(main, {}, "pspfast", "_PSPFAST_COMPLETE").source().rstrip("\n"))
    return console.DONE


if __name__ == "__main__":
    main(prog_name="pspfast")
