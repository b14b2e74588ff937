"""Exact pooling in place of adaptive pools, in any network: those that are modules, and those called as functions."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pspfast.export.dry_run import run_shapes
from pspfast.export.pool_modules import CascadePool, MatmulPool, MaxPool, cascade_problem
from pspfast.graphs import pool_windows as pooling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import Tensor

__all__ = [
    "CascadePool", "MatmulPool", "PoolingKind", "check_shape", "feature_size", "pool_sizes", "prepare",
    "replace_pooling",
]  # fmt: skip

PoolingKind = Literal["matmul", "cascade", "native"]

Bins = tuple[int | None, int | None]
Size = tuple[int, int]


def _fits_cascade(bins: Iterable[int], side: int) -> bool:
    return not any(cascade_problem(side, one) for one in bins)


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
    pools = {name: module for name, module in model.named_modules() if isinstance(module, nn.AdaptiveAvgPool2d)}
    if _check_kind(kind) == "cascade":
        _check_cascade([(feature_size, _bins(pool.output_size)) for pool in pools.values()], None)
    _replace(model, dict.fromkeys(sorted(pools), feature_size), kind)


def _replace(model: nn.Module, sizes: Mapping[str, Size], kind: str) -> None:
    if kind == "native":
        return
    for name, size in sizes.items():
        pool = model.get_submodule(name)
        exact = _POOLS[_check_kind(kind)](size, _bins(pool.output_size))
        # A module that has several names is one pool, and stays one.
        for alias in [one for one, module in model.named_modules(remove_duplicate=False) if module is pool]:
            parent, _, leaf = alias.rpartition(".")
            setattr(model.get_submodule(parent), leaf, exact)


def _check_kind(kind: str) -> str:
    if kind not in (*_POOLS, "native"):
        raise ValueError(f"pooling must be matmul, cascade or native, got {kind!r}")
    return kind


def _bins(out: Any) -> Bins:
    rows, columns = out if isinstance(out, (tuple, list)) else (out, out)
    return None if rows is None else int(rows), None if columns is None else int(columns)


def _check_cascade(pools: Iterable[tuple[Size, Bins]], stride: float | None) -> None:
    by_side: dict[int, set[int]] = {}
    for size, bins in pools:
        for side, one in zip(size, bins, strict=True):
            if one is not None:
                by_side.setdefault(side, set()).add(one)
    for side, wanted in by_side.items():
        problems = [problem for one in sorted(wanted) if (problem := cascade_problem(side, one))]
        if not problems:
            continue
        near = pooling.nearest_sizes(side, partial(_fits_cascade, wanted))
        advice = "use the matmul pooling, which is exact for every size"
        if near:
            fitting = ", ".join(map(str, near))
            inputs = "" if stride is None else f" (pictures of {', '.join(str(round(n * stride)) for n in near)})"
            advice += f", or maps of {fitting} pixels{inputs}"
        raise ValueError(f"cascade pooling is not exact here: {'; '.join(problems)}; {advice}")


# -- which pools run -------------------------------------------------------------------------------------------------


class _Call(NamedTuple):
    """An adaptive pool called as a function."""

    is_average: bool
    size: Size
    bins: Bins

    @property
    def is_even(self) -> bool:
        """Whether its windows lie side by side, which PyTorch's exporter writes as one pool."""
        return all(bins is not None and side % bins == 0 for side, bins in zip(self.size, self.bins, strict=True))


# Function -> whether it averages, and over how many axes.
_FUNCTIONS: dict[Any, tuple[bool, int]] = {
    functional.adaptive_avg_pool1d: (True, 1),
    functional.adaptive_avg_pool2d: (True, 2),
    torch._C._nn.adaptive_avg_pool2d: (True, 2),
    functional.adaptive_max_pool1d: (False, 1),
    functional.adaptive_max_pool2d: (False, 2),
}


