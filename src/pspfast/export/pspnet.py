"""The project's own PSPNet, and exact pyramid pooling in place of adaptive average pools, in any network.

PSPNet here is ResNetV1c-D8 with a pyramid pooling head, as mmsegmentation publishes it: the same keys in the same
order, so that its checkpoints load as they are, with PyTorch alone. What tensors do not say is a convention: pool
scales 1, 2, 3, 6, an output stride of 8 made by dilations 2 and 4, ``align_corners=False``.
"""

# mypy: disallow-subclassing-any=False
# PyTorch's types are not looked into, so its classes are Any.

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from pspfast.export.exact_pooling import feature_size, pool_sizes, prepare, replace_pooling
from pspfast.export.resizing import resize
from pspfast.export.state_dicts import (
    COUNTER,
    DILATIONS,
    FIRST_BOTTLENECK_DEPTH,
    STAGES,
    STRIDES,
    Architecture,
    architecture_of,
    check_conventions,
    load_weights,
    scales_of,
    without_prefix,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

__all__ = [
    "PSPNet",
    "build",
    "feature_size",
    "load_weights",
    "pool_sizes",
    "prepare",
    "random_pspnet",
    "replace_pooling",
    "resize",
    "without_prefix",
]


class _Block(nn.Module):
    """A residual block, of two 3x3 convolutions or a bottleneck."""

    def __init__(
        self, before: int, width: int, *, bottleneck: bool, stride: int, dilation: int, downsample: nn.Module | None
    ) -> None:
        super().__init__()
        after = 4 * width if bottleneck else width
        spread = partial(nn.Conv2d, kernel_size=3, bias=False)
        if bottleneck:
            self.conv1 = nn.Conv2d(before, width, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = spread(width, width, stride=stride, padding=dilation, dilation=dilation)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3 = nn.Conv2d(width, after, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(after)
        else:
            # Only the first of the two is dilated, as in the networks that were trained.
            self.conv1 = spread(before, width, stride=stride, padding=dilation, dilation=dilation)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = spread(width, width, padding=1)
            self.bn2 = nn.BatchNorm2d(width)
        self.has_bottleneck = bottleneck
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.has_bottleneck:
            y = self.bn3(self.conv3(functional.relu(y)))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class _ResNet(nn.Module):
    """ResNetV1c: three convolutions at the beginning; dilations in place of the last two strides."""

    def __init__(self, is_: Architecture) -> None:
        super().__init__()
        half = is_.stem // 2
        steps: list[nn.Module] = []
        for before, after, stride in ((3, half, 2), (half, half, 1), (half, is_.stem, 1)):
            steps += [
                nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.stem = nn.Sequential(*steps)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        bottleneck = is_.depth >= FIRST_BOTTLENECK_DEPTH
        before = is_.stem
        for i, blocks in enumerate(STAGES[is_.depth]):
            width, stride, dilation = is_.width << i, STRIDES[i], DILATIONS[i]
            after = 4 * width if bottleneck else width
            downsample = None
            if stride != 1 or before != after:
                downsample = nn.Sequential(
                    nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)
                )
            block = partial(_Block, width=width, bottleneck=bottleneck)
            stage = [block(before, stride=stride, dilation=max(dilation // 2, 1), downsample=downsample)]
            stage += [block(after, stride=1, dilation=dilation, downsample=None) for _ in range(1, blocks)]
            self.add_module(f"layer{i + 1}", nn.Sequential(*stage))
            before = after

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.stem(x))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class _Conv(nn.Module):
    """Convolution, batch normalization, ReLU."""

    def __init__(self, before: int, after: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class _PSPHead(nn.Module):
    """Pyramid pooling: averages of the whole map, its quarters and so on, beside the map itself."""

    def __init__(self, is_: Architecture) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(is_.head, is_.num_classes, 1)
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), _Conv(is_.features, is_.head, 1)) for scale in is_.scales
        )
        self.bottleneck = _Conv(is_.features + len(is_.scales) * is_.head, is_.head, 3)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        pyramid = [resize(pool(x), size) for pool in self.psp_modules]
        return self.conv_seg(self.bottleneck(torch.cat([x, *pyramid], dim=1)))


class _AuxiliaryHead(nn.Module):
    """Helps in training only; here to be loaded."""

    def __init__(self, before: int, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(widths[-1], num_classes, 1)
        self.convs = nn.Sequential(
            *(_Conv(one, after, 3) for one, after in zip((before, *widths), widths, strict=False))
        )


class PSPNet(nn.Module):
    """PSPNet on ResNetV1c-D8. Made by :func:`build` or :func:`random_pspnet`.

    ``forward`` takes ``(N, 3, H, W)`` float32, normalized, and gives scores ``(N, classes, H, W)``, scaled up to the
    picture's size bilinearly, as mmsegmentation's test mode "whole" does. The auxiliary head does not run.

    Attributes:
        depth: of the ResNet.
        num_classes: channels of the scores.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.depth, self.num_classes = architecture.depth, architecture.num_classes
        self.backbone = _ResNet(architecture)
        self.decode_head = _PSPHead(architecture)
        if architecture.auxiliary is not None:
            self.auxiliary_head = _AuxiliaryHead(
                architecture.features // 2, architecture.auxiliary, architecture.num_classes
            )

    def forward(self, x: Tensor) -> Tensor:
        """Scores of pictures, see above."""
        return resize(self.decode_head(self.backbone(x)), x.shape[2:])


# -- scaling up ------------------------------------------------------------------------------------------------------


# -- pooling ---------------------------------------------------------------------------------------------------------


# -- sizes -----------------------------------------------------------------------------------------------------------


# -- checkpoints -----------------------------------------------------------------------------------------------------


def build(state_dict: Mapping[str, Tensor], *, path: str = "checkpoint", config_text: str | None = None) -> PSPNet:
    """The network that a checkpoint is of, with its weights, in evaluation mode.

    Depth, widths, classes, and whether there is an auxiliary head follow from the tensors' shapes.

    Args:
        state_dict: as mmsegmentation's; a ``module.`` before all keys, and counters of batches that are not there, do
            not matter.
        path: for messages.
        config_text: the config that the checkpoint was trained with, where it has one: what the tensors cannot say is
            looked up in it, and refused if it is not this network's.

    Raises:
        CheckpointError: of another network, or not whole; says which keys are missing, unexpected or of another shape.

    Example:
        >>> model = build(random_pspnet(18, num_classes=3, width=8).state_dict())
        >>> model.depth, model.num_classes, model(torch.zeros(1, 3, 50, 70)).shape
        (18, 3, torch.Size([1, 3, 50, 70]))
    """
    weights = without_prefix(state_dict)
    scales = scales_of(path, weights, config_text)
    check_conventions(path, config_text)
    architecture = architecture_of(path, weights, scales)
    # Without memory at first: random weights would be made for nothing.
    with torch.device("meta"):
        model = PSPNet(architecture)
    model.to_empty(device="cpu")
    for name, value in model.named_buffers():
        if name.endswith(COUNTER):
            value.zero_()
    load_weights(model, weights, path=path, what=f"PSPNet on ResNetV1c-{architecture.depth}, which it resembles")
    model.eval().requires_grad_(False)
    return model


# -- a network without training --------------------------------------------------------------------------------------


def random_pspnet(
    depth: int = 18,
    num_classes: int = 21,
    *,
    seed: int = 0,
    width: int = 64,
    head_channels: int | None = None,
    auxiliary: bool = True,
) -> PSPNet:
    """A network with random weights that behaves like a trained one, for tests and demonstrations.

    Its batch normalization has the statistics of its own features; the scores of each class are spread alike and
    independent of the others', so that a picture's labels are of most classes.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: channels of the scores.
        seed: the same, the same weights.
        width: channels of the first stage; 64 in published networks.
        head_channels: of the heads; a quarter of the features, as published, if left out.
        auxiliary: with the auxiliary head.

    Raises:
        ValueError: no such network.
    """
    if depth not in STAGES:
        raise ValueError(f"depth must be one of {', '.join(map(str, STAGES))}, got {depth}")
    if width < 2 or width % 2 or num_classes < 1:
        raise ValueError(f"width must be even and classes at least one, got {width} and {num_classes}")
    bare = Architecture(depth, width, width, 0, num_classes)
    head = head_channels or bare.features // 4
    architecture = Architecture(
        depth, width, width, head, num_classes, auxiliary=(max(head // 2, 1),) if auxiliary else None
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = PSPNet(architecture)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the mean over all batches
                module.weight.uniform_(0.75, 1.25)
                module.bias.normal_(0, 0.1)
        pictures = functional.interpolate(torch.randn(8, 3, 9, 9), (97, 97), mode="bicubic")
        pictures += 0.3 * torch.randn_like(pictures)
        model.train()(pictures)
        scores = model.eval()(pictures)
        _spread_scores(model.decode_head.conv_seg, scores)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1
    model.requires_grad_(False)
    return model


def _spread_scores(conv: Any, scores: Tensor) -> None:
    """Change the last convolution so that its scores have mean 0, spread 1 and no correlation."""
    flat = scores.transpose(0, 1).flatten(1).double()
    mean = flat.mean(1)
    covariance = torch.cov(flat).reshape(len(mean), len(mean))
    # More classes than channels are never independent: the rest is left as small as it is.
    covariance += 1e-3 * covariance.diagonal().mean() * torch.eye(len(mean), dtype=torch.float64)
    whiten = torch.linalg.inv(torch.linalg.cholesky(covariance))
    conv.weight.copy_((whiten @ conv.weight.double().flatten(1)).reshape(conv.weight.shape))
    conv.bias.copy_(whiten @ (conv.bias.double() - mean))
