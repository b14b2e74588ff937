"""ais_bench, the measuring tool of later CANN: inference over a folder of bins, or on made-up data."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pspfast.runtimes.ais_bench import HOW_TO_INSTALL_AIS_BENCH, OTHER_AIS_BENCH
from pspfast.system.processes import ToolFailed, ToolMissing, must_succeed, run
from pspfast.vendors.drivers.results import DEVICE_HINT, Driven, file_mark, must_be_there

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["ais_bench_argv", "ais_bench_results", "run_ais_bench"]

Data = Literal["zero", "random"]


def ais_bench_argv(
    om: str,
    *,
    inputs: Sequence[str] = (),
    output: str | None = None,
    name: str | None = None,
    device: Sequence[int] = (0,),
    batch: int | None = None,
    loop: int = 1,
    warm_up: int | None = None,
    data: Data = "zero",
    python: str = "python3",
) -> list[str]:
    """A call of ais_bench.

    Args:
        om: the model.
        inputs: a folder, or files, for each input of the model; random or zero data if left out.
        output: folder for outputs and figures; nothing is saved if left out.
        name: of the folder in ``output``; the time if left out.
        device: one or several.
        batch: of the model, for the throughput that it prints; dimension 0 of input 0 if left out.
        loop: how often each input is run.
        warm_up: runs before that count for nothing.
        data: where there are no inputs.
        python: the one that has ais_bench.
    """
    argv = [python, "-m", "ais_bench", "--model", om]
    if inputs:
        if odd := [path for path in inputs if "," in path]:
            raise ValueError(f"ais_bench parts inputs at commas, so {odd[0]!r} cannot be one; use a link")
        argv += ["--input", ",".join(inputs)]
    else:
        argv += ["--pure_data_type", data]
    if output is not None:
        argv += ["--output", output]
        if name is not None:
            argv += ["--output_dirname", name]
        argv += ["--outfmt", "BIN"]
    elif name is not None:
        raise ValueError("ais_bench takes --output_dirname only with --output")
    argv += ["--device", ",".join(map(str, device))]
    if batch is not None:
        argv += ["--batchsize", str(batch)]
    if loop != 1:
        argv += ["--loop", str(loop)]
    if warm_up is not None:
        argv += ["--warmup_count", str(warm_up)]
    return argv


def run_ais_bench(
    om: str,
    *,
    output: str,
    name: str,
    inputs: Sequence[str] = (),
    device: Sequence[int] = (0,),
    batch: int | None = None,
    loop: int = 1,
    warm_up: int | None = None,
    data: Data = "zero",
    python: str = "python3",
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], object] | None = None,
) -> Driven:
    """Run ais_bench and find its figures; its exit status cannot be trusted with several devices.

    Returns:
        ``files``: summaries, JSON; ``dumps``: the folder with ``<stem>_0.bin``.

    Raises:
        ToolMissing: also if Python has no ais_bench.
        ToolFailed, ToolTimeout: as for others; also if it says that it succeeded and there is no summary.
        OSError: the model cannot be read.
        ValueError: outputs of an earlier run in the way.
    """
    must_be_there(om)
    folder = Path(output, name)
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds outputs of an earlier run; choose another name, or rm -r {folder}")
    os.makedirs(output, exist_ok=True)
    before = {path: file_mark(path) for path in ais_bench_results(output, name)}
    argv = ais_bench_argv(
        om, inputs=inputs, output=output, name=name, device=device, batch=batch, loop=loop, warm_up=warm_up, data=data,
        python=python,
    )  # fmt: skip
    ran = run(argv, timeout=timeout, env=env, on_line=on_line)
    if ran.status != 0 and "No module named ais_bench.__main__" in ran.output:
        raise ToolMissing(
            f"{python} has another package of the name ais_bench, probably {OTHER_AIS_BENCH}; "
            f"{HOW_TO_INSTALL_AIS_BENCH}"
        )
    if ran.status != 0 and (missing := re.search(r"No module named '?(ais_bench|aclruntime)\b", ran.output)):
        raise ToolMissing(f"{python} has no module {missing[1]}; {HOW_TO_INSTALL_AIS_BENCH}")
    if "acl open device" in ran.output and "failed" in ran.output:
        raise ToolFailed(
            f"ais_bench: the device cannot be opened; {DEVICE_HINT}. Its last lines:\n{ran.last_lines()}", ran
        )
    must_succeed(ran, DEVICE_HINT)
    found = [path for path in ais_bench_results(output, name) if file_mark(path) not in (None, before.get(path))]
    if not found:
        raise ToolFailed(
            f"ais_bench: {ran.ending} and no summary in {output}; its last lines:\n{ran.last_lines()}", ran
        )  # fmt: skip
    return Driven(ran, tuple(found), folder if folder.is_dir() else None)


def ais_bench_results(output: str, name: str) -> list[Path]:
    """Summaries of a run: beside its folder, in folders of devices, and in it, where the first versions had them."""
    top = Path(output)
    found = [top / f"{name}_summary.json", *sorted((top / name).glob("device*_summary.json"))]
    found += sorted((top / name).glob("device*/*summary.json"))
    found += [top / name / "sumary.json", *sorted((top / name).glob("device*/sumary.json"))]
    return [path for path in found if path.is_file()]