def _called(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Call | None:
    """What a function call pools; ``None`` if it is no adaptive pool, or one that is asked for indices too."""
    if func not in _FUNCTIONS:
        return None
    is_average, axes = _FUNCTIONS[func]
    said = dict(zip(("input", "output_size", "return_indices"), args, strict=False)) | dict(kwargs)
    x: Any = said["input"]
    out = said["output_size"]
    if said.get("return_indices"):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # constants are what is wanted
        if axes == 1:
            (bins,) = out if isinstance(out, (tuple, list)) else (out,)
            return _Call(is_average, (1, int(x.shape[-1])), (None, int(bins)))
        return _Call(is_average, (int(x.shape[-2]), int(x.shape[-1])), _bins(out))


@dataclass
class _Survey(TorchFunctionMode):
    """Notes, while active, which adaptive pools run on maps of which sizes.

    Attributes:
        modules: name of each adaptive average pool that is a module -> sizes of its maps.
        calls: everything else.
    """

    modules: dict[str, list[Size]] = field(default_factory=dict)
    calls: dict[_Call, None] = field(default_factory=dict)
    _inside: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self, func: Callable[..., Any], _: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        call = _called(func, args, kwargs or {})
        if call is not None and not self._inside:
            self.calls[call] = None
        return func(*args, **(kwargs or {}))

    def enter(self, name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Before a module that pools."""
        size = (int(inputs[0].shape[-2]), int(inputs[0].shape[-1]))
        sizes = self.modules.setdefault(name, [])
        if size not in sizes:
            sizes.append(size)
        self._inside = True

    def leave(self, *_: Any) -> None:
        """After it."""
        self._inside = False


def _survey(model: nn.Module, shape: Size) -> _Survey:
    """Run a network on a picture without its numbers.

    Raises:
        ValueError: see :func:`pool_sizes`.
    """
    height, width = shape
    if height < 1 or width < 1:
        raise ValueError(f"the network cannot take pictures of {height}x{width} (height x width): they have no pixels")
    found = _Survey()
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.AdaptiveAvgPool2d, MatmulPool, CascadePool)):
            hooks += [
                module.register_forward_pre_hook(partial(found.enter, name)),
                module.register_forward_hook(found.leave, always_call=True),
            ]
    try:
        with found:
            run_shapes(model, height, width)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def check_shape(model: nn.Module, shape: Size) -> None:
    """Refuse pictures of a size that a network cannot take.

    Args:
        model, shape: as for :func:`pool_sizes`.

    Raises:
        ValueError: says why.
        MissingExtra: the network needs a compiled operator that is not there.
    """
    _survey(model, shape)


def pool_sizes(model: nn.Module, shape: Size) -> dict[str, Size]:
    """Sizes of the maps that adaptive average pools get for pictures of a size, found by running the network.

    Weights are left out of it: only shapes go through, which takes little time and memory.

    Args:
        model: any network that takes ``(N, 3, H, W)``.
        shape: ``(H, W)`` of the pictures.

    Returns:
        Name of each pool that ran -> ``(h, w)``.

    Raises:
        ValueError: a shape that the network cannot take, or a pool that gets maps of several sizes.
        MissingExtra: the network needs a compiled operator that is not there.
    """
    found = _survey(model, shape).modules
    for name, sizes in found.items():
        if len(sizes) > 1:
            raise ValueError(f"{name} pools maps of {sizes[0]} and of {sizes[1]}: there is no one size")
    return {name: sizes[0] for name, sizes in found.items()}


def feature_size(model: nn.Module, shape: Size) -> Size | None:
    """Size of the maps that are pooled, for pictures of a size.

    Args:
        model, shape: as for :func:`pool_sizes`.

    Returns:
        ``(h, w)`` of the first pool's maps; ``None`` if the network has no adaptive average pool.

    Raises:
        ValueError, MissingExtra: as :func:`pool_sizes`.
    """
    return next(iter(pool_sizes(model, shape).values()), None)


# -- exact ones in their place ---------------------------------------------------------------------------------------


class _ExactFunctions(TorchFunctionMode):
    """While active, adaptive pools that are called as functions compute by constant windows.

    Args:
        pools: what computes each call. Others go to PyTorch.
    """

    def __init__(self, pools: Mapping[_Call, nn.Module]) -> None:
        super().__init__()
        self._pools = pools

    def __torch_function__(
        self, func: Callable[..., Any], _: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        call = _called(func, args, kwargs)
        if call is None or call not in self._pools:
            return func(*args, **kwargs)
        return self._pools[call](args[0] if args else kwargs["input"])


def prepare(model: nn.Module, shape: Size, pooling: PoolingKind = "matmul") -> nn.Module:
    """Make a network ready to be traced for pictures of one size: in place, with every adaptive pool replaced.

    Adaptive pools that are called as functions, maximum pools, and modules that pool maps of several sizes are
    computed by constant windows whenever the network runs. Where their windows lie side by side they are left to
    PyTorch's exporter, which writes them as one pool.

    Args:
        model: any network that takes ``(N, 3, H, W)`` and gives scores of that height and width.
        shape: ``(H, W)`` of the pictures.
        pooling: as ``kind`` of :func:`replace_pooling`.

    Returns:
        ``model``.

    Raises:
        ValueError: a shape that the network cannot take, or ``"cascade"`` where it is not exact.
        MissingExtra: the network needs a compiled operator that is not there.
    """
    found = _survey(model, shape)
    if _check_kind(pooling) == "native":
        return model
    adaptive = {
        name: module for name in found.modules if isinstance(module := model.get_submodule(name), nn.AdaptiveAvgPool2d)
    }
    fixed = {name: found.modules[name][0] for name in adaptive if len(found.modules[name]) == 1}
    calls = list(found.calls) + [
        _Call(True, size, _bins(adaptive[name].output_size))
        for name in adaptive.keys() - fixed
        for size in found.modules[name]
    ]
    calls = [call for call in calls if not call.is_even]
    if pooling == "cascade":
        strides = {round(shape[0] / size[0]) for size in fixed.values()}
        averages = [(size, _bins(adaptive[name].output_size)) for name, size in fixed.items()]
        averages += [(call.size, call.bins) for call in calls if call.is_average]
        _check_cascade(averages, strides.pop() if len(strides) == 1 else None)
    _replace(model, fixed, pooling)
    if calls:
        kinds = {True: _POOLS[pooling], False: MaxPool}
        _run_within(model, _ExactFunctions({call: kinds[call.is_average](call.size, call.bins) for call in calls}))
    return model


def _run_within(model: Any, mode: TorchFunctionMode) -> None:
    """Have a network always run within a mode."""
    forward = model.forward

    @functools.wraps(forward)
    def within(*args: Any, **kwargs: Any) -> Any:
        with mode:
            return forward(*args, **kwargs)

    model.forward = within
