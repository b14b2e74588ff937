"""ONNX files of a node or two, whose outputs NumPy gives as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["bins", "exact_labels", "exact_model", "labels_model"]


def labels_model(
    path: Path,
    *,
    batch: int | None = 1,
    size: tuple[int | None, int | None] = (6, 8),
    dtype: str = "float32",
    layout: str = "n1hw",
    declared: list[Any] | None = None,
) -> Path:
    """Labels a pixel with its largest channel.

    Args:
        path: of the file to write.
        batch: pictures at once; ``None`` for any number.
        size: ``(H, W)``.
        dtype: of the input; ``"uint8"`` has channels last.
        layout: of the labels: ``n1hw``, ``nhw``, or ``1nhw`` as the published model has it.
        declared: shape of the output, in place of the true one.
    """
    import onnx
    from onnx import TensorProto, helper

    kinds = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}
    count: Any = batch or "N"
    height, width = (side or name for side, name in zip(size, ("H", "W"), strict=True))
    channels_last = dtype == "uint8"
    shape = [count, height, width, 3] if channels_last else [count, 3, height, width]
    nodes = [
        helper.make_node("Cast", ["input"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node(
            "ArgMax", ["floats"], ["labels"], axis=3 if channels_last else 1, keepdims=int(layout == "n1hw")
        ),
    ]
    if layout == "1nhw":
        nodes.append(helper.make_node("Unsqueeze", ["labels"], ["output"], axes=[0]))
        given = [1, count, height, width]
    else:
        nodes.append(helper.make_node("Identity", ["labels"], ["output"]))
        given = [count, height, width] if layout == "nhw" else [count, 1, height, width]
    if channels_last and layout == "n1hw":
        raise ValueError("bytes have their labels as nhw here")
    graph = helper.make_graph(
        nodes,
        "labels",
        [helper.make_tensor_value_info("input", kinds[dtype], shape)],
        [helper.make_tensor_value_info("output", TensorProto.INT64, declared or given)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])
    model.ir_version = 7
    onnx.save(model, str(path))
    return path


def bins(
    folder: Path, count: int, *, size: tuple[int, int] = (6, 8), dtype: str = "float16", seed: int = 0
) -> dict[str, NDArray[Any]]:
    """Write a bin for each of ``count`` pictures; their labels as the model gives them."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    labels = {}
    for number in range(count):
        if dtype == "uint8":
            picture: NDArray[Any] = generator.permuted(np.arange(3 * size[0] * size[1], dtype=np.uint8)).reshape(
                *size, 3
            )
        else:
            picture = generator.standard_normal((3, *size)).astype(dtype)
        picture.tofile(folder / f"p{number:02d}.bin")
        labels[f"p{number:02d}"] = picture.argmax(2 if dtype == "uint8" else 0)
    return labels


def exact_model(path: Path, batch: int, size: tuple[int, int]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Two convolutions of 21 classes whose sums are exact in float32, in whatever order they are added.

    The picture is rounded to sixteenths, weights are small integers, and no two classes can have the same score.

    Returns:
        The weights, ``(8, 3, 3, 3)`` and ``(21, 8, 1, 1)`` float32; see :func:`exact_labels` for what they do.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(7)
    first = generator.integers(-3, 4, (8, 3, 3, 3)).astype(np.float32)
    second = generator.integers(-3, 4, (21, 8, 1, 1)).astype(np.float32)
    constants = {
        "sixteen": np.float32(16),
        "first": first,
        "second": 32 * second,
        "class": np.arange(21, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Mul", ["input", "sixteen"], ["scaled"]),
        helper.make_node("Floor", ["scaled"], ["whole"]),
        helper.make_node("Conv", ["whole", "first"], ["hidden"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["hidden"], ["positive"]),
        helper.make_node("Conv", ["positive", "second", "class"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["output"], axis=1, keepdims=1),
    ]
    graph = helper.make_graph(
        nodes,
        "exact",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, *size])],
        [helper.make_tensor_value_info("output", TensorProto.INT64, [batch, 1, *size])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])
    model.ir_version = 7
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return first, second


def exact_labels(picture: NDArray[Any], first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """What PyTorch makes of a picture, ``(3, H, W)``, by :func:`exact_model`."""
    import torch
    from torch.nn import functional

    whole = (torch.from_numpy(picture.astype(np.float32))[None] * 16).floor()
    hidden = functional.conv2d(whole, torch.from_numpy(first), padding=1).relu()
    scores = functional.conv2d(hidden, torch.from_numpy(32 * second), torch.arange(21, dtype=torch.float32))
    labels: NDArray[Any] = scores.argmax(1)[0].numpy()
    return labels
