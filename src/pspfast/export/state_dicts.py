"""What weights by name say of the PSPNet that they belong to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from pspfast.export.checkpoint_kinds import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

__all__ = [
    "COUNTER",
    "DILATIONS",
    "FIRST_BOTTLENECK_DEPTH",
    "STAGES",
    "STRIDES",
    "Architecture",
    "architecture_of",
    "check_conventions",
    "load_weights",
    "scales_of",
    "without_prefix",
]

# Depth -> blocks of the four stages; from 50 on they are bottlenecks, which have four times the channels behind them.
STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


FIRST_BOTTLENECK_DEPTH = 50


STRIDES, DILATIONS = (1, 2, 1, 1), (1, 1, 2, 4)


_SCALES = (1, 2, 3, 6)


_LISTED_KEYS = 5


COUNTER = ".num_batches_tracked"


@dataclass(frozen=True, slots=True)
class Architecture:
    """What of a network is to be seen in its checkpoint.

    Attributes:
        depth: of the ResNet.
        stem, width: channels behind the stem, and of the first stage's blocks.
        head: channels of the pyramid pooling head.
        num_classes: of both heads.
        scales: bins a side, of each pooling.
        auxiliary: channels of each convolution in the auxiliary head; ``None`` if there is no such head.
    """

    depth: int
    stem: int
    width: int
    head: int
    num_classes: int
    scales: tuple[int, ...] = _SCALES
    auxiliary: tuple[int, ...] | None = None

    @property
    def features(self) -> int:
        """Channels behind the last stage."""
        return 8 * self.width * (4 if self.depth >= FIRST_BOTTLENECK_DEPTH else 1)


def without_prefix(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without the ``module.`` that parallel training puts before all keys."""
    prefix = "module."
    if state_dict and all(key.startswith(prefix) for key in state_dict):
        return {key[len(prefix) :]: value for key, value in state_dict.items()}
    return dict(state_dict)


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], *, path: str, what: str) -> None:
    """Load a state dict of which nothing may be missing but counters of batches, and nothing left over.

    Args:
        model: to load into.
        weights: key -> tensor.
        path: of the checkpoint, for messages.
        what: the network is, for messages.

    Raises:
        CheckpointError: they are of another network; lists the first keys of each kind. The model may have changed.
    """
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    shaped = {key: value for key, value in weights.items() if own.get(key, value.shape) == tuple(value.shape)}
    # Not strict by PyTorch's rules, since networks may have names of before that they take as well.
    left = model.load_state_dict(shaped, strict=False)
    misshaped = [
        f"{key} {tuple(weights[key].shape)} instead of {own[key]}"
        for key in weights
        if key in own and key not in shaped
    ]
    missing = [key for key in left.missing_keys if key not in weights and not key.endswith(COUNTER)]
    problems = [
        f"{len(keys)} {kind}: {', '.join(keys[:_LISTED_KEYS])}"
        + (f" and {len(keys) - _LISTED_KEYS} more" if len(keys) > _LISTED_KEYS else "")
        for keys, kind in ((missing, "missing"), (left.unexpected_keys, "unexpected"), (misshaped, "of another shape"))
        if keys
    ]
    if problems:
        raise CheckpointError(path, f"its keys are not those of {what}: {'; '.join(problems)}")


# What keys give a network away, most telling first.
_SIGNS = (
    (r"decode_head\.fpn_convs\.", "UPerNet"),
    (r"decode_head\.(c1_bottleneck|sep_bottleneck)\.", "DeepLabV3+"),
    (r"decode_head\.aspp_modules\.", "DeepLabV3"),
    (
        r"backbone\.layers\.0\.0\.projection\.|backbone\.patch_embed1\.|decode_head\.(linear_fuse|fusion_conv)\.",
        "SegFormer",
    ),
    (r"decode_head\.(query_embed|query_feat|pixel_decoder)\b", "MaskFormer or Mask2Former"),
    (r"decode_head\.\d+\.", "a cascade of heads, such as OCRNet"),
    (r"backbone\.(patch_embed|stages\.0\.blocks|cls_token)", "a network with a transformer as its backbone"),
    (r"decode_head\.psp_modules\..*", "PSPNet with another backbone than ResNetV1c"),
    (r"decode_head\.convs\.0\.", "FCN"),
    (r"decode_head\.", "another network of mmsegmentation"),
    (r"(backbone\.)?(conv1|stem\.0|layer1\.0\.conv1)\.weight", "a backbone alone, without a head"),
)


