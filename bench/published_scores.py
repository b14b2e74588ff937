"""The published postprocessing over a data set: ``python -m bench.published_scores DUMPS INFO LABELS SPLIT``.

The same calls in the same order: every dump cropped and interpolated by PyTorch, every label picture read by mmcv,
all of them kept; then a mask, three histograms and sums in float64 for each picture. Prints intersection, prediction
and label areas. Needs PyTorch and mmcv (``mmcv-lite`` is enough), as the script does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import mmcv
import numpy as np
import torch

CLASSES, SIDE = 21, 500


def main(dumps: str, info: str, labels: str, split: str) -> None:
    sizes = {}
    for line in Path(info).read_text().splitlines():
        _, path, *size = line.split(" ")
        sizes[path.split("/")[-1].split(".")[0]] = int(size[0]), int(size[1])
    masks = []
    for name in sorted({name[: name.rfind("_")] for name in os.listdir(dumps)}):
        mask = np.fromfile(f"{dumps}/{name}_1.bin", np.int32).reshape(SIDE, SIDE)
        width, height = sizes[name]
        scale = min(SIDE / width, SIDE / height)
        left, top = max(int((SIDE - width * scale) // 2), 0), max(int((SIDE - height * scale) // 2), 0)
        tensor = torch.from_numpy(mask[top : SIDE - top, left : SIDE - left]).to(torch.float32)
        tensor = tensor.expand((1, 1, *tensor.shape))
        tensor = torch.nn.functional.interpolate(tensor, size=(height, width), mode="nearest")
        masks.append(tensor.squeeze().to(torch.int32).numpy())
    names = Path(split).read_text().split()
    truths = [mmcv.imread(f"{labels}/{name}.png", flag="unchanged", backend="pillow") for name in names]

    totals = [torch.zeros(CLASSES, dtype=torch.float64) for _ in range(3)]
    for mask, truth in zip(masks, truths, strict=True):
        preds, label = torch.from_numpy(mask), torch.from_numpy(truth)
        valid = label != 255
        preds, label = preds[valid], label[valid]
        for index, one in enumerate((preds[preds == label], preds, label)):
            totals[index] += torch.histc(one.float(), bins=CLASSES, min=0, max=CLASSES - 1)
    print(json.dumps([total.tolist() for total in totals]))


if __name__ == "__main__":
    main(*sys.argv[1:])
