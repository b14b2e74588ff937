"""Small networks and their checkpoints, as mmsegmentation writes them; for the tests of the export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["CONFIG_TEXT", "save_checkpoint", "smooth_pictures", "tiny_pspnet"]

CONFIG_TEXT = """norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    backbone=dict(
        type='ResNetV1c',
        depth=18,
        num_stages=4,
        dilations=(1, 1, 2, 4),
        strides=(1, 2, 1, 1),
        style='pytorch',
        contract_dilation=True),
    decode_head=dict(type='PSPHead', pool_scales=(1, 2, 3, 6), align_corners=False),
    test_cfg=dict(mode='whole'))
work_dir = './work_dirs/pspnet_tiny'
"""


def tiny_pspnet(*, num_classes: int = 5, seed: int = 2, auxiliary: bool = True, depth: int = 18) -> Any:
    """A PSPNet with an eighth of the channels: 0.2 M parameters; a forward at 128x128 takes milliseconds."""
    from pspfast.export.pspnet import random_pspnet

    return random_pspnet(depth, num_classes, seed=seed, width=8, auxiliary=auxiliary)


def save_checkpoint(
    path: Path | str,
    model: Any,
    *,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
    prefix: str = "",
    meta: dict[str, Any] | None = None,
) -> str:
    """Save a network in mmsegmentation's layout.

    Args:
        path: of the file to write.
        model: a network, or a state dict.
        classes, palette: for the meta; made up if left out.
        prefix: before every key, such as ``module.``.
        meta: in place of the whole meta.

    Returns:
        The path.
    """
    import torch

    state = model if isinstance(model, dict) else model.state_dict()
    head = state.get("decode_head.conv_seg.weight")
    count = 0 if head is None else len(head)
    if meta is None:
        meta = {
            "mmseg_version": "0.11.0",
            "config": CONFIG_TEXT,
            "CLASSES": tuple(classes) if classes is not None else tuple(f"class {i}" for i in range(count)),
            "PALETTE": [list(colour) for colour in palette]
            if palette is not None
            else [[i * 11 % 256, i * 37 % 256, 255 - i] for i in range(count)],
            "epoch": 1,
            "iter": 20000,
        }
    torch.save({"meta": meta, "state_dict": {prefix + key: value for key, value in state.items()}}, path)
    return str(path)


def smooth_pictures(number: int, shape: tuple[int, int], *, seed: int = 0) -> Any:
    """Normalized pictures ``(number, 3, H, W)`` with large and small structure."""
    import torch
    from torch.nn import functional

    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(number, 3, 7, 7, generator=generator)
    fine = torch.randn(number, 3, *shape, generator=generator)
    return functional.interpolate(coarse, shape, mode="bilinear", align_corners=False) + 0.2 * fine
