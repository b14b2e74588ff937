"""Measured speeds against each other: ``pspfast compare-perf A B ...``, and its verdict."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import click

from pspfast.cli import console
from pspfast.cli.path_types import NamedPath
from pspfast.formats.measurements import device_name, devices_in_card, is_gpu, is_npu
from pspfast.speed import claims
from pspfast.speed.data_path import DataPath
from pspfast.speed.throughput_comparison import compare_throughputs
from pspfast.speed.throughputs import Figure, MeasuredSide
from pspfast.system import terminal
from pspfast.system.files import write_whole
from pspfast.system.output_conflicts import check_outputs
from pspfast.vendors.texts import read

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from pspfast.formats.measurements import Measurement

__all__ = ["main", "read_side", "read_sides"]

Value = TypeVar("Value")


def read_side(
    path: str,
    name: str,
    *,
    device: str | None = None,
    batch: int | None = None,
    insists: Container[str] = ("device", "batch"),
) -> MeasuredSide:
    """Read a file as a side.

    Args:
        path: the file.
        name: what to call it.
        device: of its figures whose device it does not say; of no figure whose tool is for another vendor's.
        batch: that really ran, where it does not prove one.
        insists: of which it is an error if the file says another; else the file is believed.

    Raises:
        OSError: it cannot be read.
        ValueError: no tool's text, cut short or contradictory; or it says another device or batch, or its tool is for
            another vendor's devices.
    """
    reading = read(path)
    measured = reading.measurements
    if device is not None:
        unknown = [one for one in measured if one.device is None and not _is_of_other_vendor(one, device)]
        if "device" in insists and (of_other := [one for one in measured if _is_of_other_vendor(one, device)]):
            vendor = "Ascend" if of_other[0].is_of_npu else "NVIDIA"
            raise ValueError(f"{path} is of {of_other[0].tool}, which runs on {vendor} devices, not on {device}")
        if "device" in insists and not unknown and any(one.device != device for one in measured):
            said = ", ".join(dict.fromkeys(str(one.device) for one in measured))
            raise ValueError(f"{path} says that its device is {said}, not {device}; leave out --device for it")
        measured = tuple(replace(one, device=device) if one in unknown else one for one in measured)
    if batch is not None:
        measured = tuple(
            one.with_batch(batch) if "batch" in insists or not one.has_proven_batch else one for one in measured
        )
    return MeasuredSide(name, measured, reading.statements, reading.left_out)


def _is_of_other_vendor(one: Measurement, device: str) -> bool:
    """Whether a tool that names no device cannot have run on this one, such as trtexec on an Ascend's."""
    return one.device is None and ((one.is_of_gpu and is_npu(device)) or (one.is_of_npu and is_gpu(device)))


def read_sides(
    arguments: Sequence[str], *, devices: Mapping[str | None, str] | None = None,
    batches: Mapping[str | None, int] | None = None,
) -> list[MeasuredSide]:  # fmt: skip
    """Read files given as ``FILE`` or ``NAME=FILE``.

    Args:
        arguments: as typed.
        devices: side -> device, None for all.
        batches: side -> batch, None for all.

    Raises:
        OSError: a file cannot be read.
        ValueError: a name twice, or whatever :func:`read_side` finds.
    """
    devices, batches = devices or {}, batches or {}
    named = [_name_and_path(argument) for argument in arguments]
    short = [name or os.path.basename(path) for name, path in named]
    # Files of one name in several folders go by their paths.
    names = [
        path if not name and short.count(brief) > 1 else brief for (name, path), brief in zip(named, short, strict=True)
    ]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{repeated[0]} is there twice; give each side a name of its own: NAME=FILE")
    for option, given in (("--device", devices), ("--batch", batches)):
        if unknown := [name for name in given if name is not None and name not in names]:
            raise ValueError(f"{option} {unknown[0]}=...: there is no such side, only {', '.join(names)}")
    return [
        read_side(
            path,
            name,
            device=devices.get(name, devices.get(None)),
            batch=batches.get(name, batches.get(None)),
            insists=("device",) * (name in devices) + ("batch",) * (name in batches),
        )
        for name, (_, path) in zip(names, named, strict=True)
    ]


