"""Whether a network is fit to be exported: finite, the same in every pass, and of more than one class.

A file that labels everything as class 0 since all scores are NaN agrees with its network in 100 % of the pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pspfast.export.checkpoint_kinds import CheckpointError
from pspfast.system.captured_output import captured, first_line
from pspfast.system.libraries import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor, nn

__all__ = [
    "check_repeats", "check_stable", "check_weights", "first_not_finite", "labels_of", "remark_of_labels", "run",
]  # fmt: skip

# Helps in training only: what is in it goes into no file.
_NOT_EXPORTED = "auxiliary_head."


def check_weights(module: nn.Module, path: str) -> None:
    """Refuse weights that are not numbers.

    Args:
        module: the network that has them. Masks among its buffers may be infinite; nothing may be NaN.
        path: of the checkpoint, for messages.

    Raises:
        CheckpointError: names the first tensor, and how many there are.
    """
    wrong = []
    for name, value, is_weight in _tensors(module):
        if name.startswith(_NOT_EXPORTED) or not value.is_floating_point():
            continue
        bad = ~torch.isfinite(value) if is_weight else torch.isnan(value)
        if count := int(bad.sum()):
            wrong.append(f"{name}, {count:,} of {value.numel():,} values")
    if wrong:
        more = f", and {len(wrong) - 1} more tensors" if len(wrong) > 1 else ""
        raise CheckpointError(
            path,
            f"has weights that are NaN or infinite ({wrong[0]}{more}), of which no labels come; nothing is written. "
            "Expected finite numbers: take a checkpoint from before the training diverged",
        )


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor, bool]]:
    for name, value in module.named_parameters():
        yield name, value, True
    for name, value in module.named_buffers():
        yield name, value, name.rpartition(".")[2].startswith("running_")


def run(module: Callable[..., Any], example: Tensor) -> Any:
    """Run a network on a picture, in silence.

    Raises:
        RuntimeError: it fails.
        MissingExtra: it needs an operator that is not there.
    """
    with torch.no_grad(), captured("the network", tells=False):
        try:
            return module(example)
        except MissingExtra:
            raise
        except Exception as error:  # a network's code may raise anything
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise RuntimeError(f"the network fails in PyTorch with a picture of noise: {reason}") from error


def labels_of(deployed: Any, example: Tensor) -> Tensor:
    """Labels ``(1, H, W)`` of a picture by the scores that a network gives.

    Args:
        deployed: :class:`pspfast.export.deployment.Deployed`.
        example: that it takes.

    Raises:
        RuntimeError: it fails, or scores are not finite; says how many, and which layer is the first that gives such.
        MissingExtra: as :func:`run`.
    """
    scores: Tensor = run(deployed.scores, example)
    if bad := int((~torch.isfinite(scores)).sum()):
        found = first_not_finite(deployed, example)
        where = f"; the first layer that gives such values is {found}" if found else ""
        raise RuntimeError(
            f"{bad:,} of the {scores.numel():,} scores that PyTorch gives for a picture of noise are NaN or infinite, "
            f"so that its labels mean nothing{where}; nothing is written"
        )
    return scores.argmax(1)


def check_repeats(first: Tensor, second: Tensor, again: Callable[[], Tensor], least: float) -> None:
    """Compare a network with itself, before the export is blamed for what differs.

    Args:
        first: labels of a picture, before the network was prepared.
        second: labels of the same picture, after.
        again: gives the labels of another pass, as ``second``; called only if the two differ.
        least: share of pixels that must be equal.

    Raises:
        RuntimeError: it labels a picture otherwise in each pass; or its preparation changed it.
    """
    equal = _share(first, second)
    if equal >= least:
        return
    repeated = _share(second, again())
    if repeated < least:
        raise RuntimeError(
            f"two passes of the network over the same picture label {repeated:.2%} of the pixels alike in PyTorch "
            f"itself: it draws random numbers, or remembers what it saw. No file could agree with it ({least:.2%} are "
            "expected); nothing is written"
        )
    raise RuntimeError(
        f"with its adaptive pools replaced, the network labels {equal:.4%} of the pixels as before, {least:.2%} were "
        "expected; nothing is written. Please report this"
    )


def check_stable(deployed: Any, example: Tensor, expected: Tensor, agreement: float, least: float, name: str) -> None:
    """Blame a network that magnifies roundings for what a file of it labels otherwise.

    Args:
        deployed: :class:`pspfast.export.deployment.Deployed`.
        example: a picture that it takes.
        expected: its labels, ``(1, H, W)``.
        agreement: share of pixels that the file labels so.
        least: that were expected.
        name: of the file, for messages.

    Raises:
        RuntimeError: PyTorch does not label enough alike itself if the picture changes by a millionth.
    """
    normalized = example.float() if deployed.normalize is None else deployed.normalize(example)
    changed = normalized + 1e-6 * torch.randn(normalized.shape, generator=torch.Generator().manual_seed(0))
    equal = _share(expected, run(deployed.network, changed).argmax(1))
    if equal < least:
        raise RuntimeError(
            f"{name}: the exported model labels {agreement:.2%} of the pixels as PyTorch does, but PyTorch itself "
            f"labels only {equal:.2%} alike if the picture changes by a millionth: the network magnifies roundings, as "
            "one without training may. It is not written"
        )


def _share(one: Tensor, other: Tensor) -> float:
    return float((one.reshape(-1) == other.reshape(-1)).float().mean())


def remark_of_labels(labels: Any, classes: Sequence[str]) -> str:
    """What has to be said of a network that labels a picture of noise as one class; empty if it does not."""
    first = int(labels.reshape(-1)[0])
    if not bool((labels == first).all()):
        return ""
    name = f" ({classes[first]})" if first < len(classes) else ""
    return (
        f"PyTorch labels every pixel of the noise as class {first}{name}, so that a file that does so too proves "
        "little; are these the weights of a trained network? Compare them on pictures: pspfast verify --images"
    )


def first_not_finite(module: nn.Module, example: Tensor) -> str:
    """Name of the first layer of a network that gives NaN or infinity; empty if none does.

    Args:
        module: is run once.
        example: that it takes.
    """
    found: list[str] = []

    def look(name: str, given: Any) -> None:
        is_float = isinstance(given, torch.Tensor) and given.is_floating_point()
        if is_float and not found and not bool(torch.isfinite(given).all()):
            found.append(name.removeprefix("network."))

    hooks = [
        part.register_forward_hook(lambda _, __, given, name=name: look(name, given))
        for name, part in module.named_modules()
        if name
    ]
    try:
        run(module, example)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else ""
