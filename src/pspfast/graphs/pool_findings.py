"""What a compiler will not like in the pools of a graph, and which of them are not exact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pspfast.graphs import ascend_limits
from pspfast.graphs import pool_windows as pooling
from pspfast.graphs.findings import Finding, Severity, by, listed, window_text
from pspfast.graphs.pools import (
    Pool,
    is_adaptive,
    windows_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["exact_feature_sizes", "pool_findings"]

_SCALES = (1, 2, 4, 8, 16, 32, 64)


def exact_feature_sizes(bins: Iterable[int], near: int, count: int = 4) -> list[int]:
    """Sizes of a feature map for which old exporters' pools are the adaptive ones, the nearest first.

    Args:
        bins: of all pools of the pyramid.
        near: size to be near to; it comes first if it is one of them.
        count: how many.

    Example:
        >>> exact_feature_sizes((1, 2, 3, 6), 63)
        [61, 60, 66, 67]
    """
    bins = tuple(bins)
    found: list[int] = []
    step = 0
    while len(found) < count:
        for size in dict.fromkeys((near - step, near + step)):
            if size >= max(bins) and all(pooling.is_published_pool_exact(size, one) for one in bins):
                found.append(size)
        step += 1
    return found[:count]


def pool_findings(pools: Sequence[Pool], picture: tuple[int, int] | None) -> Iterator[Finding]:
    """Pools beyond the limits, and such as are not exact."""
    for pool in pools:
        limits = ascend_limits.POOL_LIMITS.get(pool.operator)
        numbers = {"kernel": pool.kernel, "stride": pool.stride, "area": pool.area, "size": pool.size}
        if pool.size is not None and pool.bins is not None and not pool.has_windows:
            yield Finding(
                "error",
                "pool-window",
                (pool.node,),
                f"{pool.operator} {window_text(pool)}: its window is larger than the {by(pool.size)} that it reads",
                "give the model larger pictures, or change the network",
                numbers=numbers,
            )
            continue
        if limits is not None and pool.excesses:
            yield Finding(
                "error",
                "pool-limit",
                (pool.node,),
                f"{pool.operator} {window_text(pool)}: {'; '.join(pool.excesses)}; beyond these it runs on the AI CPU",
                "--fix writes it as two matrix products, which have no kernel"
                if pool.operator == "AveragePool"
                else "change the network; no exact form within the limits is known here",
                limits.source,
                numbers={**numbers, "excesses": list(pool.excesses)},
            )
        if limits is not None and not limits.pads_counted and pool.counts_pads and any(pool.pads):
            yield Finding(
                "error",
                "pool-padding",
                (pool.node,),
                f"{pool.operator}: count_include_pad=1, with pads {pool.pads}, is not supported",
                "--fix writes it as two matrix products",
                limits.source,
            )
        if limits is not None and pool.auto_pad not in limits.auto_pads:
            yield Finding(
                "warning",
                "pool-padding",
                (pool.node,),
                f"auto_pad={pool.auto_pad} is taken by some versions of CANN only, and padded as SAME_UPPER by 5.0.4",
                "export with explicit pads",
                limits.source,
            )
        if limits is not None and not limits.dilations and {*pool.dilations} - {1}:
            severity: Severity = "error" if pool.operator == "MaxPool" else "warning"
            source = limits.source if severity == "error" else ""
            yield Finding(
                severity,
                "pool-dilation",
                (pool.node,),
                f"dilations {by(pool.dilations)} are not supported",
                "",
                source,
            )
        if pool.exact is False:
            yield _inexact(pool, [other for other in pools if other.source == pool.source and other.intent], picture)
    idle = [pool.node for pool in pools if pool.operator == "AveragePool" and pool.counts_pads and not any(pool.pads)]
    if idle:
        yield Finding(
            "warning",
            "pool-padding",
            tuple(idle),
            f"AveragePool ({len(idle)}): count_include_pad=1 is not supported; without padding it means nothing",
            "--fix removes it",
            ascend_limits.POOL_LIMITS["AveragePool"].source,
        )
    unjudged = [pool.node for pool in pools if pool.operator == "AveragePool" and pool.size is None]
    if unjudged:
        yield Finding(
            "note",
            "pool-unjudged",
            tuple(unjudged),
            "the size of what these pools read is not fixed, so whether they equal adaptive pools cannot be told",
            "give the model a fixed input size: pspfast simplify",
        )


def _inexact(pool: Pool, pyramid: Sequence[Pool], picture: tuple[int, int] | None) -> Finding:
    assert pool.size is not None and pool.bins is not None
    is_known = pool.intent == "adaptive"
    alike = [other.bins for other in pyramid if other.bins is not None and other.intent == pool.intent]
    axis = next((axis for axis in range(2) if not is_adaptive(pool, [axis])), 0)
    size, count = pool.size[axis], pool.bins[axis]
    right, own = pooling.windows(size, count), windows_of(pool, axis)
    sides = sorted({stop - start for start, stop in right})
    bins = count if len({*pool.bins}) == 1 else pool.bins
    problem = (
        f"{by(pool.size)} to {by(pool.bins)} by kernel {by(pool.kernel)}, stride {by(pool.stride)} is not "
        f"AdaptiveAvgPool2d({bins}), whose windows are {' or '.join(map(str, sides))} wide"
    )
    wrong = next((index for index in range(count) if own[index] != right[index]), None)
    if wrong is not None:
        (start, stop), (first, end) = own[wrong], right[wrong]
        problem += f": window {wrong + 1} averages {start} to {stop - 1} instead of {first} to {end - 1}"
    if pool.told:
        reason = "you said that it was an adaptive pool"
    elif is_known:
        reason = (
            f"taken for an adaptive pool because it is one of {len(alike)} pools of the same tensor, with "
            f"{listed(sorted({max(one) for one in alike}))} bins, and has the kernel and stride that old exporters "
            "make of one"
        )
    else:
        reason = "it has the kernel and stride that old exporters make of an adaptive pool, but may be meant as it is"
    act = "--fix makes it exact at this size" if is_known else f"if it was adaptive: --fix with --adaptive {pool.node}"
    numbers: dict[str, Any] = {
        "size": pool.size, "bins": pool.bins, "kernel": pool.kernel, "stride": pool.stride, "windows": sides,
    }  # fmt: skip
    scale = None if picture is None else _scale(picture, pool.size)
    for place, name in enumerate(("height", "width")):
        if is_adaptive(pool, [place]) or (place and pool.size[0] == pool.size[1] and axis == 0):
            continue
        here = pool.size[place]
        sizes = exact_feature_sizes({one[place] for one in alike}, here)
        what = "size" if pool.size[0] == pool.size[1] else name
        act += f"; exact would be a feature {what} of {', '.join(map(str, sizes))} ({here} here)"
        numbers[f"exact_feature_{name}s"] = sizes
        if scale is not None and picture is not None:
            spans = [[(one - 1) * scale + 1, one * scale] for one in sizes]
            numbers |= {"scale": scale, f"exact_input_{name}s": spans}
            act += f": inputs of {', '.join(f'{least} to {most}' for least, most in spans)}"
            act += f", if {here} is {picture[place]} / {scale} rounded up"
    return Finding(
        "error" if is_known else "warning",
        "pool-inexact",
        (pool.node,),
        f"{problem}; {reason}",
        act,
        inferred=not pool.told,
        numbers=numbers,
    )


def _scale(picture: tuple[int, int], feature: Sequence[int]) -> int | None:
    """How many pixels a place of the feature map stands for, if that is a plain power of two."""
    return next(
        (
            scale
            for scale in _SCALES
            if all(-(-side // scale) == one for side, one in zip(picture, feature, strict=True))
        ),
        None,
    )