def _name_and_path(argument: str) -> tuple[str, str]:
    name, equals, path = argument.partition("=")
    if not equals or os.path.exists(argument):
        return "", argument
    if not name or not path:
        raise ValueError(f"expected FILE or NAME=FILE, got {argument!r}")
    return name, path


def _named_values(
    convert: Callable[[str], Value], what: str, *, needs_name: bool = False
) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], dict[str | None, Value]]:
    """A callback for options of ``[NAME=]VALUE``, given several times."""

    def parse(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str | None, Value]:
        found: dict[str | None, Value] = {}
        for text in texts:
            name, equals, value = text.rpartition("=")
            if (needs_name and not name) or (equals and not name):
                raise click.BadParameter(f"expected NAME={what}, got {text!r}")
            try:
                converted = convert(value)
            except ValueError as error:
                raise click.BadParameter(f"expected {'' if not equals else 'NAME='}{what}, got {text!r}") from error
            if found.setdefault(name or None, converted) != converted:
                raise click.BadParameter(f"{name or 'all sides'} is given twice, as {found[name or None]} and {value}")
        return found

    return parse


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def _whole(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ValueError
    return int(text)


def _device(text: str) -> str:
    if not text.strip():
        raise ValueError
    return device_name(text)


def _of(values: Mapping[str | None, Value], side: MeasuredSide, one: Measurement) -> Value | None:
    """By the side's name, else by the device's."""
    return values.get(side.name, None if one.device is None else values.get(one.device))


def _by_device(values: Mapping[str | None, Value]) -> dict[str | None, Value]:
    """With devices under their one name too: ``310`` is ``Ascend310``."""
    return {**{device_name(name): value for name, value in values.items() if name}, **values}


def _check_names(option: str, values: Iterable[str | None], sides: Sequence[MeasuredSide]) -> None:
    known = {side.name for side in sides} | {one.device for side in sides for one in side.measurements if one.device}
    for name in values:
        if name is not None and name not in known and device_name(name) not in known:
            raise ValueError(f"{option} {name}=...: neither a side nor a device here: {', '.join(sorted(known))}")


@click.command(context_settings=console.CONTEXT_SETTINGS)
@click.argument("files", type=NamedPath(), metavar="[NAME=]FILE...", nargs=-1, required=True)
@click.option(
    "--device",
    "devices",
    multiple=True,
    callback=_named_values(_device, "DEVICE"),
    metavar="[NAME=]DEVICE",
    help="Of a side whose file does not say: Ascend310, Ascend310P3, T4, CPU.",
)
@click.option(
    "--batch",
    "batches",
    multiple=True,
    callback=_named_values(_whole, "N"),
    metavar="[NAME=]N",
    help="That really ran, where a file does not prove it: the model's own.",
)
@click.option(
    "--devices-per-card",
    multiple=True,
    callback=_named_values(_whole, "N"),
    metavar="[NAME=]N",
    help="4 for the Ascend 310 and 1 for all others if left out; without a NAME of Ascend devices alone.",
)
@click.option(
    "--power", multiple=True, callback=_named_values(_positive, "WATTS", needs_name=True), metavar="NAME=W",
    help="Watts of a card.",
)  # fmt: skip
@click.option(
    "--cost", multiple=True, callback=_named_values(_positive, "COST", needs_name=True), metavar="NAME=X",
    help="Cost of a card, in any unit.",
)  # fmt: skip
@click.option(
    "--reference", metavar="NAME",
    help="What the others are held to; if left out NVIDIA devices, trtexec's among them, else the first.",
)  # fmt: skip
@click.option("--target", type=float, default=1.0, metavar="RATIO", help="Least ratio by card for 'met'.")
@click.option(
    "--min-iterations", type=click.IntRange(min=1), default=claims.MIN_ITERATIONS, metavar="N",
    help="Figures of fewer inferences are called unsound.",
)  # fmt: skip
@click.option(
    "--data-path", "data_path_file", type=click.Path(), metavar="FILE",
    help="Of pspfast benchmark --json; measured in about a second on synthetic pictures if left out.",
)  # fmt: skip
@click.option("--no-data-path", is_flag=True, help="Neither read nor measured.")
@click.option("--json", "json_file", type=click.Path(), metavar="FILE", help="Everything, for programs.")
@click.option("--csv", "csv_file", type=click.Path(), metavar="FILE", help="A line a figure.")
@console.handles_errors
def main(
    files: tuple[str, ...],
    devices: dict[str | None, str],
    batches: dict[str | None, int],
    devices_per_card: dict[str | None, int],
    power: dict[str | None, float],
    cost: dict[str | None, float],
    reference: str | None,
    target: float,
    min_iterations: int,
    data_path_file: str | None,
    no_data_path: bool,
    json_file: str | None,
    csv_file: str | None,
) -> int:
    """Compare measured speeds: by device, by card, by watt and cost, with what is unsound about them.

    \b
      pspfast compare-perf guide.md
      pspfast compare-perf npu=perf_vision_batchsize_1_device_0.txt gpu=trtexec.log \\
        --device npu=Ascend310 --device gpu=T4 --power npu=67 --power gpu=70

    Files are what the tools wrote: perf_vision and PureInfer texts, ais_bench logs and summaries, trtexec logs and
    --exportTimes, pspfast benchmark --json, or a Markdown document with any of them. NAMEs of options are sides or
    devices. Exit status: 0 the verdict is "met", or there is nothing to compare with; 1 it is "not met", a block of a
    document is no good and left out, or an output cannot be written; 2 usage. What is unsound is told and changes no
    status.
    """
    if not 0 < target < float("inf"):
        raise ValueError(f"--target must be a ratio above 0, got {target:g}")
    if no_data_path and data_path_file is not None:
        raise ValueError("give --data-path or --no-data-path, not both")
    sides = read_sides(files, devices=devices, batches=batches)
    paths = [_name_and_path(argument)[1] for argument in files]
    check_outputs([json_file, csv_file], paths if data_path_file is None else (*paths, data_path_file))
    for option, values in (("--devices-per-card", devices_per_card), ("--power", power), ("--cost", cost)):
        _check_names(option, values, sides)
    cards, watts, costs = _by_device(devices_per_card), _by_device(power), _by_device(cost)
    figures = [
        Figure(
            side.name,
            one,
            _of(cards, side, one) or (cards.get(None) if one.is_of_npu else None) or devices_in_card(one.device),
            _of(watts, side, one),
            _of(costs, side, one),
        )
        for side in sides
        for one in side.measurements
    ]
    if unknown := [side.name for side in sides if any(one.device is None for one in side.measurements)]:
        terminal.tell(f"{unknown[0]} does not say its device, counted as one device a card; say it with --device")
    names = {side.name for side in sides}
    found = compare_throughputs(
        figures,
        [said for side in sides for said in side.statements],
        reference=reference if reference is None or reference in names else device_name(reference),
        target=target,
        min_iterations=min_iterations,
        data_path=None
        if no_data_path
        else DataPath.measure()
        if data_path_file is None
        else DataPath.read(data_path_file),
        left_out=[text for side in sides for text in side.left_out],
    )
    terminal.report(str(found))
    for path, text in ((json_file, found.to_json), (csv_file, found.to_csv)):
        if path is not None:
            write_whole(path, text().encode("utf-8", "surrogateescape"))
    return console.SOME_FAILED if found.is_met is False or found.left_out else console.DONE


if __name__ == "__main__":
    main(prog_name="python -m pspfast.cli.commands.compare_perf")
