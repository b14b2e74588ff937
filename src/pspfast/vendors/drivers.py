"""The vendors' tools that run and measure models: their command lines, and where their results are.

Each ``..._argv`` gives a command line; each ``run_...`` runs one, makes sure that its results are there, whole and of
this run, and returns texts and files for :mod:`pspfast.performance`. Nothing is read out of them here.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pspfast.system.files import stem
from pspfast.system.processes import Ran, ToolFailed, ToolMissing, find_program, must_succeed, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "Driven", "ais_bench_argv", "ais_bench_results", "benchmark_argv", "benchmark_program", "pure_inference_argv",
    "run_ais_bench", "run_benchmark", "run_pure_inference", "run_trtexec", "trtexec_argv", "trtexec_shapes",
    "trtexec_takes",
]  # fmt: skip

Data = Literal["zero", "random"]


@dataclass(frozen=True, slots=True)
class Driven:
    """A tool that has done its work.

    Attributes:
        ran: with what it printed.
        files: files of figures, the one to prefer first.
        dumps: folder of its outputs; ``None`` if it writes none.
    """

    ran: Ran
    files: tuple[Path, ...] = field(default=())
    dumps: Path | None = None


# ------------------------------------------------------------------------------------------------- benchmark.<machine>


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
    _must_be_there(om)
    dumps = Path("result", f"dumpOutput_device{device}")
    if dumps.is_dir() and any(dumps.iterdir()):
        raise ValueError(
            f"{dumps} holds outputs of an earlier run, which the tool would leave between its own; rm -r {dumps}"
        )
    perf = Path("result", f"perf_vision_batchsize_{batch}_device_{device}.txt")
    before = _mark(perf)
    argv = benchmark_argv(om, info, program=program, size=size, device=device, batch=batch)
    ran = must_succeed(run(argv, timeout=timeout, env=env, on_line=on_line), _BUSY)
    _must_be_new(perf, before, ran)
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
    _must_be_there(om)
    name = re.sub(r"\.om$", "", os.path.basename(om))
    file = Path("result", f"PureInfer_perf_of_{name}_in_device_{device}.txt")
    before = _mark(file)
    argv = pure_inference_argv(om, program=program, device=device, batch=batch, rounds=rounds)
    ran = must_succeed(run(argv, timeout=timeout, env=env, on_line=on_line), _BUSY)
    _must_be_new(file, before, ran)
    return Driven(ran, (file,))


_BUSY = "is the device there and free? npu-smi info shows it"


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


# ----------------------------------------------------------------------------------------------------------- ais_bench


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
    _must_be_there(om)
    folder = Path(output, name)
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds outputs of an earlier run; choose another name, or rm -r {folder}")
    os.makedirs(output, exist_ok=True)
    before = {path: _mark(path) for path in ais_bench_results(output, name)}
    argv = ais_bench_argv(
        om, inputs=inputs, output=output, name=name, device=device, batch=batch, loop=loop, warm_up=warm_up, data=data,
        python=python,
    )  # fmt: skip
    ran = run(argv, timeout=timeout, env=env, on_line=on_line)
    if ran.status != 0 and (missing := re.search(r"No module named '?(ais_bench|aclruntime)\b", ran.output)):
        raise ToolMissing(
            f"{python} has no module {missing[1]}; install the wheels aclruntime and ais_bench of your CANN for it"
        )
    if "acl open device" in ran.output and "failed" in ran.output:
        raise ToolFailed(f"ais_bench: the device cannot be opened; {_BUSY}. Its last lines:\n{ran.last_lines()}", ran)
    must_succeed(ran, _BUSY)
    found = [path for path in ais_bench_results(output, name) if _mark(path) not in (None, before.get(path))]
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


# ------------------------------------------------------------------------------------------------------------- trtexec


def trtexec_shapes(model: str, batch: int | None) -> dict[str, tuple[int, ...]]:
    """Shapes for ``--shapes``: of inputs that leave a dimension open. TensorRT from 8 on fails if others are given.

    Args:
        model: the ONNX file.
        batch: pictures at a time; ``None`` if the model says.

    Raises:
        ValueError: the model is made for another batch, leaves the batch open and there is none, or leaves other
            sizes open.
        ModelFileError: it cannot be read.
        MissingExtra: onnx is not installed.
    """
    from pspfast.graphs import model_files as graphs

    shapes = {}
    for value in graphs.inputs(graphs.load(model)):
        shape = graphs.shape_of(value)
        if not shape:
            raise ValueError(f"input {value.name} of {model} has no declared shape")
        first, *rest = shape
        sizes = [size for size in rest if isinstance(size, int)]
        if len(sizes) < len(rest):
            raise ValueError(
                f"input {value.name} of {model} leaves sizes open, {shape}; fix them with pspfast simplify"
            )
        if isinstance(first, int):
            if batch not in (None, first):
                raise ValueError(
                    f"{model} is made for batch {first}; trtexec would run that, whose time is not that of {batch} "
                    f"pictures. Export one for batch {batch}, or with --dynamic-batch"
                )
        elif batch is None:
            raise ValueError(f"{model} is for any batch; say which")
        else:
            shapes[value.name] = (batch, *sizes)
    return shapes


def trtexec_argv(
    model: str,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    fp16: bool = True,
    explicit_batch: bool = False,
    times: str | None = None,
    program: str = "trtexec",
) -> list[str]:
    """A call of trtexec.

    Args:
        model: the ONNX file.
        shapes: from :func:`trtexec_shapes`.
        fp16: ``--fp16``; TensorRT 11 has it no more, see :func:`trtexec_takes`.
        explicit_batch: ``--explicitBatch``, for 7 and a model with open dimensions.
        times: JSON file for the time of each iteration.
        program: by name or path.

    Example:
        >>> trtexec_argv("m.onnx", shapes={"input": (16, 3, 500, 500)})
        ['trtexec', '--onnx=m.onnx', '--fp16', '--shapes=input:16x3x500x500']
    """
    argv = [program, f"--onnx={model}"]
    if fp16:
        argv.append("--fp16")
    if explicit_batch:
        argv.append("--explicitBatch")
    if shapes:
        argv.append("--shapes=" + ",".join(f"{name}:{'x'.join(map(str, dims))}" for name, dims in shapes.items()))
    if times is not None:
        argv.append(f"--exportTimes={times}")
    return argv


def trtexec_takes(
    *flags: str, program: str = "trtexec", env: Mapping[str, str] | None = None
) -> tuple[dict[str, bool], str]:
    """Which flags this trtexec has, by its own help, and its version (empty if it does not say).

    Asked of the help, since it aborts on a flag that it does not know, and versions before 8.4 print no number there.

    Raises:
        ToolMissing: there is none.
        ToolFailed: it does not even print its help.
    """
    try:
        ran = run([program, "--help"], env=env, timeout=60.0)
    except ToolMissing as error:
        raise ToolMissing(f"{error}; it comes with TensorRT, in its folder bin (/usr/src/tensorrt/bin)") from error
    if "--onnx" not in ran.output:
        must_succeed(ran)
        raise ToolFailed(f"{program} --help says nothing of --onnx; is this TensorRT's?\n{ran.last_lines()}", ran)
    found = re.search(r"TensorRT(?: v| version: )(\d[\d.]*)", ran.output)
    return (
        {flag: re.search(rf"{re.escape(flag)}(?![A-Za-z0-9_])", ran.output) is not None for flag in flags},
        _trt_version(found[1]) if found else "",
    )


def run_trtexec(
    model: str,
    *,
    batch: int | None = None,
    fp16: bool = True,
    times: str | None = None,
    program: str = "trtexec",
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], object] | None = None,
) -> Driven:
    """Measure an ONNX file with trtexec.

    Args:
        model: the ONNX file.
        batch: pictures at a time; the model's own if left out.
        fp16: compute in half precision.
        times: JSON file for the time of each iteration.
        program: by name or path.
        timeout, env, on_line: see :func:`pspfast.system.processes.run`.

    Returns:
        ``files``: that of ``times``.

    Raises:
        ToolMissing, ToolFailed, ToolTimeout: as for others; ToolFailed also without its line of success.
        ValueError: see :func:`trtexec_shapes`; or half precision of a TensorRT that no longer has ``--fp16``.
    """
    shapes = trtexec_shapes(model, batch)
    # 7 wants --explicitBatch for open dimensions, and is among those that do not name themselves in their help.
    takes, version = trtexec_takes("--fp16", "--explicitBatch", program=program, env=env)
    if fp16 and not takes["--fp16"]:
        raise ValueError(
            f"this trtexec{f' ({version})' if version else ''} has no --fp16: from 11 on a network computes in the "
            "types it is written in. Export with --fp16, and measure that without"
        )
    argv = trtexec_argv(
        model,
        shapes=shapes,
        fp16=fp16,
        explicit_batch=bool(shapes) and takes["--explicitBatch"] and not version,
        times=times,
        program=program,
    )
    before = _mark(Path(times)) if times is not None else None
    ran = run(argv, timeout=timeout, env=env, on_line=on_line)
    if "&&&& FAILED" in ran.output or "&&&& PASSED" not in ran.output:
        must_succeed(ran)
        raise ToolFailed(f"{program}: {ran.ending} without its line '&&&& PASSED':\n{ran.last_lines()}", ran)
    must_succeed(ran)
    if times is None:
        return Driven(ran)
    _must_be_new(Path(times), before, ran)
    return Driven(ran, (Path(times),))


def _trt_version(text: str) -> str:
    """As people write it: 8601 is 8.6.1, 101304 is 10.13.4.

    Example:
        >>> _trt_version("8601"), _trt_version("101304"), _trt_version("7.2.3")
        ('8.6.1', '10.13.4', '7.2.3')
    """
    if not text.isdecimal() or int(text) < 1000:
        return text.rstrip(".")
    number, by = int(text), 10000 if int(text) >= 100000 else 1000
    return f"{number // by}.{number % by // 100}.{number % 100}"


# --------------------------------------------------------------------------------------------------------------- files


def _must_be_there(path: str) -> None:
    with open(path, "rb"):
        pass


def _mark(path: Path) -> tuple[int, int, int] | None:
    """Tells a file from another one of its name; ``None`` if there is none, or an empty one."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return (facts.st_ino, facts.st_mtime_ns, facts.st_size) if facts.st_size else None


def _must_be_new(path: Path, before: tuple[int, int, int] | None, ran: Ran) -> None:
    now = _mark(path)
    if now is None or now == before:
        what = "did not write" if now is None else "left as an earlier run wrote it:"
        raise ToolFailed(
            f"{shlex.quote(ran.argv[0])}: {ran.ending}, but it {what} {path}; its last lines:\n{ran.last_lines()}", ran
        )
