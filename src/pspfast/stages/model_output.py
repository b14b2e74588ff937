"""Which output of a model has the labels, and whether it can: settled before any picture is done.

Of one picture it is labels ``(H, W)`` of any integer or float type, or class scores ``(classes, H, W)`` of floats, with
dimensions of 1 before them or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pspfast.runtimes.runtime import Runtime, TensorSpec

__all__ = ["ModelMismatch", "ModelOutput", "choose_output", "resolve_output"]

_KINDS = "biuf"


class ModelMismatch(ValueError):  # noqa: N818 - named by what it is
    """A model whose output is neither labels nor scores of what it was given: no picture of it can be scored."""


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """The output that has the labels.

    Attributes:
        model: its file, for messages.
        name, index: of the output.
        canvas: ``(H, W)`` of the pictures.
        num_classes: of scores.
    """

    model: str
    name: str
    index: int
    canvas: tuple[int, int]
    num_classes: int

    def check(self, outputs: Sequence[NDArray[Any]]) -> None:
        """Raise ModelMismatch unless a batch's outputs have labels or scores of its pictures."""
        _check(outputs[self.index], self.model, self.name, self.canvas, self.num_classes)


def resolve_output(
    runtime: Runtime, model: str, canvas: tuple[int, int], num_classes: int, shape: Sequence[int], name: str | None
) -> ModelOutput:
    """Find the output with the labels, and see that it fits.

    What the file declares is believed where it fits; where it leaves sizes open, or does not fit, the model is asked
    with a batch of zeros.

    Args:
        runtime: with the model.
        model: its file, for messages.
        canvas: ``(H, W)`` of its pictures.
        num_classes: that scores have to be of.
        shape: of one picture, as it is fed.
        name: of the output; the only one that can be it if left out.

    Raises:
        ModelMismatch: it gives something else.
        ValueError: no such output, or several that can be it.
        RuntimeFault: the model fails.
    """
    batch = runtime.batches[0] if runtime.batches else 1
    index = choose_output(runtime.outputs, model, canvas, num_classes, batch, name)
    declared = runtime.outputs[index]
    found = ModelOutput(model, declared.name, index, canvas, num_classes)
    if None in declared.shape[1:] or not _can_be(declared, canvas, num_classes, batch):
        before = len(runtime.compute_seconds)
        outputs = runtime.infer(np.zeros((batch, *shape), runtime.input.dtype))
        del runtime.compute_seconds[before:]  # it was no picture
        found.check(outputs)
    return found


def choose_output(
    outputs: Sequence[TensorSpec],
    model: str,
    canvas: tuple[int, int],
    num_classes: int,
    batch: int = 1,
    name: str | None = None,
) -> int:
    """The number of the output that is asked for, else of the only one, else of the only one that can be labels.

    Raises:
        ValueError: no such output, none that can be, or several; the text lists them.

    Example:
        >>> from pspfast.runtimes.runtime import TensorSpec
        >>> features, labels = TensorSpec("f", "float32", (1, 64, 8, 8)), TensorSpec("y", "int64", (1, 32, 32))
        >>> choose_output([features, labels], "m.onnx", (32, 32), 21)
        1
    """
    names = [one.name for one in outputs]
    every = ", ".join(map(str, outputs))
    if name is not None:
        if name not in names:
            raise ValueError(f"{model} has no output {name!r}; it has {every}")
        return names.index(name)
    if len(outputs) == 1:
        return 0
    fitting = [index for index, one in enumerate(outputs) if _can_be(one, canvas, num_classes, batch)]
    if len(fitting) == 1:
        return fitting[0]
    wanted = _wanted(canvas, num_classes)
    if not fitting:
        raise ModelMismatch(f"{model} has {len(outputs)} outputs, {every}; none of them can be {wanted}")
    raise ValueError(
        f"{model} has {len(outputs)} outputs, {every}; {len(fitting)} of them can be {wanted}: say which it is "
        f"(--output-name {outputs[fitting[0]].name})"
    )


def _check(output: NDArray[Any], model: str, name: str, canvas: tuple[int, int], num_classes: int) -> None:
    """Raise ModelMismatch unless an output, ``(N, ...)``, is labels or scores of N pictures."""
    shape = output.shape[1:]
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    if output.dtype.kind in _KINDS and shape == canvas:
        return
    is_float = output.dtype.kind == "f"
    if is_float and shape == (num_classes, *canvas) and num_classes > 1:
        return
    given = f"{model} gives {output.dtype} {_by(shape)} for a picture ({name})"
    if is_float and len(shape) == 3 and shape[1:] == canvas:
        raise ModelMismatch(
            f"{given}: scores of {shape[0]} classes, expected are {num_classes}; say which data set it is of "
            "(--dataset, --classes)"
        )
    if len(shape) == 3 and shape[:2] == canvas:
        raise ModelMismatch(f"{given}: classes last; expected {_wanted(canvas, num_classes)}")
    reason = ""
    if len(shape) >= 2 and canvas != shape[-2:] and _ratio(shape[-2:], canvas):
        reason = f": masks of {shape[-2]}x{shape[-1]} (height x width), which the model has to resize by itself"
    raise ModelMismatch(f"{given}{reason}; expected {_wanted(canvas, num_classes)}")


def _can_be(output: TensorSpec, canvas: tuple[int, int], num_classes: int, batch: int) -> bool:
    """Whether an output with such a declaration can be labels or scores."""
    kind = np.dtype(output.dtype).kind
    shape = output.shape
    if len(shape) < 3 or kind not in _KINDS:
        return False
    if any(side not in (None, wanted) for side, wanted in zip(shape[-2:], canvas, strict=True)):
        return False
    rest = shape[1:-2]
    allowed: tuple[int | None, ...] = (1, None, batch) if shape[0] == 1 else (1, None)
    if all(side in allowed for side in rest):
        return True
    counts = [side for side in rest if side not in (1, None)]
    return kind == "f" and counts == [num_classes]


def _wanted(canvas: tuple[int, int], num_classes: int) -> str:
    return f"labels {_by(canvas)} or scores of {num_classes} classes {_by((num_classes, *canvas))}"


def _ratio(given: Sequence[int], canvas: tuple[int, int]) -> bool:
    """Whether both sides are the canvas's, reduced or enlarged alike."""
    return given[0] * canvas[1] == given[1] * canvas[0]


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
