"""From what a person types (a path, a URL, a known name) to the weights, without running what a file says.

A checkpoint is a pickle, and a pickle can run any code. So it is always loaded as weights only at first; one that needs
more is refused with what it asks for, unless the caller trusts it.
"""

from __future__ import annotations

import difflib
import os
import pickle
import re
import stat
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pspfast.export import known
from pspfast.export.checkpoint_kinds import CheckpointError, check_kind
from pspfast.export.download import Hashes, download, hashes_of
from pspfast.system.captured_output import first_line
from pspfast.system.libraries import need

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Checkpoint", "CheckpointError", "load_checkpoint"]

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
# Where checkpoints keep their weights if they are more than weights: OpenMMLab's and Lightning's, and two common ones.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
# What a network computes with; other entries may be integers (counters of batches, tables of indices).
_WEIGHTS = ("weight", "bias", "running_mean", "running_var")
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_SAID = re.compile(r"WeightsUnpickler error: (.+)")
_TIME = re.compile(r"_\d{8}_\d{6}$")
_WORK_DIR = re.compile(r"""^work_dir\s*=\s*['"](.+?)/*['"]\s*$""", re.MULTILINE)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Weights and what the file says about them.

    Attributes:
        path: the local file.
        source: what was asked for: this path, a URL or a known name.
        sha256: of the file, 64 hex digits.
        state_dict: key -> tensor on the CPU, in the file's order. Keys are the file's own (``module.`` stays). The
            tensors may be maps of the file, which therefore must not be written to.
        classes: names of the classes; ``None`` if the file has none that make sense.
        palette: a colour (R, G, B) for each class, or ``None``, likewise.
        config_name: the training's config, as far as the file tells, else that of the known name.
        meta: the file's own ``meta``; empty if there is none.
    """

    path: str
    source: str
    sha256: str
    state_dict: Mapping[str, Any] = field(repr=False)
    classes: tuple[str, ...] | None = None
    palette: tuple[tuple[int, int, int], ...] | None = field(default=None, repr=False)
    config_name: str | None = None
    meta: dict[str, Any] = field(default_factory=dict, repr=False)


def load_checkpoint(
    name_or_path_or_url: str,
    *,
    trust: bool = False,
    sha256: str | None = None,
    md5: str | None = None,
    cache: str | None = None,
    quiet: bool = True,
) -> Checkpoint:
    """Load a checkpoint of PyTorch: OpenMMLab's (0.x and 1.x), or a plain state dict.

    A file of that path comes first, then a known name (:mod:`pspfast.export.known`), then a URL.

    Args:
        name_or_path_or_url: as above; URLs are ``http``, ``https`` or ``file``.
        trust: let the file run whatever code it asks for, if it cannot be loaded as weights only.
        sha256, md5: what the file's hash, or the beginning of it, has to be; looked at before the file is loaded. They
            replace those that are known of a known name.
        cache: folder for downloads; see :func:`pspfast.export.download.cache_folder`.
        quiet: no progress of a download.

    Raises:
        CheckpointError: it is not there, not a checkpoint, damaged, of another hash, or needs trust.
        DownloadError: it cannot be fetched.
        OutputError: the cache cannot be written.
        MissingExtra: torch is not installed.
        ValueError: a hash is not one.

    Example:
        >>> load_checkpoint("pspnet_r50-d8_512x512_20k_voc12aug").sha256[:8]  # doctest: +SKIP
        'ed5dfbd9'
    """
    source = os.fspath(name_or_path_or_url)
    torch = need("torch")
    expected = Hashes(sha256=sha256, md5=md5)
    entry = None if os.path.isfile(source) else known.find(source)
    if entry is not None:
        fetched = download(entry.url, expected=expected or entry.hashes, cache=cache, quiet=quiet)
        path, actual = fetched.path, fetched.hashes
    elif _URL.match(source):
        fetched = download(source, expected=expected or known.hashes_in_name(source), cache=cache, quiet=quiet)
        path, actual = fetched.path, fetched.hashes
    else:
        path = source
        _check_is_file(path)
        try:
            actual = hashes_of(path)
        except OSError as error:
            raise CheckpointError(path, error.strerror or str(error)) from error
        complaint = expected.complaint(actual)
        if complaint:
            raise CheckpointError(path, f"{complaint}; this is another file, or a damaged one")
    content = _load(torch, path, trust=trust)
    state_dict = _state_dict(torch, path, content)
    meta = content.get("meta")
    meta = {str(key): value for key, value in meta.items()} if isinstance(meta, dict) else {}
    classes, palette = _classes(meta)
    config = _config_name(meta) or (entry.config if entry else None)
    assert actual.sha256 is not None
    return Checkpoint(path, source, actual.sha256, state_dict, classes, palette, config, meta)


def _check_is_file(path: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise CheckpointError(path, _no_such_file(path)) from None
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise CheckpointError(path, getattr(error, "strerror", None) or str(error)) from error
    if stat.S_ISDIR(mode):
        raise CheckpointError(path, "is a folder; give the checkpoint file in it")
    if not stat.S_ISREG(mode):
        raise CheckpointError(path, "is not a regular file")


def _no_such_file(path: str) -> str:
    names = known.names()
    near = difflib.get_close_matches(os.path.basename(path), [*names, *known.aliases()], n=3, cutoff=0.75)
    text = "no such file, and not a known checkpoint"
    if near:
        text += f"; did you mean {' or '.join(near)}?"
    return f"{text} (known are {', '.join(names)})"


# --- the file ---------------------------------------------------------------------------------------------------------


def _load(torch: Any, path: str, *, trust: bool) -> dict[Any, Any]:
    """What is in the file, which is a dictionary."""
    zipped = check_kind(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about storages and formats, which say nothing to the user
        try:
            content = _torch_load(torch, path, weights_only=True, zipped=zipped)
        except pickle.UnpicklingError as error:
            wanted = _unsafe_globals(torch, path, error, zipped=zipped)
            if not trust:
                raise CheckpointError(path, _needs_trust(wanted, error)) from error
            content = _load_trusted(torch, path, zipped=zipped)
        except MemoryError:
            raise
        except Exception as error:
            # Formats from before 2017 that torch does not load as weights only say so in a RuntimeError.
            if trust and "weights_only" in str(error):
                content = _load_trusted(torch, path, zipped=zipped)
            elif "weights_only" in str(error):
                raise CheckpointError(path, _needs_trust([], error)) from error
            else:
                raise _damaged(path, error) from error
    if not isinstance(content, dict):
        raise CheckpointError(path, f"holds {_a(content)}, expected a dictionary with the weights ('state_dict')")
    return content


def _torch_load(torch: Any, path: str, *, weights_only: bool, zipped: bool) -> Any:
    # Mapped, the weights take no memory of their own; the older format cannot be mapped.
    return torch.load(path, map_location="cpu", weights_only=weights_only, mmap=zipped)


def _load_trusted(torch: Any, path: str, *, zipped: bool) -> Any:
    try:
        return _torch_load(torch, path, weights_only=False, zipped=zipped)
    except ImportError as error:
        reason = f"trusted, but what it asks for cannot be imported ({error})"
        if (error.name or "").partition(".")[0] in ("mmengine", "mmcv", "mmseg"):
            reason += "; pip install 'pspfast[mmseg]'"
        raise CheckpointError(path, reason) from error
    except MemoryError:
        raise
    except Exception as error:  # the code of the file itself may raise anything
        raise CheckpointError(path, f"trusted, but loading it fails: {first_line(error)}") from error


def _needs_trust(wanted: list[str], error: Exception) -> str:
    if wanted:
        what = f"it asks for {', '.join(wanted)}"
    else:
        said = _SAID.search(str(error))
        what = said[1].strip().rstrip(".") if said else first_line(error)
    return (
        f"has more in it than weights: {what}, and loading that can run any code; if you know where the file is from, "
        "allow it with --trust-checkpoint (trust=True)"
    )


def _unsafe_globals(torch: Any, path: str, error: Exception, *, zipped: bool) -> list[str]:
    """Functions and classes that the pickle asks for, without loading it."""
    if zipped:
        try:
            return sorted(set(torch.serialization.get_unsafe_globals_in_checkpoint(path)))
        except Exception:  # the first one is in the message
            pass
    return sorted(set(_GLOBAL.findall(str(error))))


def _damaged(path: str, error: Exception) -> CheckpointError:
    return CheckpointError(path, f"is a damaged or cut off checkpoint ({type(error).__name__}: {first_line(error)})")


def _a(value: object) -> str:
    return f"an object of type {type(value).__module__}.{type(value).__qualname__}"


# --- what is in it ----------------------------------------------------------------------------------------------------


def _state_dict(torch: Any, path: str, content: dict[Any, Any]) -> dict[str, Any]:
    wrapper = next((key for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
    found: dict[Any, Any] = content[wrapper] if wrapper else content
    where = f"its {wrapper!r}" if wrapper else "it"
    tensors: dict[str, Any] = {}
    for key, value in found.items():
        if not isinstance(value, torch.Tensor) or not isinstance(key, str):
            if wrapper is None:
                keys = ", ".join(map(repr, list(content)[:8])) + (", ..." if len(content) > 8 else "")
                raise CheckpointError(path, f"has no 'state_dict' and is none itself; its keys are {keys}")
            raise CheckpointError(path, f"{where} has {_a(value)} under {key!r}, expected a tensor")
        complaint = _complaint_about(torch, key, value)
        if complaint:
            raise CheckpointError(path, f"{key} {complaint}")
        tensors[key] = value.detach()
    if not tensors:
        raise CheckpointError(path, f"holds no weights: {where} is empty")
    for copy in _averages(tensors):
        del tensors[copy]
    return tensors


def _complaint_about(torch: Any, key: str, tensor: Any) -> str | None:
    if tensor.is_quantized or tensor.dtype in (torch.int8, torch.uint8):
        return f"is quantised ({_dtype(tensor)}); expected the weights of a network that was not quantised"
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return f"has no plain values (layout {tensor.layout}, device {tensor.device})"
    weights = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
    others = (torch.int64, torch.int32, torch.bool)
    if tensor.dtype not in (weights if key.rpartition(".")[2] in _WEIGHTS else (*weights, *others)):
        return f"is of type {_dtype(tensor)}; expected floats of 16, 32 or 64 bits"
    return None


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _averages(keys: Iterable[str]) -> list[str]:
    """Second copies of weights, which mmcv's hook for averaged weights keeps: ``ema_a_b`` of ``a.b``.

    The weights under the plain keys are those to use, which that hook sees to when it saves.
    """
    keys = list(keys)
    copies = {"ema_" + key.removeprefix("module.").replace(".", "_") for key in keys}
    return [key for key in keys if key.removeprefix("module.") in copies]


def _classes(meta: dict[str, Any]) -> tuple[tuple[str, ...] | None, tuple[tuple[int, int, int], ...] | None]:
    """Classes and palette: in ``meta`` itself (0.x) or in its ``dataset_meta`` (1.x), in capitals or not."""
    described = {key.lower(): value for key, value in meta.items()}
    nested = described.get("dataset_meta")
    if isinstance(nested, dict):
        described |= {str(key).lower(): value for key, value in nested.items()}
    names, colours = described.get("classes"), described.get("palette")
    classes = None
    if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names):
        classes = tuple(names)
    try:
        palette = tuple((int(r), int(g), int(b)) for r, g, b in colours) if colours is not None else None
    except (TypeError, ValueError):
        palette = None
    if palette is not None and (
        not palette
        or any(not 0 <= value <= 255 for colour in palette for value in colour)
        or (classes is not None and len(classes) != len(palette))
    ):
        palette = None
    return classes, palette


def _config_name(meta: dict[str, Any]) -> str | None:
    """The training's config by what the training noted: its own name, its folder, or the config text's first line."""
    name = meta.get("exp_name") or meta.get("experiment_name")
    if isinstance(name, str) and name.strip():
        return _TIME.sub("", name.strip()).removesuffix(".py")
    text = meta.get("config") or meta.get("cfg")
    if not isinstance(text, str):
        return None
    first = text.lstrip().partition("\n")[0].strip()
    if first.endswith(".py") and " " not in first:
        return os.path.basename(first).removesuffix(".py")
    folder = _WORK_DIR.search(text)
    return os.path.basename(folder[1]) or None if folder else None