def _other_network(weights: Iterable[str]) -> str:
    keys = list(weights)
    for pattern, name in _SIGNS:
        if any(re.match(pattern, key) for key in keys):
            return name
    return f"keys such as {', '.join(keys[:3])}" if keys else "nothing: it has no tensors"


def architecture_of(path: str, weights: Mapping[str, Tensor], scales: tuple[int, ...]) -> Architecture:
    """Depth and channels of the network that weights of this shape belong to."""
    stages = tuple(_count(weights, rf"backbone\.layer{i}\.(\d+)\.") for i in range(1, 5))
    is_deep = "backbone.layer1.0.conv3.weight" in weights
    depths = [
        depth for depth, blocks in STAGES.items() if blocks == stages and (depth >= FIRST_BOTTLENECK_DEPTH) == is_deep
    ]
    if not depths:
        kind = "bottlenecks" if is_deep else "blocks"
        raise CheckpointError(
            path,
            f"its four stages have {', '.join(map(str, stages))} {kind}, which no ResNet of 18, 34, 50, 101 or 152 "
            "layers has; if it is another backbone, give its mmsegmentation config (--config)",
        )

    def channels(key: str) -> int:
        value = weights.get(key)
        if value is None or value.ndim < 1:
            raise CheckpointError(path, f"{key} is missing or no array; the checkpoint is not whole")
        return int(value.shape[0])

    auxiliary = None
    if convs := _count(weights, r"auxiliary_head\.convs\.(\d+)\."):
        auxiliary = tuple(channels(f"auxiliary_head.convs.{i}.conv.weight") for i in range(convs))
    return Architecture(
        depth=depths[0],
        stem=channels("backbone.stem.6.weight"),
        width=channels("backbone.layer1.0.conv1.weight"),
        head=channels("decode_head.bottleneck.conv.weight"),
        num_classes=channels("decode_head.conv_seg.weight"),
        scales=scales,
        auxiliary=auxiliary,
    )


def _count(weights: Iterable[str], pattern: str) -> int:
    return max((int(found[1]) + 1 for key in weights if (found := re.match(pattern, key))), default=0)


def scales_of(path: str, weights: Mapping[str, Tensor], config_text: str | None) -> tuple[int, ...]:
    """Bins of the pools; refuses what is not this network at all."""
    count = _count(weights, r"decode_head\.psp_modules\.(\d+)\.1\.conv\.")
    looks_right = (
        count and "backbone.stem.0.weight" in weights and not _count(weights, r"decode_head\.fpn_convs\.(\d+)")
    )
    if not looks_right:
        raise CheckpointError(
            path,
            "not PSPNet on ResNetV1c (ResNet with a stem of three convolutions), which is what loads without a config; "
            f"it looks like {_other_network(weights)}; give its mmsegmentation config (--config)",
        )
    if "backbone.layer2.0.downsample.2.weight" in weights:
        raise CheckpointError(path, "PSPNet on ResNetV1d, not V1c; give its mmsegmentation config (--config)")
    said = re.findall(r"pool_scales\s*=\s*[(\[]([\d,\s]+)[)\]]", config_text or "")
    scales = tuple(int(one) for one in said[0].split(",") if one.strip()) if said else _SCALES
    if len(scales) != count:
        raise CheckpointError(
            path,
            f"its head has {count} pools, where scales of {scales} make {len(scales)}; which scales they have is not "
            "in the checkpoint: give its mmsegmentation config (--config)",
        )
    return scales


def check_conventions(path: str, config_text: str | None) -> None:
    """Refuse a checkpoint whose own config says what its tensors cannot: that it is computed in another way."""
    text = config_text or ""
    expected = {"strides": STRIDES, "dilations": DILATIONS}
    for name, values in expected.items():
        for found in re.findall(rf"\b{name}\s*=\s*[(\[]([\d,\s]+)[)\]]", text)[:1]:
            said = tuple(int(one) for one in found.split(",") if one.strip())
            if said != values:
                raise CheckpointError(
                    path,
                    f"its config has {name} {said}, not {values}; give that config (--config), it is honoured there",
                )
    for pattern, what in (
        (r"\balign_corners\s*=\s*True", "align_corners=True"),
        (r"\bcontract_dilation\s*=\s*False", "contract_dilation=False"),
        (r"\bmulti_grid\s*=\s*[(\[]", "multi_grid"),
        (r"\bstyle\s*=\s*['\"]caffe", "style 'caffe'"),
    ):
        if re.search(pattern, text):
            raise CheckpointError(path, f"its config has {what}; give that config (--config), it is honoured there")
