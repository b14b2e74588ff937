"""trtexec, TensorRT's measuring tool: an ONNX file on an NVIDIA device."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pspfast.system.processes import ToolFailed, ToolMissing, must_succeed, run
from pspfast.vendors.drivers.results import Driven, file_mark, must_be_new

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["run_trtexec", "trtexec_argv", "trtexec_shapes", "trtexec_takes"]


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
    from pspfast.graphs import model_files
    from pspfast.graphs.batch_dimension import has_batch, text_of_shape

    shapes = {}
    declared = {
        value.name: model_files.shape_of(value) for value in model_files.inputs(model_files.load(model, weights=False))
    }
    batched = has_batch(declared)
    if not batched and batch not in (None, 1):
        raise ValueError(f"{model} takes one picture at a time; trtexec would run that, not {batch} pictures")
    for name, shape in declared.items():
        if not shape:
            raise ValueError(f"input {name} of {model} has no declared shape")
        first, *rest = shape
        sizes = [size for size in rest if isinstance(size, int)]
        if len(sizes) < len(rest) or (name not in batched and not isinstance(first, int)):
            raise ValueError(
                f"input {name} of {model} leaves sizes open, {text_of_shape(shape)}; fix them with pspfast simplify"
            )
        if name not in batched:
            continue
        if isinstance(first, int):
            if batch not in (None, first):
                raise ValueError(
                    f"{model} is made for batch {first}; trtexec would run that, whose time is not that of {batch} "
                    f"pictures. Export one for batch {batch}, or with --dynamic-batch"
                )
        elif batch is None:
            raise ValueError(f"{model} is for any batch; say which")
        else:
            shapes[name] = (batch, *sizes)
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
    before = file_mark(Path(times)) if times is not None else None
    ran = run(argv, timeout=timeout, env=env, on_line=on_line)
    if "&&&& FAILED" in ran.output or "&&&& PASSED" not in ran.output:
        must_succeed(ran)
        raise ToolFailed(f"{program}: {ran.ending} without its line '&&&& PASSED':\n{ran.last_lines()}", ran)
    must_succeed(ran)
    if times is None:
        return Driven(ran)
    must_be_new(Path(times), before, ran)
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
