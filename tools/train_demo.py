"""Trains the network of ``pspfast demo``: ``python tools/train_demo.py``; four minutes on one core.

Needs the extra ``export``. Writes ``tools/demo.pth``, in mmsegmentation's layout, and from it
``src/pspfast/datasets/demo/demo.onnx``. The same numbers come out on the same kind of CPU with the same PyTorch;
others round
differently. ``--export`` trains nothing and exports the checkpoint again; ``--check`` exports it elsewhere and
compares that with the file in the package.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

import pspfast
from pspfast.datasets import VOC, palette
from pspfast.datasets.demo import CANVAS
from pspfast.datasets.demo.scenes import TRAINING, draw, write_scenes
from pspfast.datasets.sources import data_set_source
from pspfast.export.exporting import export
from pspfast.export.pspnet import random_pspnet
from pspfast.export.verification import MIN_AGREEMENT, verify
from pspfast.stages.whole_run import run

CHECKPOINT = Path(__file__).resolve().parent / "demo.pth"
MODEL = Path(__file__).resolve().parents[1] / "src/pspfast/datasets/demo/demo.onnx"

HELD_OUT = range(60)
STEPS, BATCH, RATE = 1600, 8, 3e-3
SEED = 0


def tensors(indices: range) -> tuple[torch.Tensor, torch.Tensor]:
    """Scenes as the network gets them: letterboxed as deployed, labels alike, void around."""
    inputs = np.empty((len(indices), 3, *CANVAS), np.float16)
    targets = np.full((len(indices), *CANVAS), 255, np.uint8)
    for slot, index in enumerate(indices):
        picture, labels = draw(index, SEED)
        pspfast.letterbox(np.ascontiguousarray(picture[..., ::-1]), out=inputs[slot])
        box = pspfast.Letterbox.fit(labels.shape, CANVAS)
        (height, width), (top, left) = box.resized, box.offset
        small = Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST)
        targets[slot, top : top + height, left : left + width] = np.asarray(small)
    return torch.from_numpy(inputs), torch.from_numpy(targets)


def train() -> Any:
    """The network, trained."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    inputs, targets = tensors(TRAINING)
    network = random_pspnet(18, len(VOC.classes), seed=SEED, width=8, auxiliary=False).requires_grad_(True).train()
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-3)
    generator = torch.Generator().manual_seed(SEED)
    started = time.perf_counter()
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 50) * (1 - step / STEPS) ** 0.9
        chosen = torch.randint(len(inputs), (BATCH,), generator=generator)
        pictures, labels = inputs[chosen].float(), targets[chosen].long()
        if torch.rand((), generator=generator) < 0.5:
            pictures, labels = pictures.flip(3), labels.flip(2)
        loss = functional.cross_entropy(network(pictures), labels, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0 or step == STEPS - 1:
            print(f"step {step}: loss {loss.item():.4f}, {time.perf_counter() - started:.0f} s", flush=True)
    return network.eval()


def save(network: Any) -> None:
    """As mmsegmentation lays checkpoints out."""
    colours = palette(len(VOC.classes))
    meta = {
        "CLASSES": VOC.classes,
        "PALETTE": [list(colours[3 * index : 3 * index + 3]) for index in range(len(VOC.classes))],
        "iter": STEPS,
        "config": "",
    }
    torch.save({"meta": meta, "state_dict": network.state_dict()}, CHECKPOINT)


def score(folder: str) -> float:
    """Mean IoU of the model in the package on scenes that it has not seen, in percent."""
    root = os.path.join(folder, "VOC2012")
    write_scenes(root, {"val": HELD_OUT}, SEED)
    with data_set_source(root) as source:
        result = run(MODEL, source, os.path.join(folder, "run"), report=False).result
    assert result is not None
    return 100 * float(result.summary()["mIoU"])


def check(source: str, folder: str) -> bool:
    """Whether the model in the package is that of the checkpoint."""
    root = Path(folder, "VOC2012")
    write_scenes(root, {"val": HELD_OUT}, SEED)
    new = os.path.join(folder, "demo.onnx")
    export(source, new, shape=CANVAS, dynamic_batch=True)
    images = [str(path) for path in sorted((root / "JPEGImages").iterdir())]
    found = verify(new, str(MODEL), images=images)
    print(found)
    return found.equal >= MIN_AGREEMENT


def main() -> int:
    """Train and export, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--check", action="store_true", help="train nothing, write nothing: export and compare")
    which.add_argument("--export", action="store_true", help="train nothing: export")
    args = parser.parse_args()
    os.chdir(CHECKPOINT.parents[1])  # the checkpoint's path is written into the model
    source = str(CHECKPOINT.relative_to(Path.cwd()))
    with tempfile.TemporaryDirectory() as folder:
        if args.check:
            is_same = check(source, folder)
        else:
            if not args.export:
                save(train())
            is_same = True
            for file in export(source, str(MODEL), shape=CANVAS, dynamic_batch=True):
                print(f"{file.path}: {file.size:,} bytes, {file.agreement:.4%} of noise labelled as PyTorch does")
        print(f"mIoU {score(folder):.2f} on {len(HELD_OUT)} scenes that it has not seen")
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
