"""The project's own PSPNet, and exact pyramid pooling in place of adaptive average pools, in any network.

PSPNet here is ResNetV1c-D8 with a pyramid pooling head, as mmsegmentation publishes it: the same keys in the same
order, so that its checkpoints load as they are, with PyTorch alone. What tensors do not say is a convention: pool
scales 1, 2, 3, 6, an output stride of 8 made by dilations 2 and 4, ``align_corners=False``.
"""

# mypy: disallow-subclassing-any=False
# PyTorch's types are not looked into, so its classes are Any.

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from pspfast.export.checkpoints import CheckpointError
from pspfast.graphs import pool_windows as pooling

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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

PoolingKind = Literal["matmul", "cascade", "native"]

# Depth -> blocks of the four stages; from 50 on they are bottlenecks, which have four times the channels behind them.
_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_FIRST_BOTTLENECK_DEPTH = 50
_STRIDES, _DILATIONS = (1, 2, 1, 1), (1, 1, 2, 4)
_SCALES = (1, 2, 3, 6)
# The documented limits of Ascend's AveragePool (docs/export.md).
_MOST_KERNEL_SIDE, _MOST_STRIDE = 255, 63
_LISTED_KEYS = 5
_COUNTER = ".num_batches_tracked"


@dataclass(frozen=True, slots=True)
class _Architecture:
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
        return 8 * self.width * (4 if self.depth >= _FIRST_BOTTLENECK_DEPTH else 1)


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

    def __init__(self, is_: _Architecture) -> None:
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
        bottleneck = is_.depth >= _FIRST_BOTTLENECK_DEPTH
        before = is_.stem
        for i, blocks in enumerate(_STAGES[is_.depth]):
            width, stride, dilation = is_.width << i, _STRIDES[i], _DILATIONS[i]
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

    def __init__(self, is_: _Architecture) -> None:
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

    def __init__(self, architecture: _Architecture) -> None:
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


