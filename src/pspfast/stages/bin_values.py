"""Whether bins can be of the type that a model takes, by what is in them: sizes alone tell no types apart.

Integers of pictures and labels are small, so their bytes are numbers next to nothing as floats (denormals); floats are
far beyond any picture as integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pspfast.runtimes.runtime import TensorSpec

__all__ = ["check_values"]

_MOST_FILES = 4  # that are looked into until one has anything but zeros
_MOST_BYTES = 1 << 22
_INTEGERS = {2: "int16", 4: "int32", 8: "int64"}


def check_values(paths: Sequence[str], dtype: str, taken: TensorSpec) -> None:
    """Raise ValueError if bins of which nothing but the size tells the type are clearly of another one.

    Args:
        paths: of the bins; the first ones are looked into. Those that cannot be read are told elsewhere.
        dtype: what their size says.
        taken: what the model takes.
    """
    for path in paths[:_MOST_FILES]:
        try:
            with open(path, "rb") as file:
                data = file.read(_MOST_BYTES)
        except OSError:
            continue
        kind = np.dtype(dtype)
        found = another_type(np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], kind))
        if found:
            raise ValueError(f"{path}: as {dtype}, which its size says and {taken} needs, its values are {found}")
        if any(data):
            return


def another_type(values: NDArray[np.generic]) -> str:
    """What is wrong with values, if their bytes are those of another type; empty if they can be what they are.

    Example:
        >>> another_type(np.arange(9, dtype=np.int32).view(np.float32))
        'next to nothing (denormals): these are the bytes of int32, such as 0 to 8'
        >>> another_type(np.linspace(-2, 2, 9, dtype=np.float32))
        ''
    """
    kind = values.dtype
    if kind.kind == "f" and kind.itemsize in _INTEGERS:
        return _as_integers(values)
    if kind.kind in "iu" and kind.itemsize in (4, 8):
        return _as_floats(values)
    return ""


def _as_integers(values: NDArray[np.generic]) -> str:
    kind = values.dtype
    integers = values.view(np.dtype(f"i{kind.itemsize}"))
    some = integers[integers != 0].astype(np.int64)
    # All bits of such integers are in a float's fraction; a picture has no float like that, let alone nothing else.
    if not some.size or (np.abs(some) >= 1 << (10 if kind.itemsize == 2 else 20)).any():
        return ""
    return (
        f"next to nothing (denormals): these are the bytes of {_INTEGERS[kind.itemsize]}, such as "
        f"{int(integers.min())} to {int(integers.max())}"
    )


def _as_floats(values: NDArray[np.generic]) -> str:
    floats = values.view(np.dtype(f"f{values.dtype.itemsize}"))
    some = floats[values != 0]
    with np.errstate(invalid="ignore"):
        sizes = np.abs(some)
        is_float = bool(some.size) and bool(np.isfinite(some).all() and ((sizes > 1e-12) & (sizes < 1e6)).all())
    if not is_float:
        return ""
    return (
        f"{int(values.min())} to {int(values.max())}: these are the bytes of float{8 * floats.dtype.itemsize}, such as "
        f"{float(floats.min()):.3g} to {float(floats.max()):.3g}"
    )
