"""That a file labels noise as its network does: the picture, and what ONNX Runtime makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pspfast.export.tracing import INPUT, OUTPUT
from pspfast.system.captured_output import first_line
from pspfast.system.libraries import MissingExtra, need
from pspfast.system.onnx_sessions import open_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pspfast.formats.model_metadata import InputKind

__all__ = ["label", "noise", "run"]


def noise(kind: InputKind, shape: tuple[int, int]) -> NDArray[Any]:
    """One picture of noise as the model takes it; smooth over eight pixels, so that it gets through to the features."""
    rng = np.random.default_rng(0)
    coarse = rng.standard_normal((1, 3, -(-shape[0] // 8), -(-shape[1] // 8)))
    picture = coarse.repeat(8, axis=2).repeat(8, axis=3)[:, :, : shape[0], : shape[1]]
    picture = picture + 0.25 * rng.standard_normal(picture.shape)
    if kind == "uint8":
        return np.ascontiguousarray(np.clip(picture * 50 + 115, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1))
    return picture.astype(kind)


def label(model: Any, example: NDArray[Any], *, logits: bool) -> tuple[NDArray[Any], bool]:
    """Run a model that was traced here.

    Args:
        model: ``onnx.ModelProto``; not changed.
        example: one picture.
        logits: whether it gives scores.

    Returns:
        Labels ``(1, H, W)``, and whether all scores that they come from are finite.

    Raises:
        RuntimeError: ONNX Runtime fails.
    """
    names = [OUTPUT]
    outputs = model.graph.output
    scores = None if logits else _scores_behind(model)
    if scores is not None:
        names.append(scores)
        outputs.append(need("onnx").ValueInfoProto(name=scores))  # ONNX Runtime finds out its type
    try:
        found = run(model, names, example)
    finally:
        if scores is not None:
            del outputs[-1]
    output = found[0]
    labels = np.asarray(output.argmax(1) if logits else output.reshape(1, *output.shape[-2:]))
    return labels, bool(np.isfinite(found[-1]).all())


def run(model: Any, outputs: Sequence[str], example: NDArray[Any]) -> list[NDArray[Any]]:
    """Outputs that ONNX Runtime gives for a picture.

    Raises:
        RuntimeError: it fails; says why.
        MissingExtra: it is not installed.
    """
    try:
        found: list[NDArray[Any]] = open_session(model.SerializeToString()).run(list(outputs), {INPUT: example})
    except MissingExtra:
        raise
    except Exception as error:  # each of its reasons has its own class, which are not public
        raise RuntimeError(f"ONNX Runtime fails with the exported model: {first_line(error)}") from error
    return found


def _scores_behind(model: Any) -> str | None:
    """Name of what the ArgMax before the output chooses from."""
    makers = {name: node for node in model.graph.node for name in node.output}
    name = OUTPUT
    while name in makers and makers[name].op_type != "ArgMax":
        name = makers[name].input[0]
    return makers[name].input[0] if name in makers else None
