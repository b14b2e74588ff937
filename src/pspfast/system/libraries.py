"""Libraries that only some commands need: asked for here, so that their absence says what to install."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["MissingExtra", "need"]

# Library -> the extra of this package that brings it.
_EXTRAS = {
    "jinja2": "run",
    "mmcv": "mmseg",
    "mmengine": "mmseg",
    "mmseg": "mmseg",
    "onnx": "export",
    "onnxruntime": "run",
    "onnxsim": "export",
    "torch": "export",
}


class MissingExtra(RuntimeError):  # noqa: N818 - it is what is missing, by its name
    """A library that is not installed, and the extra to install it with."""


def need(library: str) -> Any:
    """Import a library that comes with an extra.

    Raises:
        MissingExtra: it is not installed, or does not load.

    Example:
        >>> need("onnx").__name__  # doctest: +SKIP
        'onnx'
    """
    try:
        return import_module(library)
    except ImportError as error:
        advice = f"pip install 'pspfast[{_EXTRAS[library]}]'"
        if _EXTRAS[library] == "export":
            advice += (
                " (torch for CPUs alone is far smaller: add --extra-index-url https://download.pytorch.org/whl/cpu)"
            )
        raise MissingExtra(f"this needs {library}, which cannot be imported ({error}); {advice}") from error
