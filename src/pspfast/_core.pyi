import numpy as np
from numpy.typing import NDArray

RUNNABLE_ISAS: tuple[str, ...]
KNOWN_ISAS: tuple[str, ...]

def active_isa() -> str: ...

class Normalizer:
    def __init__(self, mean: tuple[float, float, float], inv_std: tuple[float, float, float]) -> None: ...

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
