"""The published script's route over a data set: ``python -m bench.published IMAGES SPLIT OUT``.

The same calls in the same order (imread, resize, normalize, pad, transpose, cast, tofile of the transposed view),
without the imports of torch and mmcv that the script pays for.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from bench.routes import opencv_view


def main(images: str, split: str, out: str) -> None:
    Path(out).mkdir(parents=True, exist_ok=True)
    for name in Path(split).read_text().split():
        opencv_view(np.asarray(cv2.imread(f"{images}/{name}.jpg"), np.uint8)).tofile(f"{out}/{name}.bin")


if __name__ == "__main__":
    main(*sys.argv[1:])
