"""Networks of mmsegmentation 1.x configs, without mmcv's compiled operators.

mmsegmentation imports those operators wherever it imports its networks, although most never call them. Where mmcv has
none (``mmcv-lite``), a stand-in takes their place that fails when it is called. A config is Python and is run: use
those of people you trust.
"""

# mypy: disallow-subclassing-any=False
# PyTorch's types are not looked into, so its classes are Any.

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.machinery
import importlib.util
import io
import json
import os
import sys
import types
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pspfast.export.pspnet import load_weights, without_prefix
from pspfast.export.traceable import TraceableFunctions
from pspfast.system.captured_output import first_line
from pspfast.system.libraries import MissingExtra, need

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

__all__ = [
    "ConfigFacts", "Segmentor", "build_from_config", "config_content", "facts_of_config", "find_config",
    "packaged_configs",
]  # fmt: skip

_SYNCHRONIZED = ("SyncBN", "MMSyncBN", "NaiveSyncBN")
_NOT_NORMALIZED = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class ConfigFacts:
    """What a config says of pictures and classes.

    Attributes:
        config: path of its file.
        mean, std: by which pictures are normalized, in the order of channels that the network sees; 0 and 1 if they are
            not.
        to_rgb: whether channels are swapped, from the blue first that pictures are read with, before that.
        classes: names by index, ``None`` if the config's data set has none or is not known.
        palette: a colour (R, G, B) for each class, or ``None``, likewise.
    """

    config: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    to_rgb: bool
    classes: tuple[str, ...] | None
    palette: tuple[tuple[int, int, int], ...] | None


class Segmentor(nn.Module):
    """A network of mmsegmentation as a plain one: pictures to scores of their size, in evaluation mode.

    Keys of its state dict are mmsegmentation's. While it is traced, what PyTorch's exporter cannot write is computed
    otherwise, see :mod:`pspfast.export.traceable`.

    Attributes:
        num_classes: channels of the scores.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        # Its parts are this module's own, so that keys have no prefix; it is kept out of the parts itself.
        for name, part in network.named_children():
            self.add_module(name, part)
        self.num_classes = int(network.out_channels)
        object.__setattr__(self, "_network", network)

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``(N, classes, H, W)`` of normalized pictures ``(N, 3, H, W)``."""
        size = x.shape[2:]
        about = {"ori_shape": size, "img_shape": size, "pad_shape": size, "padding_size": [0, 0, 0, 0]}
        with TraceableFunctions() if torch.jit.is_tracing() else contextlib.nullcontext():
            scores: Tensor = self._network.encode_decode(x, [about])
        return scores


# -- configs ---------------------------------------------------------------------------------------------------------


def packaged_configs() -> dict[str, str]:
    """Name of each config that comes with mmsegmentation -> its path.

    Raises:
        MissingExtra: mmsegmentation is not installed.
    """
    with _quiet():
        mmseg = need("mmseg")
    folder = Path(mmseg.__file__).parent / ".mim" / "configs"
    return {path.stem: str(path) for path in sorted(folder.rglob("*.py")) if "_base_" not in path.parts}


def find_config(config: str) -> str:
    """Path of a config.

    Args:
        config: a path, or the name of a packaged config, such as ``pspnet_r50-d8_4xb4-20k_voc12aug-512x512``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such name; says which are like it.
        MissingExtra: mmsegmentation is not installed.
    """
    if os.path.isfile(config):
        return config
    if os.sep in config or os.path.exists(config):
        raise FileNotFoundError(2, "no such config file; PSPNet with ResNetV1c needs none: leave it out", config)
    known = packaged_configs()
    name = config.removesuffix(".py")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        raise ValueError(
            f"{config}: neither a file nor the name of a config that comes with mmsegmentation"
            + (f"; like it: {', '.join(near)}" if near else "")
        )
    return known[name]


def _load(config: str) -> tuple[str, Any]:
    path = find_config(config)
    with _quiet():
        mmengine = need("mmengine")
        loaded, problem = None, ""
        try:
            loaded = mmengine.Config.fromfile(path)
        except Exception as error:  # a config is code: it can raise anything
            if missing := _missing_module(error):
                raise MissingExtra(f"{path}: {_missing_text(missing)}") from error
            problem = first_line(error)
        # Not from the error, which holds files that mmengine left open: they go, with a warning, in silence.
        if loaded is None:
            raise ValueError(f"{path}: cannot be read as a config: {problem}")
    model = loaded.get("model")
    if not isinstance(model, dict) or "type" not in model:
        raise ValueError(f"{path}: has no model with a type; expected an mmsegmentation 1.x config of a segmentor")
    return path, loaded


