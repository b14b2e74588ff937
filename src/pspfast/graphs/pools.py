"""Pools in an ONNX graph: their windows, the limits they are beyond, and whether they were adaptive pools.

Constants and attributes of a graph are read here too.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from pspfast.graphs import ascend_limits
from pspfast.graphs import pool_windows as pooling
from pspfast.graphs.inference import MOST_ELEMENTS_OF_A_SIZE, Known, infer
from pspfast.system.libraries import need

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

__all__ = [
    "DEFAULT_DOMAINS", "Pool", "attributes_of", "constants_of", "is_adaptive", "label", "pools_of", "windows_of",
    "with_intents",
]  # fmt: skip

Intent = Literal["", "adaptive", "possibly adaptive"]

DEFAULT_DOMAINS = ("", "ai.onnx")
"""Names of ONNX's own set of operators."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A node that pools over space.

    Attributes:
        node: its name, or that of its output where it has none.
        output: name of what it makes.
        operator: AveragePool, GlobalAveragePool, MaxPool or ReduceMean.
        source: name of the tensor pooled, before nodes that change nothing.
        type: element type of that tensor by name; empty if it is not known.
        size, bins: spatial sizes before and after; ``None`` if they are not fixed.
        kernel, stride: of the window; the whole map for those that have none, ``None`` if that is not fixed.
        pads: before all axes, then after all axes.
        counts_pads: ``count_include_pad``.
        ceil: ``ceil_mode``.
        auto_pad: as written.
        dilations: as written.
        excesses: documented limits that it is beyond, in words.
        intent: whether it was made of an adaptive pool; inferred, unless it was told.
        told: whether it was told.
        exact: whether it is what the adaptive pool to ``bins`` is; ``None`` if that cannot be told.
    """

    node: str
    output: str
    operator: str
    source: str
    type: str
    size: tuple[int, ...] | None
    bins: tuple[int, ...] | None
    kernel: tuple[int, ...] | None
    stride: tuple[int, ...] | None
    pads: tuple[int, ...]
    counts_pads: bool = False
    ceil: bool = False
    auto_pad: str = "NOTSET"
    dilations: tuple[int, ...] = ()
    excesses: tuple[str, ...] = ()
    intent: Intent = ""
    told: bool = False
    exact: bool | None = None

    @property
    def has_windows(self) -> bool:
        """Whether what it reads is of a known size and has room for its window."""
        return self.size is not None and self.bins is not None and min(self.bins, default=1) > 0

    @property
    def area(self) -> int | None:
        """Of the kernel."""
        return None if self.kernel is None else prod(self.kernel)

    @property
    def is_wrong(self) -> bool:
        """Whether it is taken for an adaptive pool that it is not equal to."""
        return self.intent == "adaptive" and self.exact is False


def pools_of(model: Any, known: dict[str, Known] | None = None) -> Iterator[Pool]:
    """Every pool over space in the main graph, without a guess at what it was."""
    known = infer(model) if known is None else known
    constants = constants_of(model)
    renamed: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type == "Identity":
            renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
    for node in model.graph.node:
        if node.domain not in DEFAULT_DOMAINS:
            continue
        given = known.get(node.input[0]) if node.input else None
        size = _spatial(given)
        if node.op_type in ("AveragePool", "MaxPool"):
            pool = _windowed_pool(node, size)
        elif node.op_type == "GlobalAveragePool" or (
            node.op_type == "ReduceMean" and _reduces_space(node, given, constants)
        ):
            bins = None if size is None else (1,) * len(size)
            pool = Pool(label(node), node.output[0], node.op_type, "", "", size, bins, size, size, ())
        else:
            continue
        source = renamed.get(node.input[0], node.input[0])
        kind = given.type if given is not None else ""
        yield replace(pool, source=source, type=kind, excesses=tuple(_excesses(pool)))


def _windowed_pool(node: Any, size: tuple[int, ...] | None) -> Pool:
    attributes = attributes_of(node)
    kernel = tuple(attributes.get("kernel_shape", ()))
    axes = len(kernel)
    stride = tuple(attributes.get("strides", (1,) * axes))
    dilations = tuple(attributes.get("dilations", (1,) * axes))
    pads = tuple(attributes.get("pads", (0,) * 2 * axes))
    auto_pad = attributes.get("auto_pad", b"NOTSET").decode()
    ceil = bool(attributes.get("ceil_mode", 0))
    bins = None
    if size is not None and len(size) == axes:
        reach = [dilation * (side - 1) + 1 for side, dilation in zip(kernel, dilations, strict=True)]
        if auto_pad.startswith("SAME"):
            bins = tuple(-(-one // step) for one, step in zip(size, stride, strict=True))
            total = [
                max(0, (out - 1) * step + side - one)
                for out, step, side, one in zip(bins, stride, reach, size, strict=True)
            ]
            less, more = tuple(one // 2 for one in total), tuple(one - one // 2 for one in total)
            pads = (*less, *more) if auto_pad == "SAME_UPPER" else (*more, *less)
        else:
            if auto_pad == "VALID":
                pads = (0,) * 2 * axes
            bins = tuple(
                _windows_along(one, side, step, before, after, ceil)
                for one, side, step, before, after in zip(size, reach, stride, pads[:axes], pads[axes:], strict=True)
            )
    return Pool(
        label(node),
        node.output[0],
        node.op_type,
        "",
        "",
        size,
        bins,
        kernel,
        stride,
        pads,
        bool(attributes.get("count_include_pad", 0)),
        ceil,
        auto_pad,
        dilations,
    )


def _windows_along(size: int, side: int, step: int, before: int, after: int, ceil: bool) -> int:
    room = size + before + after - side
    if room < 0:
        return 0  # the window is larger than what it reads
    count = (-(-room // step) if ceil else room // step) + 1
    # A window that would begin in the padding behind the picture is not there.
    return count - 1 if ceil and (count - 1) * step >= size + before else count


def _reduces_space(node: Any, given: Known | None, constants: dict[str, Any]) -> bool:
    """Over the last two of four axes, which stay as ones."""
    attributes = attributes_of(node)
    axes = attributes.get("axes")
    if axes is None and len(node.input) > 1:
        axes = constants.get(node.input[1])
    if axes is None or given is None or given.shape is None or len(given.shape) != 4:
        return False
    return sorted(int(axis) % 4 for axis in axes) == [2, 3] and bool(attributes.get("keepdims", 1))


def _excesses(pool: Pool) -> Iterator[str]:
    limits = ascend_limits.POOL_LIMITS.get(pool.operator)
    if limits is None or not pool.kernel or pool.stride is None:
        return
    for limit, value in ascend_limits.pool_excesses(pool.operator, pool.kernel, pool.stride):
        yield f"{limit.subject} {value} (documented: {limit})"
    if pool.size is not None and pool.size[-1] not in limits.width:
        yield f"{limits.width.subject} {pool.size[-1]} (documented: {limits.width})"


def with_intents(pools: list[Pool], adaptive: Collection[str]) -> list[Pool]:
    """The same with what each was, as far as that can be inferred."""
    unknown = {*adaptive} - {name for pool in pools for name in (pool.node, pool.output)}
    if unknown:
        names = ", ".join(pool.node for pool in pools) or "none"
        raise ValueError(f"no pool named {sorted(unknown)[0]!r} in the model; its pools: {names}")
    pyramids: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for pool in pools:
        if _may_be_adaptive(pool):
            assert pool.bins is not None
            pyramids[pool.source].add(pool.bins)
    result = []
    for pool in pools:
        told = pool.node in adaptive or pool.output in adaptive
        intent: Intent = ""
        if told and (pool.operator != "AveragePool" or not pool.has_windows or len(pool.size or ()) != 2):
            raise ValueError(
                f"{pool.node} cannot be made an adaptive pool: that takes a 2-D AveragePool of an input of fixed size"
            )
        if told or (_may_be_adaptive(pool) and len(pyramids[pool.source]) > 1):
            intent = "adaptive"
        elif _may_be_adaptive(pool) and pool.bins is not None and max(pool.bins) > 1:
            intent = "possibly adaptive"
        result.append(replace(pool, intent=intent, told=told, exact=is_adaptive(pool) if intent else None))
    return result


def _may_be_adaptive(pool: Pool) -> bool:
    """Whether a pool is what old exporters make of a square adaptive one that at least halves the map."""
    if pool.operator not in ("AveragePool", "GlobalAveragePool", "ReduceMean") or pool.size is None:
        return False
    if pool.bins is None or len(pool.size) != 2 or pool.bins[0] != pool.bins[1] or pool.bins[0] < 1 or any(pool.pads):
        return False
    if any(2 * bins > size for bins, size in zip(pool.bins, pool.size, strict=True)) or {*pool.dilations} - {1}:
        return False
    if pool.kernel is None or pool.stride is None:
        return False
    published = [pooling.published_pool(size, bins) for size, bins in zip(pool.size, pool.bins, strict=True)]
    # With one bin there is nothing to stride to.
    return all(
        side == kernel and (bins == 1 or step == stride)
        for (kernel, stride), side, step, bins in zip(published, pool.kernel, pool.stride, pool.bins, strict=True)
    )


def is_adaptive(pool: Pool, axes: Iterable[int] = range(2)) -> bool:
    """Whether a pool averages the windows of the adaptive pool with as many bins."""
    if pool.size is None or pool.bins is None or (pool.counts_pads and any(pool.pads)) or {*pool.dilations} - {1}:
        return False
    for axis in axes:
        size = pool.size[axis]
        own = [(max(start, 0), min(stop, size)) for start, stop in windows_of(pool, axis)]
        if own != pooling.windows(size, pool.bins[axis]):
            return False
    return True


def windows_of(pool: Pool, axis: int) -> list[tuple[int, int]]:
    """Where the windows of a pool of fixed size begin and end along an axis; padding is before 0 and after the size."""
    assert pool.size is not None and pool.bins is not None and pool.kernel is not None and pool.stride is not None
    pads = pool.pads or (0,) * 2 * len(pool.size)
    end = pool.size[axis] + pads[axis + len(pool.size)]
    starts = [index * pool.stride[axis] - pads[axis] for index in range(pool.bins[axis])]
    return [(start, min(start + pool.kernel[axis], end)) for start in starts]


def label(node: Any) -> str:
    """A node's name; older exporters gave none, so then what it makes."""
    return str(node.name or node.output[0])


def constants_of(model: Any) -> dict[str, Any]:
    """Constant values by name; those that are large or not plain tensors as ``None``."""
    onnx = need("onnx")
    found: dict[str, Any] = {}
    for tensor in model.graph.initializer:
        small = prod(tensor.dims) <= MOST_ELEMENTS_OF_A_SIZE
        found[tensor.name] = onnx.numpy_helper.to_array(tensor) if small else None
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = attributes_of(node).get("value")
            found[node.output[0]] = None if value is None else onnx.numpy_helper.to_array(value)
    return found


def attributes_of(node: Any) -> dict[str, Any]:
    """Of a node, as plain values; text as bytes."""
    helper = need("onnx").helper
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _spatial(given: Known | None) -> tuple[int, ...] | None:
    if given is None or given.shape is None or len(given.shape) < 3:
        return None
    size = tuple(dim for dim in given.shape[2:] if isinstance(dim, int))
    return size if len(size) == len(given.shape) - 2 else None
