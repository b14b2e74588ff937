"""What is asked of ATC: a command line an .om, and what cannot be right in it."""

from __future__ import annotations

import errno
import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pspfast.vendors.atc_flags import DYNAMIC_FLAGS, MANAGED_FLAGS, MODES_OF_MODELS, check_flags, check_path
from pspfast.vendors.atc_inputs import declared_batch, float16_inputs, input_format, inputs_behind_aipp
from pspfast.vendors.atc_shapes import batch_in, check_shapes, refuse_other_batch, shapes_for_batch
from pspfast.vendors.soc_version import check_soc_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pspfast.vendors.atc_shapes import Shapes

__all__ = ["Conversion", "is_air", "plan"]


@dataclass(frozen=True, slots=True)
class Conversion:
    """One call of ATC.

    Attributes:
        model: the ONNX file.
        output: the ``.om`` file to make, without ``.om``.
        soc_version: the chip.
        flags: flag without dashes -> value, in the order of the command line, between ``--output`` and the end.
        batch: pictures at a time; ``None`` if that is decided when it runs, or by an ``.air`` file.
        framework: ``"5"`` for ONNX, ``"1"`` for MindSpore's ``.air``.
    """

    model: str
    output: str
    soc_version: str
    flags: dict[str, str]
    batch: int | None
    framework: str = "5"

    @property
    def suffix(self) -> str:
        """How the file ends that it makes: ``.om``, or ``.om2`` with ``--mode=7``."""
        return MODES_OF_MODELS[self.flags.get("mode", "0")]

    def argv(self, *, model: str | None = None, output: str | None = None, program: str = "atc") -> list[str]:
        """The command line; ``model`` and ``output`` stand in for those it was made for.

        Example:
            >>> one = Conversion("m.onnx", "m_bs1", "Ascend310", {"input_shape": "input:1,3,500,500"}, 1)
            >>> one.argv()[:4]
            ['atc', '--framework=5', '--model=m.onnx', '--output=m_bs1']
        """
        files = {"model": model or self.model, "output": output or self.output}
        flags = {"framework": self.framework, **files, **self.flags}
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
        model: the ONNX file; or an ``.air`` file of MindSpore, whose shapes and batch are its own (nothing of it is
            read here).
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
    from pspfast.graphs import model_files

    flags = dict(flags or {})
    for name in flags:
        if name in MANAGED_FLAGS:
            raise ValueError(f"--{name} has an option of its own, or is always the same")
    check_path("--model", model)
    check_soc_version(soc_version)
    check_flags(flags, aipp)
    if is_air(model):
        if batches or shapes is not None or halves:
            raise ValueError(f"{model} has its own shapes and types; --batch, --input-shape and the like are for ONNX")
        return [_plan_of_air(model, soc_version, output, aipp, flags)]
    loaded = model_files.load(model, weights=False)
    inputs = {value.name: value for value in model_files.inputs(loaded)}
    if not inputs:
        raise ValueError(f"{model} has no inputs")
    behind_aipp = inputs_behind_aipp(aipp, model, inputs) if aipp is not None else {}
    fp16 = float16_inputs(model, inputs, halves, behind_aipp, aipp)
    is_open = any(name in flags for name in DYNAMIC_FLAGS)
    if is_open and batches:
        raise ValueError(
            f"a batch beside --{next(name for name in DYNAMIC_FLAGS if name in flags)}: sizes are decided when it runs"
        )
    if shapes is not None:
        check_shapes(model, inputs, shapes, batches, flags)
        if not batches:
            batches = [batch] if (batch := batch_in(shapes, inputs)) else []
    elif not is_open and not batches:
        batches = [declared_batch(inputs) or 1]
    if not allow_aicpu_pools:
        _refuse_pools(model, loaded)
    planned = []
    wanted: list[int | None] = [*batches] or [None]
    several = len(batches) > 1
    if len(set(batches)) < len(batches):
        raise ValueError(f"the same batch twice: {', '.join(map(str, batches))}")
    for batch in wanted:
        given = shapes or shapes_for_batch(inputs, batch, flags, model)
        if not allow_fixed_batch:
            refuse_other_batch(model, inputs, given)
        values: dict[str, str] = {}
        if (layout := flags.get("input_format", input_format(inputs))) != "":
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


def is_air(model: str) -> bool:
    """Whether a file is MindSpore's, by its name."""
    return model.lower().endswith(".air")


def _plan_of_air(
    model: str, soc_version: str, output: str | None, aipp: str | None, flags: Mapping[str, str]
) -> Conversion:
    if not os.path.isfile(model):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), model)
    values = {"log": flags.get("log", "error"), "soc_version": soc_version}
    if aipp is not None:
        values["insert_op_conf"] = aipp
    values = {name: value for name, value in (values | dict(flags)).items() if value != ""}
    name = os.path.splitext(os.path.basename(model))[0] if output is None else _without_suffix(output)
    check_path("--output", name)
    return Conversion(model, name, soc_version, values, None, framework="1")


def _without_suffix(output: str) -> str:
    """ATC adds the ending itself: of .om it would make .om.om."""
    for suffix in MODES_OF_MODELS.values():
        output = output.removesuffix(suffix)
    return output


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
        name = _without_suffix(output)
        if not os.path.basename(name):
            raise ValueError(f"--output {output!r} has no name of a file")
        if several:
            name += suffix
    check_path("--output", name)
    return name
