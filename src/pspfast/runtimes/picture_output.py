"""Which output of a model is labels or scores of its pictures, by what its file declares.

Of one picture that is labels ``(H, W)`` of any integer or float type, or class scores ``(classes, H, W)`` of floats,
with dimensions of 1 before them or none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pspfast.formats.mask_arrays import output_fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pspfast.runtimes.runtime import TensorSpec

__all__ = ["choose_output", "declared_fault", "wanted_output"]


def choose_output(
    outputs: Sequence[TensorSpec],
    model: str,
    canvas: tuple[int, int] | None,
    num_classes: int | None,
    batch: int = 1,
    name: str | None = None,
    option: str = "--output-name",
) -> int:
    """The number of the output that is asked for, else of the only one, else of the only one that can be labels.

    Args:
        outputs: of the model, as it declares them.
        model: its file, for messages.
        canvas: ``(H, W)`` of its pictures, ``None`` where that is not known.
        num_classes: that scores have to be of, ``None`` for any number.
        batch: pictures at once, which may be in the second dimension.
        name: what is asked for.
        option: that says so, for messages.

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
    fitting = [index for index, one in enumerate(outputs) if not declared_fault(one, canvas, num_classes, batch)]
    if len(fitting) == 1:
        return fitting[0]
    wanted = wanted_output(canvas, num_classes)
    if not fitting:
        raise ValueError(f"{model} has {len(outputs)} outputs, {every}; none of them can be {wanted}")
    can = ", ".join(str(outputs[index]) for index in fitting)
    raise ValueError(
        f"{model} has the outputs {', '.join(names)}; which are the labels? {can}: each can be {wanted}; say which "
        f"({option} {outputs[fitting[0]].name})"
    )


def declared_fault(output: TensorSpec, canvas: tuple[int, int] | None, num_classes: int | None, batch: int) -> str:
    """Why an output with such a declaration can be neither labels nor scores of pictures; empty if it can.

    The pictures are its first dimension, or the second one behind a 1.

    Args:
        output, canvas, num_classes, batch: see :func:`choose_output`.

    Example:
        >>> from pspfast.runtimes.runtime import TensorSpec
        >>> declared_fault(TensorSpec("y", "int64", (1, None, 64, 96)), (64, 96), 21, 4)
        ''
    """
    shapes = [output.shape[1:]]
    if output.shape[:1] in ((1,), (None,)) and output.shape[1:2] in ((batch,), (None,)):
        shapes.append(output.shape[2:])
    faults = [output_fault(output.dtype, shape, canvas or (None, None), num_classes) for shape in shapes]
    return faults[0] if all(faults) else ""


def wanted_output(canvas: tuple[int, int] | None, num_classes: int | None) -> str:
    """What an output has to be, in words.

    Example:
        >>> wanted_output((64, 96), 21)
        'labels 64x96 or scores of 21 classes 21x64x96'
    """
    size = "x".join(map(str, canvas or ("H", "W")))
    of = "" if num_classes is None else f" of {num_classes} classes"
    return f"labels {size} or scores{of} {num_classes or 'C'}x{size}"
