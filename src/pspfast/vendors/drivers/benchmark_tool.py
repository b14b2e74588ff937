"""The benchmark tool of CANN up to 5, ``benchmark.<machine>``: inference over a data set, and on random numbers."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pspfast.system.files import stem
from pspfast.system.processes import ToolFailed, ToolMissing, find_program, must_succeed, run
from pspfast.vendors.drivers.results import DEVICE_HINT, Driven, file_mark, must_be_new, must_be_there

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["benchmark_argv", "benchmark_program", "pure_inference_argv", "run_benchmark", "run_pure_inference"]


def benchmark_program(folder: str | os.PathLike[str] = ".", *, env: Mapping[str, str] | None = None) -> str:
    """The legacy tool for this machine: in a folder as the guide has it, else on PATH.

    Raises:
        ToolMissing: it is in neither, or may not be run.
    """
    name = f"benchmark.{platform.machine()}"
    path = os.path.join(folder, name)
    if os.path.isfile(path):
        find_program(path)
        return path
    try:
        return find_program(name, env=env)
    except ToolMissing as error:
        raise ToolMissing(
            f"{name} is neither in {os.path.abspath(folder)} nor on PATH ({error}); Huawei gives it to CANN 5 and "
            "before, ais_bench is for later ones"
        ) from error


def benchmark_argv(
    om: str,
    info: str,
    *,
    program: str,
    size: tuple[int, int] = (500, 500),
    device: int = 0,
    batch: int = 1,
    dvpp: bool = False,
    binary: bool = True,
) -> list[str]:
    """Inference over the files of an info file.

    Args:
        om: the model.
        info: as ``pspfast get-info bin`` writes it.
        program: ``./benchmark.x86_64``.
        size: ``(H, W)`` of the network's input.
        device: which one.
        batch: of the model.
        dvpp: let the chip decode and resize pictures.
        binary: outputs as bins, else as text, which breaks some int64 outputs.
    """
    return [
        program,
        "-model_type=vision",
        f"-om_path={om}",
        f"-device_id={device}",
        f"-batch_size={batch}",
        f"-input_text_path={info}",
        f"-input_width={size[1]}",
        f"-input_height={size[0]}",
        f"-useDvpp={str(dvpp).lower()}",
        f"-output_binary={str(binary).lower()}",
    ]


def pure_inference_argv(om: str, *, program: str, device: int = 0, batch: int = 1, rounds: int = 20) -> list[str]:
    """Inference on random numbers: a quick figure, not what counts.

    Example:
        >>> pure_inference_argv("m.om", program="./benchmark.x86_64")
        ['./benchmark.x86_64', '-round=20', '-om_path=m.om', '-device_id=0', '-batch_size=1']
    """
    return [program, f"-round={rounds}", f"-om_path={om}", f"-device_id={device}", f"-batch_size={batch}"]


def run_benchmark(
    om: str,
    info: str,
    *,
    program: str | None = None,
    size: tuple[int, int] = (500, 500),
    device: int = 0,
    batch: int = 1,
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], object] | None = None,
) -> Driven:
    """Run the legacy tool over an info file, in the current folder, where it makes ``result/``.

    Returns:
        ``files``: the ``perf_vision`` file; ``dumps``: the device's folder, ``<stem>_1.bin``.

    Raises:
        ToolMissing, ToolTimeout: see :func:`pspfast.system.processes.run`.
        ToolFailed: it failed, or its results are not there, of an earlier run, or fewer than the info file's lines.
        OSError: the info file or the model cannot be read.
        ValueError: an info file that the tool cannot read, or outputs of an earlier run in the way.
    """
    program = program or benchmark_program(env=env)
    stems = _info_stems(info)
    must_be_there(om)
    dumps = Path("result", f"dumpOutput_device{device}")
    if dumps.is_dir() and any(dumps.iterdir()):
        raise ValueError(
            f"{dumps} holds outputs of an earlier run, which the tool would leave between its own; rm -r {dumps}"
        )
    perf = Path("result", f"perf_vision_batchsize_{batch}_device_{device}.txt")
    before = file_mark(perf)
    argv = benchmark_argv(om, info, program=program, size=size, device=device, batch=batch)
    ran = must_succeed(run(argv, timeout=timeout, env=env, on_line=on_line), DEVICE_HINT)
    must_be_new(perf, before, ran)
    made = {file.name for file in dumps.iterdir()} if dumps.is_dir() else set()
    missing = [name for name in stems if f"{name}_1.bin" not in made]
    if missing:
        raise ToolFailed(
            f"{program}: {len(missing)} of {len(stems)} outputs are missing in {dumps}, {missing[0]}_1.bin among them",
            ran,
        )
    return Driven(ran, (perf,), dumps)


def run_pure_inference(
    om: str,
    *,
    program: str | None = None,
    device: int = 0,
    batch: int = 1,
    rounds: int = 20,
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], object] | None = None,
) -> Driven:
    """Run the legacy tool on random numbers, in the current folder.

    Returns:
        ``files``: the ``PureInfer_perf`` file.

    Raises:
        As :func:`run_benchmark`.
    """
    program = program or benchmark_program(env=env)
    must_be_there(om)
    name = re.sub(r"\.om$", "", os.path.basename(om))
    file = Path("result", f"PureInfer_perf_of_{name}_in_device_{device}.txt")
    before = file_mark(file)
    argv = pure_inference_argv(om, program=program, device=device, batch=batch, rounds=rounds)
    ran = must_succeed(run(argv, timeout=timeout, env=env, on_line=on_line), DEVICE_HINT)
    must_be_new(file, before, ran)
    return Driven(ran, (file,))


def _info_stems(info: str) -> list[str]:
    """Names of the files that an info file lists, as the tool names their outputs."""
    stems = []
    with open(info, errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            words = line.split()
            if len(words) != 4 or not (words[0] + words[2] + words[3]).isdecimal():
                raise ValueError(
                    f"{info}:{number}: expected 'index path width height', paths without blanks, got {line.strip()!r}"
                )
            stems.append(stem(words[1]))
    if not stems:
        raise ValueError(f"{info} lists no files")
    if len(set(stems)) < len(stems):
        twice = next(name for name in stems if stems.count(name) > 1)
        raise ValueError(f"{info}: two files give one output, {twice}_1.bin")
    return stems
