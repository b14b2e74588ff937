import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8] | NDArray[np.int16] | NDArray[np.int32] | NDArray[np.int64]

RUNNABLE_ISAS: tuple[str, ...]
KNOWN_ISAS: tuple[str, ...]

def active_isa() -> str: ...

class Normalizer:
    def __init__(
        self,
        mean: tuple[float, float, float],
        inv_std: tuple[float, float, float],
        single: NDArray[np.float32] | None = None,
    ) -> None: ...

def letterbox_f16(
    image: NDArray[np.uint8],
    out: NDArray[np.uint16],
    resized: tuple[int, int],
    offset: tuple[int, int],
    normalizer: Normalizer,
    pad_value: float,
    reverse_channels: bool,
    isa: str,
) -> None: ...
def letterbox_f32(
    image: NDArray[np.uint8],
    out: NDArray[np.float32],
    resized: tuple[int, int],
    offset: tuple[int, int],
    normalizer: Normalizer,
    pad_value: float,
    reverse_channels: bool,
    isa: str,
) -> None: ...

class LabelRows:
    def __init__(self, count: int, row_of: NDArray[np.int32], ignore: int) -> None: ...

def unpad_mask(mask: Mask, out: Mask, offset: tuple[int, int], size: tuple[int, int]) -> None: ...
def count_confusion(
    preds: Mask,
    target: Mask,
    offset: tuple[int, int],
    size: tuple[int, int],
    classes: LabelRows,
    counts: NDArray[np.int64],
    isa: str,
) -> None: ...
def list_confusion_runs(
    preds: Mask,
    target: Mask,
    offset: tuple[int, int],
    size: tuple[int, int],
    classes: LabelRows,
    cells: NDArray[np.int64],
    lengths: NDArray[np.int64],
    isa: str,
) -> int: ...
def read_file(path: str, start: int, room: NDArray[np.uint8]) -> tuple[int, int, int]: ...
