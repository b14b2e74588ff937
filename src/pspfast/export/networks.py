"""A checkpoint and, where there is one, a config: to a network in PyTorch and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pspfast.datasets import VOC
from pspfast.datasets import palette as voc_palette
from pspfast.export.checkpoints import load_checkpoint
from pspfast.pictures.kernels import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from pspfast.formats.model_metadata import Pooling

__all__ = ["Network", "load_network"]


@dataclass(frozen=True, slots=True)
class Network:
    """A network that is ready to run.

    Attributes:
        module: ``torch.nn.Module`` in evaluation mode, ``(N, 3, H, W)`` float32, normalized, to scores
            ``(N, classes, H, W)``.
        num_classes: that it tells apart.
        classes, palette: names and colours, empty if unknown; not necessarily as many as there are classes.
        mean, std, to_rgb: how pictures are normalized for it.
        sha256: of the checkpoint.
        config: where its architecture is from; empty for the project's own PSPNet.
    """

    module: Any
    num_classes: int
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    to_rgb: bool
    sha256: str
    config: str

    def check_shape(self, shape: tuple[int, int]) -> None:
        """Refuse pictures of a size that the network cannot take, and a network that lacks an operator.

        Raises:
            ValueError: says why.
            MissingExtra: names the operator.
        """
        from pspfast.export.exact_pooling import check_shape

        check_shape(self.module, shape)

    def prepare(self, shape: tuple[int, int], pooling: Pooling) -> None:
        """Fix the network to pictures of one size, and choose how its pyramid pooling is computed.

        Raises:
            ValueError: a size that it cannot take, or for which that pooling is not exact.
        """
        from pspfast.export.pspnet import prepare

        prepare(self.module, shape, pooling)


def load_network(
    checkpoint: str,
    config: str | None = None,
    *,
    classes: tuple[str, ...] | None = None,
    trust: bool = False,
    sha256: str | None = None,
    md5: str | None = None,
    quiet: bool = False,
) -> Network:
    """Load a checkpoint into the network it is of.

    Args:
        checkpoint: a path, a URL or a known name, see :func:`pspfast.export.checkpoints.load_checkpoint`.
        config: an mmsegmentation 1.x config, by path or packaged name; without it, the project's own PSPNet.
        classes: names; the checkpoint's or config's if left out, VOC's for 21 classes of which neither tells.
        trust: load a checkpoint that can run code.
        sha256, md5: of the checkpoint file, which is refused if it has another.
        quiet: no progress of a download.

    Raises:
        CheckpointError: not a checkpoint, or of another network.
        ValueError: a config that cannot be used, or a network of one class.
        MissingExtra: PyTorch, or mmsegmentation for a config, is not installed.
    """
    read = load_checkpoint(checkpoint, trust=trust, sha256=sha256, md5=md5, quiet=quiet)
    mean, std, to_rgb = IMAGENET_MEAN, IMAGENET_STD, True
    names, palette = read.classes, read.palette
    if config is None:
        from pspfast.export.pspnet import build

        text = read.meta.get("config") or read.meta.get("cfg")  # mmsegmentation 0.x and 1.x
        module: Any = build(read.state_dict, path=read.path, config_text=text)
    else:
        from pspfast.export.mmseg import build_from_config, facts_of_config

        module = build_from_config(config, read.state_dict, path=read.path)
        facts = facts_of_config(config)
        mean, std, to_rgb = facts.mean, facts.std, facts.to_rgb
        names, palette = names or facts.classes, palette or facts.palette
    if classes is not None:
        names, palette = classes, None
    elif not names and module.num_classes == len(VOC.classes):
        names = VOC.classes
    if module.num_classes < 2:
        raise ValueError(
            f"{checkpoint}: one channel of scores, for a threshold, is not supported; only one channel a class"
        )
    if not palette and names == VOC.classes:
        palette = _colours(len(VOC.classes))
    return Network(module, module.num_classes, names or (), palette or (), mean, std, to_rgb, read.sha256, config or "")


def _colours(count: int) -> tuple[tuple[int, int, int], ...]:
    flat = voc_palette()
    return tuple((flat[3 * index], flat[3 * index + 1], flat[3 * index + 2]) for index in range(count))
