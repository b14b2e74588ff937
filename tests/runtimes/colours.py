"""Pictures of pure colours, and models that tell red, green and blue apart, in the forms that exporters write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import pspfast

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CLASSES", "SIZE", "colour_model", "coloured_pictures", "save_graph"]

SIZE = (24, 32)
CLASSES = ("grey", "red", "green", "blue")
_COLOURS = np.array([[40, 40, 40], [200, 30, 30], [30, 200, 30], [30, 30, 200]], np.uint8)


def coloured_pictures(root: Path) -> Path:
    """A data set of the kind ``folder``: three pictures, the rows 0 and 1 of whose labels do not count."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    for name, (height, width) in {"a": SIZE, "b": (18, 32), "c": (24, 28)}.items():
        labels = np.zeros((height, width), np.uint8)
        labels[4:12, 2:10], labels[6:16, 10:20], labels[10:, 20:] = 1, 2, 3
        Image.fromarray(_COLOURS[labels]).save(root / "images" / f"{name}.png")
        labels[:2] = 255
        Image.fromarray(labels).save(root / "labels" / f"{name}.png")
    return root


def save_graph(
    path: Path,
    nodes: list[Any],
    inputs: list[Any],
    outputs: list[Any],
    constants: dict[str, Any],
    properties: dict[str, str] | None = None,
) -> Path:
    """Write an ONNX file of opset 13."""
    import onnx
    from onnx import helper, numpy_helper

    tensors = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for key, value in (properties or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, str(path))
    return path


def colour_model(
    path: Path,
    *,
    kind: str = "float32",
    channels: str = "rgb",
    last: bool = False,
    batch: int | str | None = 1,
    size: tuple[Any, Any] = SIZE,
    open_channels: bool = False,
    outputs: tuple[str, ...] = ("labels",),
    properties: dict[str, str] | None = None,
) -> Path:
    """Label a pixel by its largest channel if that is large.

    Args:
        path: of the file to write.
        kind: ``"float32"``, or ``"uint8"``, which is normalized in the graph.
        channels: the order that it takes.
        last: whether channels are last.
        batch: pictures at once; a name for any number, ``None`` for one picture without a dimension for it.
        size: of its pictures; names leave them open.
        open_channels: whether the channels are declared as open.
        outputs: in order: ``"labels"``, ``"scores"``, ``"wrong"`` (other scores), ``"features"`` (half the size),
            ``"last"`` (scores with their classes last), ``"quarter"`` (scores of a quarter of the size), ``"nan"``
            (labels, by scores that are not numbers), ``"constant"`` (labels, all 0).
        properties: metadata of the file.
    """
    from onnx import TensorProto, helper

    order = [0, 1, 2] if channels == "rgb" else [2, 1, 0]
    weights, bias = np.zeros((4, 3, 1, 1), np.float32), np.array([0.3, 0, 0, 0], np.float32)
    for index, channel in enumerate(order):
        weights[channel + 1, index] = 1
    mean, std = (
        np.array(values, np.float32)[order].reshape(1, 3, 1, 1)
        for values in (pspfast.IMAGENET_MEAN, pspfast.IMAGENET_STD)
    )
    constants: dict[str, Any] = {"w": weights, "b": bias, "other": -weights}
    three = "C" if open_channels else 3
    shape = [*size, three] if last else [three, *size]
    if batch is not None:
        shape = [batch, *shape]
    nodes, name = [], "input"
    if batch is None:
        constants["axis"] = np.array([0], np.int64)
        nodes.append(helper.make_node("Unsqueeze", [name, "axis"], ["one"]))
        name = "one"
    if last:
        nodes.append(helper.make_node("Transpose", [name], ["first"], perm=[0, 3, 1, 2]))
        name = "first"
    if kind == "uint8":
        constants |= {"mean": mean, "std": std}
        nodes += [
            helper.make_node("Cast", [name], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["floats", "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "std"], ["normal"]),
        ]
        name = "normal"
    nodes.append(helper.make_node("Conv", [name, "w", "b"], ["scores"]))
    full = size if all(isinstance(side, int) for side in size) else ("H", "W")
    count = 1 if batch is None else batch
    small = tuple(side // 2 if isinstance(side, int) else f"{side}2" for side in full)
    tiny = tuple(side // 4 if isinstance(side, int) else f"{side}4" for side in full)
    made = {
        "labels": (helper.make_node("ArgMax", ["scores"], ["labels"], axis=1), TensorProto.INT64, [count, 1, *full]),
        "scores": (None, TensorProto.FLOAT, [count, 4, *full]),
        "wrong": (helper.make_node("Conv", [name, "other"], ["wrong"]), TensorProto.FLOAT, [count, 4, *full]),
        "features": (
            helper.make_node("AveragePool", [name], ["features"], kernel_shape=[2, 2], strides=[2, 2]),
            TensorProto.FLOAT,
            [count, 3, *small],
        ),
        "last": (
            helper.make_node("Transpose", ["scores"], ["last"], perm=[0, 2, 3, 1]),
            TensorProto.FLOAT,
            [count, *full, 4],
        ),
        "quarter": (
            helper.make_node("AveragePool", ["scores"], ["quarter"], kernel_shape=[4, 4], strides=[4, 4]),
            TensorProto.FLOAT,
            [count, 4, *tiny],
        ),
        "nan": (helper.make_node("ArgMax", ["root"], ["nan"], axis=1), TensorProto.INT64, [count, 1, *full]),
        "constant": (helper.make_node("Mul", ["argmax", "zero"], ["constant"]), TensorProto.INT64, [count, 1, *full]),
    }
    if "nan" in outputs:
        nodes.append(helper.make_node("Sqrt", ["scores"], ["root"]))
    if "constant" in outputs:
        constants["zero"] = np.array(0, np.int64)
        nodes.append(helper.make_node("ArgMax", ["scores"], ["argmax"], axis=1))
    infos = []
    for one in outputs:
        node, dtype, declared = made[one]
        if node is not None:
            nodes.append(node)
        infos.append(helper.make_tensor_value_info(one, dtype, declared))
    dtype = TensorProto.UINT8 if kind == "uint8" else TensorProto.FLOAT
    taken = [helper.make_tensor_value_info("input", dtype, shape)]
    return save_graph(path, nodes, taken, infos, constants, properties)
