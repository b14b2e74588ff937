"""What is asked of ATC: a command line an .om, and what cannot be right in it."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pspfast.system.processes import ToolFailed, ToolMissing
from pspfast.vendors import npu_smi
from pspfast.vendors.aipp import parse_aipp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pspfast.vendors.aipp import AippOp

__all__ = ["FILE_FLAGS", "Conversion", "Shapes", "check_path", "find_soc_version", "parse_shapes", "plan"]

Shapes = dict[str, tuple[str, ...]]
"""Input -> its dimensions as ATC reads them: numbers, ``-1``, ranges as ``1~10``."""


# Of --model; the manual says so. A slash parts folders.
_PATH = re.compile(r"[A-Za-z0-9_\-./\u4e00-\u9fff]+")


_DIMENSION = re.compile(r"-1|\d+(~(\d+|-1))?")


_GEARS = range(2, 101)


_MANAGED = ("framework", "model", "output", "soc_version", "input_shape", "input_fp16_nodes", "insert_op_conf")


_DYNAMIC = ("dynamic_batch_size", "dynamic_image_size", "dynamic_dims")


FILE_FLAGS = ("op_precision_mode", "fusion_switch_file", "modify_mixlist", "keep_dtype", "compression_optimize_conf")
"""Flags whose value is a file, so that it is meant from the folder of the caller."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """One call of ATC.

    Attributes:
        model: the ONNX file.
        output: the ``.om`` file to make, without ``.om``.
        soc_version: the chip.
        flags: flag without dashes -> value, in the order of the command line, between ``--output`` and the end.
        batch: pictures at a time; ``None`` if that is decided when it runs.
    """

    model: str
    output: str
    soc_version: str
    flags: dict[str, str]
    batch: int | None

    def argv(self, *, model: str | None = None, output: str | None = None, program: str = "atc") -> list[str]:
        """The command line; ``model`` and ``output`` stand in for those it was made for.

        Example:
            >>> one = Conversion("m.onnx", "m_bs1", "Ascend310", {"input_shape": "input:1,3,500,500"}, 1)
            >>> one.argv()[:4]
            ['atc', '--framework=5', '--model=m.onnx', '--output=m_bs1']
        """
        flags = {"framework": "5", "model": model or self.model, "output": output or self.output, **self.flags}
        return [program, *(f"--{name}={value}" for name, value in flags.items())]


def plan(
    model: str,
    *,
    soc_version: str,
    batches: Sequence[int] = (),
    output: str | None = None,
    shapes: Shapes | None = None,
    halves: Sequence[str] | None = None,
    aipp: str | None = None,
    flags: Mapping[str, str] | None = None,
    allow_aicpu_pools: bool = False,
    allow_fixed_batch: bool = False,
) -> list[Conversion]:
    """Plan one conversion for each batch.

    Args:
        model: the ONNX file.
        soc_version: e.g. ``"Ascend310"``.
        batches: pictures at a time; the model's own if left out, 1 if that is open.
        output: of the ``.om``, with or without that ending; with several batches ``_bs<N>`` is added. If left out it
            is the model's name in the current folder, and ``_bs<N>`` unless it ends so.
        shapes: of inputs, instead of the model's with the batch put in.
        halves: inputs that become float16; all that are float32 and not behind AIPP if left out.
        aipp: AIPP file.
        flags: other flags without dashes; ``input_format`` and ``log`` have defaults, ``""`` leaves them out.
        allow_aicpu_pools: convert a model with pools that run on the AI CPU all the same.
        allow_fixed_batch: convert for a batch that the model was not made for all the same.

    Raises:
        ModelFileError: the model cannot be read.
        OSError: a file that a flag names cannot be read.
        ValueError: something in it cannot be right.
        MissingExtra: onnx is not installed.
    """
    from pspfast.graphs import model_files as graphs

    flags = dict(flags or {})
    for name in flags:
        if name in _MANAGED:
            raise ValueError(f"--{name} has an option of its own, or is always the same")
    check_path("--model", model)
    _check_soc_version(soc_version)
    _check_flags(flags, aipp)
    loaded = graphs.load(model)
    inputs = {value.name: value for value in graphs.inputs(loaded)}
    if not inputs:
        raise ValueError(f"{model} has no inputs")
    behind_aipp = _behind_aipp(aipp, model, inputs) if aipp is not None else {}
    fp16 = _halves(model, inputs, halves, behind_aipp, aipp)
    is_open = any(name in flags for name in _DYNAMIC)
    if is_open and batches:
        raise ValueError(
            f"a batch beside --{next(name for name in _DYNAMIC if name in flags)}: sizes are decided when it runs"
        )
    if shapes is not None:
        _check_shapes(model, inputs, shapes, batches, flags)
        if not batches:
            batches = [batch] if (batch := _batch_of(shapes)) else []
    elif not is_open and not batches:
        batches = [_own_batch(inputs) or 1]
    if not allow_aicpu_pools:
        _refuse_pools(model, loaded)
    planned = []
    wanted: list[int | None] = [*batches] or [None]
    several = len(batches) > 1
    if len(set(batches)) < len(batches):
        raise ValueError(f"the same batch twice: {', '.join(map(str, batches))}")
    for batch in wanted:
        given = shapes or _shapes_for(inputs, batch, flags, model)
        if not allow_fixed_batch:
            _refuse_batch(model, inputs, given)
        values: dict[str, str] = {}
        if (layout := flags.get("input_format", _layout(inputs))) != "":
            values["input_format"] = layout
        values["input_shape"] = ";".join(f"{name}:{','.join(dims)}" for name, dims in given.items())
        if (level := flags.get("log", "error")) != "":
            values["log"] = level
        values["soc_version"] = soc_version
        if fp16:
            values["input_fp16_nodes"] = ";".join(fp16)
        if aipp is not None:
            values["insert_op_conf"] = aipp
        values |= {name: value for name, value in flags.items() if name not in ("input_format", "log")}
        planned.append(Conversion(model, _output(model, output, batch, several), soc_version, values, batch))
    return planned


def parse_shapes(text: str) -> Shapes:
    """Read a value of ``--input_shape`` as ATC does: a name ends at its last colon, blanks round it mean nothing.

    Raises:
        ValueError: not of this form.

    Example:
        >>> parse_shapes(" input:1,3,500,500")
        {'input': ('1', '3', '500', '500')}
    """
    shapes: Shapes = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        name, colon, numbers = part.rpartition(":")
        dims = tuple(number.strip() for number in numbers.split(","))
        name = name.strip()
        if not colon or not name or not all(_DIMENSION.fullmatch(dim) for dim in dims):
            raise ValueError(f"--input-shape {part!r}: expected NAME:1,3,500,500, where -1 and 1~16 are open")
        if name in shapes:
            raise ValueError(f"--input-shape names {name} twice")
        shapes[name] = dims
    if not shapes:
        raise ValueError("--input-shape is empty; expected NAME:1,3,500,500")
    return shapes


def find_soc_version(env: Mapping[str, str] | None = None) -> str:
    """The chip of this machine: by ``npu-smi``, else by the module ``acl``.

    Raises:
        ValueError: neither tells.
    """
    try:
        return npu_smi.soc_name(env=env)
    except (ToolMissing, ToolFailed) as error:
        reason = str(error).splitlines()[0]
    try:
        import acl  # type: ignore[import-not-found, unused-ignore]

        name = acl.get_soc_name()
    except ImportError as error:
        reason += f"; {error}"
    except Exception as error:  # of a library without its driver
        reason += f"; acl.get_soc_name: {error}"
    else:
        if isinstance(name, str) and name:
            return name
        reason += f"; acl.get_soc_name gave {name!r}"
    raise ValueError(
        f"this machine does not say which chip it has ({reason}); name the one to convert for, --soc-version Ascend310"
    )


def check_path(what: str, path: str) -> None:
    """Refuse a path with characters that ATC does not take."""
    odd = sorted(set(_PATH.sub("", path)))
    if odd:
        raise ValueError(
            f"{what} {path!r}: ATC takes letters, digits, Chinese characters, '_', '-' and '.' in paths, not "
            f"{' '.join(map(repr, odd))}; use a copy or link of another name"
        )
    if not path:
        raise ValueError(f"{what} is empty")


def _check_soc_version(name: str) -> None:
    if re.fullmatch(r"\d{3}\w*", name):
        raise ValueError(f"--soc-version {name}: do you mean Ascend{name}?")
    if not re.fullmatch(r"\w+", name):
        raise ValueError(f"--soc-version {name!r}: expected a chip's name, e.g. Ascend310 or Ascend310P3")
    if name in ("Ascend310P", "Ascend310B", "Ascend910B"):
        raise ValueError(
            f"--soc-version {name} is a family; name the chip, e.g. {name}{'3' if name != 'Ascend310B' else '1'}, as "
            "npu-smi info does"
        )


def _check_flags(flags: Mapping[str, str], aipp: str | None) -> None:
    for name, value in flags.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"{name!r} is no name of a flag of ATC; write it without dashes in front: keep_dtype=FILE")
        if "\n" in value or "\0" in value:
            raise ValueError(f"--{name}: more than one line")
    if flags.get("mode", "0") != "0":
        raise ValueError(f"--mode={flags['mode']} makes no .om; call atc itself for that")
    if "auto_tune_mode" in flags:
        raise ValueError("--auto_tune_mode is refused by ATC of today (E10001)")
    dynamic = [name for name in _DYNAMIC if name in flags]
    if len(dynamic) > 1:
        raise ValueError(f"--{' and --'.join(dynamic)} exclude each other")
    if "precision_mode" in flags and "precision_mode_v2" in flags:
        raise ValueError("--precision_mode and --precision_mode_v2 exclude each other")
    if aipp is not None and "dynamic_dims" in flags:
        raise ValueError("AIPP and --dynamic_dims exclude each other")
    if aipp is not None and flags.get("input_format", "NCHW") not in ("NCHW", "NHWC"):
        raise ValueError(f"--input_format={flags['input_format']}: with AIPP only NCHW and NHWC")
    gears = {
        "dynamic_batch_size": (r"[1-9]\d*(,[1-9]\d*)*", ",", "1,4,8,16"),
        "dynamic_image_size": (r"[1-9]\d*,[1-9]\d*(;[1-9]\d*,[1-9]\d*)*", ";", "'500,500;375,500'"),
    }
    for name, (form, comma, example) in gears.items():
        if name not in flags:
            continue
        value = flags[name]
        if not re.fullmatch(form, value):
            raise ValueError(f"--{name} {value!r}: expected {example}")
        parts = value.split(comma)
        if len(parts) not in _GEARS or len(set(parts)) < len(parts):
            raise ValueError(f"--{name} {value!r}: ATC takes {_GEARS.start} to {_GEARS.stop - 1} different ones")
    for name in FILE_FLAGS:
        if name in flags:
            with open(flags[name]):
                pass


def _behind_aipp(aipp: str, model: str, inputs: dict[str, Any]) -> dict[str, AippOp]:
    """Input -> what AIPP does to it."""
    with open(aipp) as file:
        try:
            ops = parse_aipp(file.read())
        except ValueError as error:
            raise ValueError(f"{aipp}: {error}") from error
    behind = {}
    names = list(inputs)
    for op in ops:
        if op.input >= len(names):
            raise ValueError(f"{aipp}: related_input_rank {op.input}, but {model} has {len(names)} inputs")
        name = names[op.input]
        kind = _kind(inputs[name])
        if kind == "uint8":
            raise ValueError(f"{aipp}: input {name} of {model} takes bytes and normalizes them itself; leave AIPP out")
        shape = _shape(inputs[name])
        size = tuple(shape[2:]) if len(shape) == 4 else ()
        known = all(isinstance(side, int) for side in size)
        if op.is_as_large_as_the_input and all(op.size) and known and size and op.size != size:
            raise ValueError(
                f"{aipp}: pictures of {op.size[0]} by {op.size[1]}, neither cut nor padded, but input {name} of "
                f"{model} is {size[0]} by {size[1]}"
            )
        behind[name] = op
    return behind


def _halves(
    model: str, inputs: dict[str, Any], asked: Sequence[str] | None, behind: dict[str, AippOp], aipp: str | None
) -> list[str]:
    """Inputs for --input_fp16_nodes; those that are float16 already need none."""
    if asked is None:
        return [name for name, value in inputs.items() if _kind(value) == "float32" and name not in behind]
    for name in asked:
        _check_name(model, inputs, name, "--input-fp16-nodes")
        if name in behind:
            raise ValueError(
                f"input {name} is to become float16 and is behind AIPP ({aipp}), which takes bytes; drop one of both"
            )
        if _kind(inputs[name]) not in ("float32", "float16"):
            raise ValueError(f"--input-fp16-nodes {name}: it is {_kind(inputs[name])}")
    return [name for name in asked if _kind(inputs[name]) != "float16"]


def _check_name(model: str, inputs: dict[str, Any], name: str, option: str) -> None:
    if name not in inputs:
        raise ValueError(f"{option}: {model} has no input {name!r}; it has {', '.join(inputs)}")


def _check_shapes(
    model: str, inputs: dict[str, Any], shapes: Shapes, batches: Sequence[int], flags: Mapping[str, str]
) -> None:
    for name, dims in shapes.items():
        _check_name(model, inputs, name, "--input-shape")
        declared = _shape(inputs[name])
        if declared and len(dims) != len(declared):
            raise ValueError(
                f"--input-shape: input {name} of {model} has {len(declared)} dimensions, {_text(declared)}, got "
                f"{','.join(dims)}"
            )
        for index, (dim, was) in enumerate(zip(dims, declared, strict=False)):
            if dim == "0":
                raise ValueError(f"--input-shape {name}:{','.join(dims)}: sizes are positive")
            if index and isinstance(was, int) and dim not in (str(was), "-1") and "~" not in dim:
                raise ValueError(f"--input-shape {name}:{','.join(dims)}: {model} is made for {_text(declared)}")
        if batches and (len(batches) > 1 or dims[0] != str(batches[0])):
            raise ValueError(f"--batch and --input-shape {name}:{','.join(dims)} say different things; give one")
    missing = [name for name in inputs if name not in shapes and not _is_fixed(_shape(inputs[name]))]
    if missing:
        raise ValueError(f"--input-shape lacks {', '.join(missing)}, whose shape {model} leaves open")
    is_open = any("-1" in dims for dims in shapes.values())
    dynamic = [name for name in _DYNAMIC if name in flags]
    if dynamic and not is_open:
        raise ValueError(f"--{dynamic[0]} needs -1 where --input-shape is open (E10040)")
    if "dynamic_batch_size" in flags and any("-1" in dims[1:] for dims in shapes.values()):
        raise ValueError("--dynamic_batch_size: only the first dimension can be -1")


def _shapes_for(inputs: dict[str, Any], batch: int | None, flags: Mapping[str, str], model: str) -> Shapes:
    """The model's shapes, with the batch put in, or with -1 where flags leave it open."""
    shapes: Shapes = {}
    if "dynamic_dims" in flags:
        raise ValueError("--dynamic_dims needs --input-shape, with -1 where sizes are open")
    for name, value in inputs.items():
        declared = _shape(value)
        if not declared:
            raise ValueError(f"input {name} of {model} has no shape; give --input-shape {name}:1,3,500,500")
        first = "-1" if "dynamic_batch_size" in flags else str(batch) if batch is not None else str(declared[0])
        rest = list(declared[1:])
        if "dynamic_image_size" in flags:
            if len(rest) != 3:
                raise ValueError(f"--dynamic_image_size: input {name} of {model} is no picture, {_text(declared)}")
            first, rest = str(declared[0] if isinstance(declared[0], int) else 1), [rest[0], -1, -1]
        if not all(isinstance(dim, int) for dim in rest):
            raise ValueError(
                f"input {name} of {model} is {_text(declared)}; give its sizes, --input-shape {name}:1,3,500,500"
            )
        shapes[name] = (first, *map(str, rest))
    return shapes


