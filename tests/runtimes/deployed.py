"""A small PSPNet as it is deployed, on the real pictures, and what PyTorch makes of the same tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pspfast import ConfusionMatrix, Letterbox
from pspfast.datasets import VOC
from pspfast.pictures.kernels import unpad
from pspfast.pictures.labels import read_labels
from pspfast.stages.preprocessing import preprocess
from tests.export.tiny import save_checkpoint, tiny_pspnet

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["SIZE", "Deployed", "deploy"]

SIZE = (64, 96)
# PyTorch and ONNX Runtime add floats in different orders: where two classes are as near as that, either may win.
_TIE = 1e-3


@dataclass(frozen=True, slots=True)
class Deployed:
    """Everything that a run starts from, and what has to come out.

    Attributes:
        voc: ``VOC2012`` with the pictures.
        split: of all of them.
        models: by batch.
        bins, packed: the pictures, one a bin and 16 a bin.
        masks: what PyTorch makes of each picture.
        ties: pixels of them where PyTorch's best two classes are all but equal.
        labels: label pictures in which the pixels of ``ties`` do not count.
        wanted: PyTorch's masks counted against ``labels``.
    """

    voc: Path
    split: Path
    models: dict[int, Path]
    bins: Path
    packed: Path
    masks: dict[str, NDArray[Any]]
    ties: dict[str, NDArray[Any]]
    labels: Path
    wanted: ConfusionMatrix


def deploy(folder: Path, voc: Path) -> Deployed:
    """Export the network, make the bins, and run PyTorch on them."""
    import torch

    from pspfast.export.exporting import export
    from pspfast.export.networks import load_network

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    split = voc / "ImageSets/Segmentation/val.txt"
    checkpoint = save_checkpoint(folder / "m.pth", tiny_pspnet(num_classes=21), classes=VOC.classes)
    export(checkpoint, str(folder / "m.onnx"), shape=SIZE, batch=(1, 16))
    preprocess(voc / "JPEGImages", folder / "bins", split, size=SIZE)
    preprocess(voc / "JPEGImages", folder / "packed", split, size=SIZE, batch_size=16)
    network = load_network(checkpoint)
    network.prepare(SIZE, "matmul")
    labels = folder / "labels"
    labels.mkdir()
    masks, ties, wanted = {}, {}, ConfusionMatrix(21)
    with torch.inference_mode():
        for path in sorted((folder / "bins").glob("*.bin")):
            tensor = np.fromfile(path, np.float16).reshape(1, 3, *SIZE).astype(np.float32)
            scores = network.module(torch.from_numpy(tensor))[0]
            best = scores.topk(2, 0).values
            masks[path.stem] = scores.argmax(0).numpy()
            ties[path.stem] = (best[0] - best[1] < _TIE).numpy()
            truth = read_labels(str(voc / "SegmentationClass" / f"{path.stem}.png")).pixels.copy()
            geometry = Letterbox.fit(truth.shape, SIZE)
            truth[unpad(ties[path.stem].astype(np.uint8), geometry) != 0] = 255
            Image.fromarray(truth).save(labels / f"{path.stem}.png")
            wanted.update_letterboxed(masks[path.stem], truth, geometry)
    torch.set_num_threads(threads)
    models = {batch: folder / f"m_bs{batch}.onnx" for batch in (1, 16)}
    return Deployed(voc, split, models, folder / "bins", folder / "packed", masks, ties, labels, wanted)
