"""Which output of a model has the labels, and whether it can: settled before any picture is done.

Of one picture it is labels ``(H, W)`` of any integer or float type, or class scores ``(classes, H, W)`` of floats, with
dimensions of 1 before them or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.formats.mask_arrays import output_fault
from pspfast.runtimes.picture_output import choose_output, declared_fault, wanted_output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pspfast.runtimes.runtime import Runtime

__all__ = ["ModelMismatch", "ModelOutput", "resolve_output"]


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
    if None in declared.shape[1:] or declared_fault(declared, canvas, num_classes, batch):
        before = len(runtime.compute_seconds)
        outputs = runtime.infer(np.zeros((batch, *shape), runtime.input.dtype))
        del runtime.compute_seconds[before:]  # it was no picture
        found.check(outputs)
    return found


def _check(output: NDArray[Any], model: str, name: str, canvas: tuple[int, int], num_classes: int) -> None:
    """Raise ModelMismatch unless an output, ``(N, ...)``, is labels or scores of N pictures."""
    shape = output.shape[1:]
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    if not output_fault(str(output.dtype), shape, canvas, num_classes):
        return
    is_float = output.dtype.kind == "f"
    given = f"{model} gives {output.dtype} {_by(shape)} for a picture ({name})"
    if is_float and len(shape) == 3 and shape[1:] == canvas:
        raise ModelMismatch(
            f"{given}: scores of {shape[0]} classes, expected are {num_classes}; say which data set it is of "
            "(--dataset, --classes)"
        )
    if len(shape) == 3 and shape[:2] == canvas:
        raise ModelMismatch(f"{given}: classes last; expected {wanted_output(canvas, num_classes)}")
    reason = ""
    if len(shape) >= 2 and canvas != shape[-2:] and _ratio(shape[-2:], canvas):
        reason = f": masks of {shape[-2]}x{shape[-1]} (height x width), which the model has to resize by itself"
    raise ModelMismatch(f"{given}{reason}; expected {wanted_output(canvas, num_classes)}")


def _ratio(given: Sequence[int], canvas: tuple[int, int]) -> bool:
    """Whether both sides are the canvas's, reduced or enlarged alike."""
    return given[0] * canvas[1] == given[1] * canvas[0]


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