def _refuse_batch(model: str, inputs: dict[str, Any], shapes: Shapes) -> None:
    for name, dims in shapes.items():
        declared = _shape(inputs[name])
        if declared and isinstance(declared[0], int) and dims[0] != str(declared[0]):
            fixed = f"--batch {dims[0]}, or " if dims[0].isdecimal() else ""
            raise ValueError(
                f"{model} is made for batch {declared[0]} ({name} is {_text(declared)}), not for {dims[0]}: constants "
                f"for that may be anywhere in it. Export one that is right (pspfast export {fixed}--dynamic-batch), or "
                "say --allow-fixed-batch, which is what the guide does, and compare masks"
            )


def _refuse_pools(model: str, loaded: Any) -> None:
    from pspfast.graphs.diagnosis import diagnose

    try:
        found = diagnose(loaded)
    except ValueError as error:
        raise ValueError(f"{model}: {error}") from error
    slow = [finding for finding in found.findings if finding.rule == "pool-limit"]
    if slow:
        what = "\n".join(f"  {', '.join(finding.nodes)}: {finding.problem}" for finding in slow)
        raise ValueError(
            f"{model} has pools that Ascend runs on its AI CPU, many times slower:\n{what}\n"
            f"Write them in another form, pspfast doctor {shlex.quote(model)} --fix OUT, or say --allow-aicpu-pools"
        )


