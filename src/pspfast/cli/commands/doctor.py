"""``pspfast doctor``: what stands between an ONNX model and a compiler for Ascend, and its pools put right."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from pspfast.cli import console, environment
from pspfast.cli.path_types import NameOrPath
from pspfast.formats.result import table
from pspfast.graphs import model_files
from pspfast.graphs.diagnosis import Diagnosis, Finding, diagnose
from pspfast.graphs.pool_repair import Repair, repair
from pspfast.system import terminal
from pspfast.system.files import write_whole
from pspfast.system.output_conflicts import check_outputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pspfast.graphs.pools import Pool

__all__ = ["main"]

_ABOUT = {"machine": "This machine", "package": "Needed", "extra": "For some commands", "tool": "Tools of vendors"}
_WIDTH = 100
_MOST_NODES = 4
_MOST_CHARACTERS_OF_A_NAME = 42


@click.command("doctor", context_settings=console.CONTEXT_SETTINGS)
@click.argument("model", type=NameOrPath(), metavar="MODEL|env")
@click.option("--fix", type=click.Path(), metavar="OUT", help="Write the model with its pools put right.")
@click.option(
    "--adaptive", multiple=True, metavar="NODE", help="An AveragePool known to have been adaptive; may be repeated."
)
@click.option("--json", "json_file", type=click.Path(), metavar="FILE", help="Everything, for programs.")
@console.handles_errors
def main(model: str, fix: str | None, adaptive: tuple[str, ...], json_file: str | None) -> int:
    """Look an ONNX segmentation model over before it goes to ATC.

    \b
      pspfast doctor pspnet.onnx
      pspfast doctor pspnet.onnx --fix pspnet_exact.onnx
      pspfast doctor env

    Each pool is held against the limits that Ascend documents, and against the adaptive pool that it was made of, as
    far as that can be inferred; operators, Resize, opset and declared shapes against what is documented or computed.

    --fix writes pools that are not exact, or beyond the limits, as matrix products, runs the old and the new ones
    against exact averages, and writes OUT only if all is right. Wrong declarations of shapes are corrected too. OUT is
    the model as it was if there is nothing to change.

    `env` in place of a file looks this machine over: CPU and kernels, libraries, ONNX Runtime's providers, tools.

    Exit status: 0 no finding is an error, 1 some are (with --fix: in OUT) or an output cannot be written, 2 not a model
    or usage, 3 onnx (or, for --fix, onnxruntime) is not installed.
    """
    if model == "env":
        if fix is not None or adaptive:
            raise ValueError("--fix and --adaptive are for models; for one called env, write ./env")
        return _environment(json_file)
    check_outputs([fix, json_file], [model])
    if fix is not None:
        model_files.check_writable(fix)
    loaded = model_files.load(model, weights=False)
    if fix is not None:
        check_outputs([f"{fix}.data"], model_files.outside_files(loaded, model))  # where more than 2 GB go
        model_files.read_weights(loaded, model)
    found = _diagnosed(model, loaded, adaptive)
    terminal.report(f"{model}\n{_report(found)}")
    others: dict[str, Any] = {"model": model}
    if fix is not None:
        new, repairs, left = repair(loaded, found)
        # What was beyond repair is named by the new diagnosis; so are pools that were told of, if they were left.
        rest = (
            _diagnosed(fix, new, [node for node in adaptive if node in {name for name, _ in left}])
            if repairs
            else found
        )
        model_files.save(new, fix)
        terminal.report("\n" + _repair_report(fix, repairs, left, rest))
        others["fix"] = {
            "output": fix,
            "repairs": [asdict(one) for one in repairs],
            "left": [{"node": node, "reason": reason} for node, reason in left],
            "findings": [asdict(finding) for finding in rest.findings],
        }
    else:
        rest = found
    if json_file is not None:
        write_whole(json_file, found.to_json(**others).encode())
    return console.SOME_FAILED if rest.count("error") else console.DONE


def _environment(json_file: str | None) -> int:
    check_outputs([json_file], [])
    found = environment.facts()
    for about, title in _ABOUT.items():
        terminal.report(f"{title}:")
        for fact in found:
            if fact.about == about:
                text = f"{fact.value or '-'}" + f"  ({fact.note})" * bool(fact.note)
                terminal.report(textwrap.fill(f"  {fact.name:20}  {text}", _WIDTH, subsequent_indent=" " * 24))
    if json_file is not None:
        write_whole(json_file, json.dumps({"facts": [asdict(fact) for fact in found]}, indent=2).encode())
    return console.DONE


def _diagnosed(path: str, model: Any, adaptive: Sequence[str]) -> Diagnosis:
    try:
        return diagnose(model, adaptive=adaptive)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _report(found: Diagnosis) -> str:
    """A diagnosis, to be read by people."""
    made = f"{found.producer}, " if found.producer else ""
    parts = [f"{made}opset {found.opset}, IR {found.ir}, {sum(found.operators.values())} operators"]
    for what, ports in (("input ", found.inputs), ("output", found.outputs)):
        parts += [f"{what} {port.name}: {port}" for port in ports]
    parts += ["", _pool_table(found.pools) if found.pools else "No pools over space."]
    for finding in found.findings:
        parts += ["", *_finding_lines(finding)]
    parts += ["", _verdict(found)]
    return "\n".join(parts)


def _pool_table(pools: Sequence[Pool]) -> str:
    rows = [["pool", "from", "to", "kernel", "stride", "area", "Ascend", "adaptive"]]
    for pool in pools:
        kernel = _by(pool.kernel) if pool.operator in ("AveragePool", "MaxPool") else "whole"
        rows.append(
            [
                _shortened(pool.node, _MOST_CHARACTERS_OF_A_NAME),
                _by(pool.size),
                _by(pool.bins),
                kernel,
                _by(pool.stride) if kernel != "whole" else "",
                str(pool.area or "?"),
                "AI CPU" if pool.excesses else "",
                {True: "exact", False: "INEXACT" if pool.intent == "adaptive" else "inexact?", None: ""}[pool.exact],
            ]
        )
    # Names give way, so that lines do not wrap.
    excess = max(map(len, table(rows).splitlines())) - _WIDTH
    if excess > 0:
        longest = max(len(row[0]) for row in rows)
        for row in rows[1:]:
            row[0] = _shortened(row[0], max(longest - excess, 8))
    return table(rows)


def _finding_lines(finding: Finding) -> Iterator[str]:
    """The first line has the severity; nodes stand alone on theirs, whole, for copying."""
    indent = " " * 9
    first, *others = textwrap.wrap(
        finding.problem, _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False
    )  # fmt: skip
    yield f"{finding.severity.upper():<9}{first}"
    yield from (indent + line for line in others)
    for node in finding.nodes[:_MOST_NODES]:
        yield f"{indent}at {node}"
    if len(finding.nodes) > _MOST_NODES:
        yield f"{indent}and {len(finding.nodes) - _MOST_NODES} more"
    for mark, text in (("->", finding.advice), ("source:", finding.source)):
        if text:
            yield from textwrap.wrap(
                f"{mark} {text}",
                _WIDTH,
                initial_indent=indent,
                subsequent_indent=indent + "   ",
                break_long_words=False,
                break_on_hyphens=False,
            )


def _verdict(found: Diagnosis) -> str:
    counts = [(found.count("error"), "error"), (found.count("warning"), "warning"), (found.count("note"), "note")]
    return ", ".join(f"{count} {what}{'s' * (count != 1)}" for count, what in counts)


def _repair_report(path: str, repairs: Sequence[Repair], left: Sequence[tuple[str, str]], rest: Diagnosis) -> str:
    lines = [f"{path}: {len(repairs)} changed" if repairs else f"{path}: nothing to change; written as it was"]
    for one in repairs:
        lines += [f"  {one.node}", f"    {one.change}"]
        if one.after is not None:
            was = "could not be run before" if one.before is None else f"was {one.before:.1e}"
            lines.append(f"    largest difference from exact averages {was}, is {one.after:.1e}")
    for node, reason in left:
        lines += [f"  {node}", f"    left as it was: {reason}"]
    if repairs:
        lines.append(f"What is left in it: {_verdict(rest)}")
        for finding in rest.findings:
            if finding.severity == "error":
                lines += _finding_lines(finding)
    return "\n".join(lines)


def _by(sides: Sequence[int] | None) -> str:
    return "?" if sides is None else "x".join(map(str, sides))


def _shortened(name: str, most: int) -> str:
    """The end of a name says more than its beginning."""
    return name if len(name) <= most else f"...{name[len(name) - most + 3 :]}"


if __name__ == "__main__":
    main(prog_name="python -m pspfast.cli.commands.doctor")