def config_content(config: str) -> bytes:
    """Everything that a config says, with what it inherits: equal for equal configs, wherever their files are.

    Args:
        config: as for :func:`find_config`.

    Raises:
        OSError, ValueError, MissingExtra: as :func:`build_from_config`.
    """
    _, loaded = _load(config)
    return json.dumps(loaded.to_dict(), sort_keys=True, default=repr).encode()


def facts_of_config(config: str) -> ConfigFacts:
    """What a config says of pictures and classes.

    Args:
        config: as for :func:`find_config`.

    Raises:
        OSError, ValueError, MissingExtra: as :func:`build_from_config`.
    """
    path, loaded = _load(config)
    said = loaded.model.get("data_preprocessor") or loaded.get("data_preprocessor") or {}
    # Configs of mmsegmentation 0.x have it here, and mean the same.
    old = loaded.get("img_norm_cfg") or {}
    mean, std = said.get("mean", old.get("mean")), said.get("std", old.get("std"))
    if mean is None and std is None:
        mean, std = _NOT_NORMALIZED
    if mean is None or std is None or not len(mean) == len(std) == _CHANNELS:
        raise ValueError(f"{path}: pictures are normalized by mean {mean} and std {std}, expected three values each")
    classes, palette = _names(loaded)
    return ConfigFacts(
        config=path,
        mean=(float(mean[0]), float(mean[1]), float(mean[2])),
        std=(float(std[0]), float(std[1]), float(std[2])),
        to_rgb=bool(said.get("bgr_to_rgb", old.get("to_rgb", False))),
        classes=classes,
        palette=palette,
    )


def _names(loaded: Any) -> tuple[tuple[str, ...] | None, tuple[tuple[int, int, int], ...] | None]:
    """Classes and colours of the data set that is tested on; what it says itself counts before what its type does."""
    data: Any = next((loaded[key]["dataset"] for key in _LOADERS if "dataset" in (loaded.get(key) or {})), None)
    while isinstance(data, dict) and "dataset" in data:  # a data set that repeats or wraps another
        data = data.get("dataset")
    if isinstance(data, dict) and data.get("datasets"):
        data = data["datasets"][0]
    if not isinstance(data, dict):
        return None, None
    with _quiet():
        _stand_in_for_operators()
        _need_part("mmseg.datasets")
        from mmseg.registry import DATASETS

        kind = DATASETS.get(data["type"]) if isinstance(data.get("type"), str) else data.get("type")
    about = dict(getattr(kind, "METAINFO", None) or {}) | dict(data.get("metainfo") or {})
    classes, palette = about.get("classes"), about.get("palette")
    if not isinstance(classes, (tuple, list)) or not classes:
        return None, None
    if not palette or len(palette) != len(classes):
        return tuple(map(str, classes)), None
    return tuple(map(str, classes)), tuple((int(one[0]), int(one[1]), int(one[2])) for one in palette)


_LOADERS = ("test_dataloader", "val_dataloader", "train_dataloader")


# -- building --------------------------------------------------------------------------------------------------------