def _output(model: str, output: str | None, batch: int | None, several: bool) -> str:
    suffix = "_dynamic" if batch is None else f"_bs{batch}"
    if output is None:
        # pspfast export has put the batch into the names of its files already.
        name = os.path.basename(model).removesuffix(".onnx").removesuffix(suffix) + suffix
    else:
        name = output[: -len(".om")] if output.endswith(".om") else output  # ATC would make .om.om of it
        if not os.path.basename(name):
            raise ValueError(f"--output {output!r} has no name of a file")
        if several:
            name += suffix
    check_path("--output", name)
    return name


def _layout(inputs: dict[str, Any]) -> str:
    """NCHW as the guide has it; that would be untrue of bytes with their channels last."""
    return "ND" if any(_kind(value) == "uint8" and _shape(value)[-1:] == (3,) for value in inputs.values()) else "NCHW"


def _own_batch(inputs: dict[str, Any]) -> int | None:
    sizes = {shape[0] for shape in map(_shape, inputs.values()) if shape and isinstance(shape[0], int)}
    return sizes.pop() if len(sizes) == 1 else None


def _batch_of(shapes: Shapes) -> int | None:
    sizes = {dims[0] for dims in shapes.values()}
    size = sizes.pop() if len(sizes) == 1 else ""
    return int(size) if size.isdecimal() else None


def _kind(value: Any) -> str:
    from pspfast.system.libraries import need

    name: str = need("onnx").TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    return {"FLOAT": "float32"}.get(name, name.lower())


def _shape(value: Any) -> tuple[Any, ...]:
    from pspfast.graphs import model_files as graphs

    return graphs.shape_of(value) or ()


def _is_fixed(shape: tuple[Any, ...]) -> bool:
    return bool(shape) and all(isinstance(dim, int) for dim in shape)


def _text(shape: Sequence[Any]) -> str:
    return ",".join("?" if dim is None else str(dim) for dim in shape)
