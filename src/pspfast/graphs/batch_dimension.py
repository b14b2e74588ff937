"""Which dimension of a graph's inputs is the number of pictures: for what is compiled, simplified and diagnosed.

The first dimension of an input is that of the pictures only where the input is one of pictures, or is open as theirs
is. A second input such as ``orig_im_size [2]`` has nothing to do with two pictures, and ``[3, H, W]`` is one picture
without a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pspfast.graphs.declared import Dim

__all__ = ["example_shape", "has_batch", "pictures_at_once", "text_of_shape"]

_CHANNELS = (1, 3, 4)
_EXAMPLE_SIDE = 500
_BATCHED = range(4, 6)  # dimensions of pictures and volumes with a batch


def has_batch(shapes: Mapping[str, tuple[Dim, ...] | None]) -> set[str]:
    """Inputs whose first dimension is the number of pictures.

    Args:
        shapes: input -> its declared shape, of all inputs of a model.

    Example:
        >>> sorted(has_batch({"image": (None, 3, 64, 96), "scale": (None, 2), "orig_im_size": (2,)}))
        ['image', 'scale']
        >>> has_batch({"x": (3, 64, 96)})
        set()
    """
    known = {name: shape for name, shape in shapes.items() if shape}
    pictures = {name for name, shape in known.items() if len(shape) in _BATCHED}
    if not pictures:
        # Not of pictures in any usual form; the first dimension is the batch by convention, unless channels come first.
        return {name for name, shape in known.items() if len(shape) > 1 and not _is_one_picture(shape)}
    others = {
        name
        for name, shape in known.items()
        if name not in pictures and len(shape) > 1 and not isinstance(shape[0], int)
    }
    return pictures | others


def pictures_at_once(shapes: Mapping[str, tuple[Dim, ...] | None]) -> Dim:
    """The number of pictures that a model takes at once: 1 without a batch, a name or ``None`` where it is open.

    ``None`` also where inputs are for different numbers, or no shape is declared.

    Example:
        >>> pictures_at_once({"orig_im_size": (2,), "image": (8, 3, 64, 96)}), pictures_at_once({"x": (3, 64, 96)})
        (8, 1)
    """
    batched = has_batch(shapes)
    firsts = {shape[0] for name, shape in shapes.items() if name in batched and shape}
    if not batched:
        return 1 if any(shape for shape in shapes.values()) else None
    fixed = {first for first in firsts if isinstance(first, int)}
    if fixed:
        return fixed.pop() if len(fixed) == 1 else None
    return firsts.pop() if len(firsts) == 1 else None


def example_shape(name: str, shape: tuple[Dim, ...] | None, batch: int = 1) -> str:
    """A whole shape for an option, with the dimensions that the input has, e.g. ``x:1,500,500,3``.

    Example:
        >>> example_shape("x", (None, None, None, 3)), example_shape("x", (None, 3, None, None), 16)
        ('x:1,500,500,3', 'x:16,3,500,500')
    """
    if not shape:
        return f"{name}:{batch},3,{_EXAMPLE_SIDE},{_EXAMPLE_SIDE}"
    dims: list[str] = []
    leading = 1 if len(shape) != 3 else 0
    is_last = isinstance(shape[-1], int) and shape[-1] in _CHANNELS
    for index, dim in enumerate(shape):
        if isinstance(dim, int):
            dims.append(str(dim))
        elif index < leading:
            dims.append(str(batch))
        elif len(shape) >= 3 and index == leading and not is_last:
            dims.append("3")
        else:
            dims.append(str(_EXAMPLE_SIDE if len(shape) >= 3 else 1))
    return f"{name}:{','.join(dims)}"


def text_of_shape(shape: tuple[Dim, ...] | None) -> str:
    """A shape as ``?,3,64,96``; the names of open dimensions stand as they are."""
    if shape is None:
        return "of no declared shape"
    return ",".join("?" if dim is None else str(dim) for dim in shape)


def _is_one_picture(shape: tuple[Dim, ...]) -> bool:
    return len(shape) == 3 and (shape[0] in _CHANNELS or shape[-1] in _CHANNELS) and isinstance(shape[0], int)