def build_from_config(
    config: str, state_dict: Mapping[str, Tensor] | None = None, *, path: str = "checkpoint"
) -> Segmentor:
    """The network of a config, with a checkpoint's weights, in evaluation mode. Nothing is downloaded.

    Args:
        config: as for :func:`find_config`.
        state_dict: the checkpoint's; random weights without it. A ``module.`` before all keys does not matter, nor do
            counters of batches or an auxiliary head that are not there.
        path: of the checkpoint, for messages.

    Raises:
        FileNotFoundError: no such config file.
        ValueError: no config of a network that gives scores of whole pictures.
        CheckpointError: a checkpoint of another network than the config's; says which keys are missing, unexpected or
            of another shape.
        MissingExtra: mmsegmentation is not installed, or another library that the model has parts of.
    """
    where, loaded = _load(config)
    model = loaded.model
    if (model.get("test_cfg") or {}).get("mode", "whole") != "whole":
        crop = model.test_cfg.get("crop_size")
        raise ValueError(
            f"{where}: it is tested with windows of {crop} that slide over the picture, an exported network sees whole "
            "pictures, which gives other scores; if that is wanted, set model.test_cfg = dict(mode='whole') in a copy"
        )
    weights = None if state_dict is None else without_prefix(state_dict)
    _without_training(model)
    # Set only where it is: not every kind of model takes one.
    is_trained_alone = weights is not None and not any(key.startswith("auxiliary_head.") for key in weights)
    if "auxiliary_head" in model and is_trained_alone:
        model.auxiliary_head = None
    with _quiet():
        _stand_in_for_operators()
        _need_part("mmseg.models")
        from mmengine.registry import DefaultScope
        from mmseg.registry import MODELS

        try:
            with DefaultScope.overwrite_default_scope("mmseg"):
                network = MODELS.build(model)
        except Exception as error:  # whatever a constructor may raise
            if missing := _missing_module(error) or _missing_scope(model):
                raise MissingExtra(f"{where}: {_missing_text(missing)}") from error
            raise ValueError(f"{where}: mmsegmentation cannot build its model: {first_line(error)}") from error
    if not hasattr(network, "encode_decode") or not isinstance(getattr(network, "out_channels", None), int):
        raise ValueError(f"{where}: its model, {model['type']}, is no segmentor that gives scores of classes")
    if network.out_channels == 1:
        raise ValueError(f"{where}: one channel of scores with a threshold is not supported, only one channel a class")
    segmentor = Segmentor(network.eval())
    if weights is not None:
        load_weights(segmentor, weights, path=path, what=f"the network in {os.path.basename(where)}")
    segmentor.eval().requires_grad_(False)
    return segmentor


def _without_training(node: Any) -> None:
    """Rewrite a model's config for use: batch normalization of one process, no weights to fetch."""
    if isinstance(node, dict):
        if node.get("type") in _SYNCHRONIZED:
            node["type"] = "BN"
        initial = node.get("init_cfg")
        if any(isinstance(one, dict) and one.get("type") == "Pretrained" for one in _as_list(initial)):
            node["init_cfg"] = None
        for key in ("pretrained", "train_cfg"):
            if key in node:
                node[key] = None
        for value in node.values():
            _without_training(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _without_training(value)


def _missing_module(error: BaseException | None) -> str:
    """The library whose absence is behind an error; empty if none is."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name.partition(".")[0]
        error = error.__cause__ or error.__context__
    return ""


def _missing_scope(node: Any) -> str:
    """The first library that a model's config takes parts of (``mmdet.PixelDecoder``) and that is not installed."""
    if isinstance(node, dict):
        scope, dot, _ = str(node.get("type", "")).partition(".")
        if dot and scope.isidentifier() and importlib.util.find_spec(scope) is None:
            return scope
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        return next((missing for one in node if (missing := _missing_scope(one))), "")
    return ""


def _missing_text(library: str) -> str:
    return f"its model has parts of {library}, which is not installed; pip install {library}"


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _need_part(name: str) -> None:
    need(name.partition(".")[0])
    try:
        importlib.import_module(name)
    except ImportError as error:
        raise MissingExtra(f"{name} cannot be imported ({error}); pip install 'pspfast[mmseg]'") from error


def _stand_in_for_operators() -> None:
    """Let ``mmcv.ops`` be imported where mmcv has no compiled operators."""
    name = "mmcv._ext"
    if name in sys.modules or need("mmcv") is None or importlib.util.find_spec(name) is not None:
        return
    stand_in = _Operators(name)
    # Looked for by mmengine; without a loader it concludes, rightly, that there are no operators.
    stand_in.__spec__ = importlib.machinery.ModuleSpec(name, loader=None)
    sys.modules[name] = stand_in


class _Operators(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: Any, **__: Any) -> Any:
            raise MissingExtra(
                f"this network needs mmcv's compiled operator {name}, which this mmcv does not have (mmcv-lite has "
                "none); install an mmcv with operators"
            )

        return missing


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings and remarks that these libraries make when they are imported or build a network."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