def resize(x: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Scale maps bilinearly; in a traced graph to this size for good, whatever the batch.

    PyTorch's exporter takes the batch from the input whenever that can vary, by a chain of ``Shape`` operators that
    compilers refuse. Constant scales say nothing of the batch.

    Args:
        x: ``(N, C, h, w)``.
        size: ``(H, W)`` wanted.
        align_corners: as PyTorch's.

    Returns:
        ``(N, C, H, W)``; ``x`` itself if it has that size.
    """
    if not torch.jit.is_tracing():
        if x.shape[2:] == torch.Size(size):
            return x
        return functional.interpolate(x, tuple(size), mode="bilinear", align_corners=align_corners)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # a constant is what is wanted
        height, width = map(int, size)
        before = [int(side) for side in x.shape[2:]]
    if before == [height, width]:
        return x
    scales = [scale_reaching(one, other) for one, other in zip(before, (height, width), strict=True)]
    return _ConstantResize.apply(x, height, width, scales, align_corners)


def scale_reaching(before: int, after: int) -> float:
    """The least float32 whose product with a size, rounded down, is another size, in float32 and finer arithmetic.

    ONNX rounds down: by the nearest float32 to 7/25, 25 pixels may become 6. Being off by one unit in the last place
    moves no sample by more than the rounding of its coordinate does.

    Example:
        >>> scale_reaching(63, 500) * 63 >= 500
        True
    """
    scale = np.float32(after / before)
    while float(scale) * before < after:
        scale = np.nextafter(scale, np.float32(np.inf))
    return float(scale)


class _ConstantResize(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, x: Tensor, height: int, width: int, _scales: list[float], align_corners: bool) -> Tensor:
        return functional.interpolate(x, (height, width), mode="bilinear", align_corners=align_corners)

    @staticmethod
    def symbolic(g: Any, x: Any, height: int, width: int, scales: list[float], align_corners: bool) -> Any:
        resized = g.op(
            "Resize",
            x,
            g.op("Constant", value_t=torch.tensor([], dtype=torch.float32)),
            g.op("Constant", value_t=torch.tensor([1, 1, *scales], dtype=torch.float32)),
            mode_s="linear",
            coordinate_transformation_mode_s="align_corners" if align_corners else "half_pixel",
        )
        if (sizes := x.type().sizes()) is not None:
            resized.setType(x.type().with_sizes([*sizes[:2], height, width]))
        return resized


# -- pooling ---------------------------------------------------------------------------------------------------------


class MatmulPool(nn.Module):
    """Adaptive average pooling as a product with a matrix from either side; exact for every size.

    One matrix a side rather than one for all bins of all scales at once: it takes the place of one adaptive pool in
    whatever network, its tensors keep four dimensions, and nothing of it depends on the batch. The single product would
    save 2.5 ms of 3.3 s (docs/export.md).

    Args:
        size: ``(h, w)`` of the maps.
        bins: of the output; ``None`` leaves an axis as it is.
    """

    def __init__(self, size: tuple[int, int], bins: tuple[int | None, int | None]) -> None:
        super().__init__()
        self.size, self.bins = size, bins
        rows, columns = (
            None if one is None else torch.from_numpy(pooling.average_matrix(side, one)).float()
            for side, one in zip(size, bins, strict=True)
        )
        # Not in the state dict: checkpoints know nothing of it.
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", None if columns is None else columns.t().contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.columns is not None:
            x = torch.matmul(x, self.columns)
        return x if self.rows is None else torch.matmul(self.rows, x)

    def extra_repr(self) -> str:
        return f"size={self.size}, bins={self.bins}"


class CascadePool(nn.Module):
    """Adaptive average pooling as average pools along one axis each, where all windows of an axis have the same length.

    Windows that are not evenly spaced are picked from the averages of every position.

    Args:
        size, bins: as for :class:`MatmulPool`.

    Raises:
        ValueError: the windows of an axis differ, or are beyond what Ascend's pooling takes.
    """

    def __init__(self, size: tuple[int, int], bins: tuple[int | None, int | None]) -> None:
        super().__init__()
        self.size, self.bins = size, bins
        for side, one in zip(size, bins, strict=True):
            if one is not None and (problem := _cascade_problem(side, one)):
                raise ValueError(problem)

    def forward(self, x: Tensor) -> Tensor:
        for axis, (side, bins) in enumerate(zip(self.size, self.bins, strict=True)):
            if bins is None or bins == side:
                continue
            window = pooling.uniform_window(side, bins)
            assert window is not None
            length, step = window
            kernel = (length, 1) if axis == 0 else (1, length)
            if bins == 1 or 0 < step <= _MOST_STRIDE:
                stride = 1 if bins == 1 else step
                x = functional.avg_pool2d(x, kernel, (stride, 1) if axis == 0 else (1, stride), count_include_pad=False)
                continue
            x = functional.avg_pool2d(x, kernel, 1, count_include_pad=False)
            starts = [start for start, _ in pooling.windows(side, bins)]
            x = torch.cat([x.narrow(axis + 2, start, 1) for start in starts], dim=axis + 2)
        return x

    def extra_repr(self) -> str:
        return f"size={self.size}, bins={self.bins}"


def _cascade_problem(side: int, bins: int) -> str:
    """Why an axis cannot be pooled by one average pool; empty if it can."""
    window = pooling.uniform_window(side, bins)
    if window is None:
        spans = pooling.windows(side, bins)
        lengths = sorted({stop - start for start, stop in spans})
        shown = ", ".join(f"{start}..{stop - 1}" for start, stop in spans[:8]) + ", ..." * (len(spans) > 8)
        return (
            f"{side} pixels in {bins} bins have windows of {lengths[0]} and {lengths[-1]} pixels ({shown}), which no "
            "average pool has"
        )
    if window[0] > _MOST_KERNEL_SIDE:
        return (
            f"{side} pixels in {bins} bins have windows of {window[0]} pixels; Ascend pools {_MOST_KERNEL_SIDE} at most"
        )
    return ""


def _fits_cascade(bins: Iterable[int], side: int) -> bool:
    return not any(_cascade_problem(side, one) for one in bins)


_POOLS: dict[str, type[MatmulPool] | type[CascadePool]] = {"matmul": MatmulPool, "cascade": CascadePool}


def replace_pooling(model: nn.Module, feature_size: tuple[int, int], kind: PoolingKind) -> None:
    """Replace the adaptive average pools of a network, in place, for maps of one size.

    State dict and outputs stay what they are.

    Args:
        model: with ``nn.AdaptiveAvgPool2d`` anywhere in it; without any, nothing happens.
        feature_size: ``(h, w)`` of the maps that all of them pool. Where they pool maps of several sizes, use
            :func:`prepare`.
        kind: ``"matmul"``, exact for every size; ``"cascade"``, average pools within Ascend's limits; ``"native"``,
            which changes nothing.

    Raises:
        ValueError: no such kind or size, or ``"cascade"`` where it is not exact.

    Example:
        >>> pool = nn.Sequential(nn.AdaptiveAvgPool2d(6))
        >>> replace_pooling(pool, (63, 63), "matmul")
        >>> pool
        Sequential(
          (0): MatmulPool(size=(63, 63), bins=(6, 6))
        )
    """
    pools = {name for name, module in model.named_modules() if isinstance(module, nn.AdaptiveAvgPool2d)}
    _replace(model, dict.fromkeys(sorted(pools), feature_size), kind)


def _replace(model: nn.Module, sizes: Mapping[str, tuple[int, int]], kind: str, *, stride: float | None = None) -> None:
    if kind == "native":
        return
    if kind not in _POOLS:
        raise ValueError(f"pooling must be matmul, cascade or native, got {kind!r}")
    bins = {name: _bins(model.get_submodule(name)) for name in sizes}
    if kind == "cascade":
        _check_cascade([(sizes[name], bins[name]) for name in sizes], stride)
    for name, size in sizes.items():
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, _POOLS[kind](size, bins[name]))


def _bins(pool: Any) -> tuple[int | None, int | None]:
    out = pool.output_size
    return tuple(out) if isinstance(out, (tuple, list)) else (out, out)


def _check_cascade(
    pools: Iterable[tuple[tuple[int, int], tuple[int | None, int | None]]], stride: float | None
) -> None:
    by_side: dict[int, set[int]] = {}
    for size, bins in pools:
        for side, one in zip(size, bins, strict=True):
            if one is not None:
                by_side.setdefault(side, set()).add(one)
    for side, wanted in by_side.items():
        problems = [problem for one in sorted(wanted) if (problem := _cascade_problem(side, one))]
        if not problems:
            continue
        near = pooling.nearest_sizes(side, partial(_fits_cascade, wanted))
        advice = "use the matmul pooling, which is exact for every size"
        if near:
            fitting = ", ".join(map(str, near))
            inputs = "" if stride is None else f" (pictures of {', '.join(str(round(n * stride)) for n in near)})"
            advice += f", or maps of {fitting} pixels{inputs}"
        raise ValueError(f"cascade pooling is not exact here: {'; '.join(problems)}; {advice}")


# -- sizes -----------------------------------------------------------------------------------------------------------


def pool_sizes(model: nn.Module, shape: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Sizes of the maps that adaptive average pools get for pictures of a size, found by running the network.

    Weights are left out of it: only shapes go through, which takes little time and memory.

    Args:
        model: any network that takes ``(N, 3, H, W)``.
        shape: ``(H, W)`` of the pictures.

    Returns:
        Name of each pool that ran -> ``(h, w)``.

    Raises:
        ValueError: a shape that the network cannot take, or a pool that gets maps of several sizes.
    """
    height, width = shape
    if height < 1 or width < 1:
        raise ValueError(f"the network cannot take pictures of {height}x{width} (height x width): they have no pixels")
    sizes: dict[str, tuple[int, int]] = {}

    def note(name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        size = (int(inputs[0].shape[-2]), int(inputs[0].shape[-1]))
        if sizes.setdefault(name, size) != size:
            raise ValueError(f"{name} pools maps of {sizes[name]} and of {size}: its pooling cannot be fixed")

    hooks = [
        module.register_forward_pre_hook(partial(note, name))
        for name, module in model.named_modules()
        if isinstance(module, (nn.AdaptiveAvgPool2d, MatmulPool, CascadePool))
    ]
    try:
        _run_shapes(model, height, width)
    finally:
        for hook in hooks:
            hook.remove()
    return sizes


def _run_shapes(model: nn.Module, height: int, width: int) -> None:
    meta = {name: torch.empty_like(value, device="meta") for name, value in model.state_dict(keep_vars=True).items()}
    meta |= {name: torch.empty_like(value, device="meta") for name, value in model.named_buffers()}
    failures = RuntimeError, AssertionError, IndexError, ZeroDivisionError
    try:
        with torch.no_grad():
            try:
                out = torch.func.functional_call(model, meta, torch.empty(1, 3, height, width, device="meta"))
            except failures:
                # Not every operation knows how to do without numbers: then with them, or for the true reason.
                out = model(torch.zeros(1, 3, height, width))
    except failures as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"the network cannot take pictures of {height}x{width} (height x width): {reason}; choose another shape"
        ) from error
    if tuple(out.shape[2:]) != (height, width):
        raise ValueError(f"the network makes {tuple(out.shape[2:])} of pictures of {height}x{width} (height x width)")


def feature_size(model: nn.Module, shape: tuple[int, int]) -> tuple[int, int] | None:
    """Size of the maps that are pooled, for pictures of a size.

    Args:
        model, shape: as for :func:`pool_sizes`.

    Returns:
        ``(h, w)`` of the first pool's maps; ``None`` if the network has no adaptive average pool.

    Raises:
        ValueError: as :func:`pool_sizes`.
    """
    return next(iter(pool_sizes(model, shape).values()), None)


def prepare(model: nn.Module, shape: tuple[int, int], pooling: PoolingKind = "matmul") -> nn.Module:
    """Make a network ready to be traced for pictures of one size: in place, with every adaptive pool replaced.

    Args:
        model: any network that takes ``(N, 3, H, W)`` and gives scores of that height and width.
        shape: ``(H, W)`` of the pictures.
        pooling: as ``kind`` of :func:`replace_pooling`.

    Returns:
        ``model``.

    Raises:
        ValueError: a shape that the network cannot take, or ``"cascade"`` where it is not exact.
    """
    sizes = pool_sizes(model, shape)
    sizes = {name: size for name, size in sizes.items() if isinstance(model.get_submodule(name), nn.AdaptiveAvgPool2d)}
    strides = {round(side / size[0]) for size in sizes.values() for side in shape[:1]}
    _replace(model, sizes, pooling, stride=strides.pop() if len(strides) == 1 else None)
    return model


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
    scales = _scales(path, weights, config_text)
    _check_conventions(path, config_text)
    architecture = _architecture(path, weights, scales)
    # Without memory at first: random weights would be made for nothing.
    with torch.device("meta"):
        model = PSPNet(architecture)
    model.to_empty(device="cpu")
    for name, value in model.named_buffers():
        if name.endswith(_COUNTER):
            value.zero_()
    load_weights(model, weights, path=path, what=f"PSPNet on ResNetV1c-{architecture.depth}, which it resembles")
    model.eval().requires_grad_(False)
    return model


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
    missing = [key for key in left.missing_keys if key not in weights and not key.endswith(_COUNTER)]
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


def _architecture(path: str, weights: Mapping[str, Tensor], scales: tuple[int, ...]) -> _Architecture:
    stages = tuple(_count(weights, rf"backbone\.layer{i}\.(\d+)\.") for i in range(1, 5))
    is_deep = "backbone.layer1.0.conv3.weight" in weights
    depths = [
        depth for depth, blocks in _STAGES.items() if blocks == stages and (depth >= _FIRST_BOTTLENECK_DEPTH) == is_deep
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
    return _Architecture(
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


def _scales(path: str, weights: Mapping[str, Tensor], config_text: str | None) -> tuple[int, ...]:
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


def _check_conventions(path: str, config_text: str | None) -> None:
    """Refuse a checkpoint whose own config says what its tensors cannot: that it is computed in another way."""
    text = config_text or ""
    expected = {"strides": _STRIDES, "dilations": _DILATIONS}
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
    if depth not in _STAGES:
        raise ValueError(f"depth must be one of {', '.join(map(str, _STAGES))}, got {depth}")
    if width < 2 or width % 2 or num_classes < 1:
        raise ValueError(f"width must be even and classes at least one, got {width} and {num_classes}")
    bare = _Architecture(depth, width, width, 0, num_classes)
    head = head_channels or bare.features // 4
    architecture = _Architecture(
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
