"""What labels pictures: an ONNX file in ONNX Runtime, or a network in PyTorch. Both look alike from here on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from pspfast.formats.model_metadata import channels_told, read_metadata
from pspfast.graphs import model_files
from pspfast.runtimes.picture_input import is_one_picture, order_taken, order_told, picture_input, with_batch_axis
from pspfast.runtimes.picture_output import choose_output
from pspfast.runtimes.runtime import TensorSpec
from pspfast.system.captured_output import first_line
from pspfast.system.libraries import need
from pspfast.system.onnx_sessions import open_session
from pspfast.system.threads import default_workers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from pspfast.export.networks import Network
    from pspfast.formats.model_metadata import Channels, InputKind, ModelMetadata

__all__ = ["Facts", "Given", "InputNormalization", "OnnxRunner", "Runner", "Taken", "TorchRunner"]

# onnx.TensorProto's numbers, which are part of the format.
_INPUT_KINDS: dict[int, InputKind] = {1: "float32", 10: "float16", 2: "uint8"}
# ONNX's names of types, of those that outputs here have.
_NUMPY_TYPES = {
    "FLOAT": "float32", "FLOAT16": "float16", "DOUBLE": "float64", "INT64": "int64", "INT32": "int32", "INT16": "int16",
    "INT8": "int8", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64", "BOOL": "bool",
}  # fmt: skip
# What lies between an ArgMax and the output without changing labels.
_KEEPS_LABELS = frozenset({"Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape"})
# What lies between scores and an ArgMax without changing the order of classes, and hides how far apart they are.
_KEEPS_ORDER = frozenset({"Softmax", "LogSoftmax"})


class InputNormalization(NamedTuple):
    """How pictures are normalized: mean and std of each channel in the network's order, and whether red comes first."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    to_rgb: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a runner before it runs; ``None`` and empty for what is not.

    Attributes:
        name: for messages.
        input: the type of what it is fed.
        size: ``(H, W)`` of its pictures.
        batch: how many pictures it takes at once; ``None`` for any number.
        num_classes: that it tells apart.
        classes, palette: names and colours of them.
        normalization: how pictures are normalized for it.
        checkpoint_sha256: of the checkpoint that its weights are from.
        channels: the order of the channels that it is fed.
    """

    name: str
    input: InputKind
    size: tuple[int, int] | None = None
    batch: int | None = None
    num_classes: int | None = None
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    normalization: InputNormalization | None = None
    checkpoint_sha256: str = ""
    channels: Channels | None = None


class Taken(NamedTuple):
    """A letterboxed picture, as networks take it."""

    tensor: NDArray[np.float32]
    """``(3, H, W)``, normalized, its channels in the order that the runner takes."""
    pixels: NDArray[np.uint8] | None
    """``(H, W, 3)``, likewise; there if a runner takes bytes."""


class Given(NamedTuple):
    """What a network makes of a picture."""

    labels: NDArray[Any]
    """``(H, W)``, integers."""
    logits: NDArray[np.float32] | None
    """``(classes, H, W)``, if they can be had."""


class Runner(Protocol):
    """Something that labels pictures."""

    @property
    def facts(self) -> Facts:
        """What is known of it."""
        ...

    def run(self, pictures: Sequence[Taken]) -> Iterator[Given]:
        """Label pictures, in their order, and no more of them at once than it must."""
        ...


class TorchRunner:
    """A network in PyTorch, one picture at a time.

    Args:
        network: as :func:`pspfast.export.networks.load_network` gives it. Not prepared for an export, it has PyTorch's
            own pooling.
        name: for messages.
    """

    def __init__(self, network: Network, name: str) -> None:
        self._torch, self._module = need("torch"), network.module
        self.facts = Facts(
            name=f"{name} (PyTorch)",
            input="float32",
            num_classes=network.num_classes,
            classes=network.classes,
            palette=network.palette,
            normalization=InputNormalization(network.mean, network.std, network.to_rgb),
            checkpoint_sha256=network.sha256,
            channels="rgb" if network.to_rgb else "bgr",
        )

    def run(self, pictures: Sequence[Taken]) -> Iterator[Given]:
        """See :class:`Runner`.

        Raises:
            RuntimeError: the network cannot take pictures of this size.
        """
        for picture in pictures:
            with self._torch.inference_mode():
                try:
                    scores = self._module(self._torch.from_numpy(picture.tensor)[None])
                except (RuntimeError, ValueError) as error:
                    shape = "x".join(map(str, picture.tensor.shape))
                    raise RuntimeError(f"{self.facts.name} fails with a picture of {shape}: {error}") from error
            logits = scores[0].float().numpy()
            yield Given(logits.argmax(axis=0), logits)


class OnnxRunner:
    """An ONNX file in ONNX Runtime, on the CPUs this process may use.

    Labels are the output's, or the largest of the output's scores. Where the labels come from an ArgMax in the graph,
    the scores that it chooses from are read as well: a further output, in memory only.

    Args:
        model: a path, or a model (``onnx.ModelProto``), which stays as it is.
        name: for messages; the path if left out.
        channels: the order that it takes, where it does not say so itself.
        output: name or number, from 0, of the output with the labels; ``output`` if there is one of this name, else the
            only one that can be it, if left out.

    Raises:
        ModelFileError: no ONNX model, or one that ONNX Runtime refuses.
        ValueError: one that is not of the kind that takes pictures and gives labels or scores, or whose metadata are
            damaged or tell another size than the graph has.
        MissingExtra: a library is not installed.
    """

    def __init__(
        self, model: Any, name: str | None = None, *, channels: Channels | None = None, output: str | None = None
    ) -> None:
        onnx = need("onnx")
        need("onnxruntime")  # before a large model is read
        if isinstance(model, (str, os.PathLike)):
            path = os.fspath(model)
            model = model_files.load(path, weights=False)
        else:
            path = name or "model"
            copy = onnx.ModelProto()
            copy.CopyFrom(model)
            model = copy
            model_files.check_sound(model)
            model_files.open_dimensions(model)
        # What is too large for a message is read by ONNX Runtime itself, from where it lies beside the model.
        config = {}
        if model_files.is_too_large(model):
            config["session.model_external_initializers_file_folder_path"] = os.path.dirname(os.path.abspath(path))
        else:
            model_files.read_weights(model, path)
        self._name = name or path
        try:
            metadata = read_metadata(model)
        except ValueError as error:
            raise ValueError(f"{self._name}: {error}") from error
        self.metadata = metadata
        self._read_input(model, metadata)
        told = channels_told({entry.key: entry.value for entry in model.metadata_props})
        told = order_told(metadata, told, is_bytes=self._kind == "uint8")
        order_taken(self._name, told, channels, is_bytes=self._kind == "uint8")
        self._read_output(model, onnx, output)
        data = model_files.to_bytes(model)
        del model  # a network of 200 MB is there three times otherwise
        try:
            self._session = open_session(
                data,
                threads=default_workers(),
                deterministic=True,
                # Threads that wait for work by spinning would take their CPUs from PyTorch, whose turn it is then.
                config={"session.intra_op.allow_spinning": "0", **config},
            )
        except Exception as error:  # each of its reasons has its own class, which are not public
            raise model_files.ModelFileError(path, f"ONNX Runtime refuses it: {first_line(error)}") from error
        self._facts = Facts(
            name=f"{self._name} (ONNX Runtime)",
            input=self._kind,
            size=self._size,
            batch=self._batch,
            num_classes=self._num_classes or (len(metadata.classes) if metadata and metadata.classes else None),
            classes=metadata.classes if metadata else (),
            palette=metadata.palette if metadata else (),
            normalization=InputNormalization(metadata.mean, metadata.std, metadata.to_rgb) if metadata else None,
            checkpoint_sha256=metadata.checkpoint_sha256 if metadata else "",
            channels=told or channels,
        )

    @property
    def facts(self) -> Facts:
        """What the graph and its metadata say."""
        return self._facts

    def run(self, pictures: Sequence[Taken]) -> Iterator[Given]:
        """See :class:`Runner`. A batch that is not full is filled up with zeros, whose labels are dropped.

        Raises:
            RuntimeError: ONNX Runtime fails.
            ValueError: an output that is neither labels nor scores of these pictures.
        """
        step = self._batch or len(pictures)
        for start in range(0, len(pictures), step):
            chosen = pictures[start : start + step]
            inputs = [self._input(picture) for picture in chosen]
            batch = np.zeros((step, *inputs[0].shape), inputs[0].dtype)
            batch[: len(inputs)] = inputs
            try:
                given = batch[0] if self._is_one_picture else batch
                found = self._session.run(self._outputs, {self._input_name: given})
            except Exception as error:
                raise RuntimeError(f"{self._name}: ONNX Runtime fails: {first_line(error)}") from error
            if self._is_one_picture:
                found = [_of_a_batch(one) for one in found]
            labels, logits = self._understood(found, step)
            for index in range(len(chosen)):
                yield Given(labels[index], None if logits is None else logits[index])

    def _input(self, picture: Taken) -> NDArray[Any]:
        if self._kind != "uint8":
            return picture.tensor.astype(self._kind, copy=False)
        if picture.pixels is None:
            raise ValueError(f"{self._name} takes bytes, and none were made of the picture")
        return picture.pixels if self._channels_last else picture.pixels.transpose(2, 0, 1)

    def _understood(self, found: list[NDArray[Any]], count: int) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """Labels ``(N, H, W)`` and scores ``(N, classes, H, W)`` or ``None``."""
        first = found[0]
        if first.dtype.kind == "f":
            if first.ndim != 4 or len(first) != count:
                raise ValueError(f"{self._name}: its scores have the shape {first.shape}, not (N, classes, H, W)")
            return first.argmax(axis=1), found[-1].astype(np.float32, copy=False)
        labels = first
        if labels.ndim == 2 and count == 1:
            labels = labels[None]
        if labels.ndim == 4 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 3 or len(labels) != count:
            raise ValueError(
                f"{self._name}: its labels have the shape {first.shape} for {count} pictures, not (N, 1, H, W) or "
                "(N, H, W)"
            )
        logits = None
        if len(found) == 2 and found[1].ndim == 4:
            scores = np.moveaxis(found[1], self._axis, 1)
            if scores.shape[2:] == labels.shape[1:] and len(scores) == count:  # else they were resized in between
                logits = scores.astype(np.float32, copy=False)
        return labels, logits

    def _read_input(self, model: Any, metadata: ModelMetadata | None) -> None:
        inputs = model_files.inputs(model)
        if len(inputs) != 1:
            raise ValueError(f"{self._name} has {len(inputs)} inputs; one was expected, the pictures")
        kind = _INPUT_KINDS.get(inputs[0].type.tensor_type.elem_type)
        if kind is None:
            raise ValueError(f"{self._name}: its input is none of {', '.join(_INPUT_KINDS.values())}")
        shape = model_files.shape_of(inputs[0])
        self._is_one_picture = shape is not None and is_one_picture([_known(side) for side in shape])
        if shape is not None and self._is_one_picture:
            shape = (1, *shape)
        if shape is None or len(shape) != 4:
            raise ValueError(f"{self._name}: its input is {model_files.text_of_shape(shape)}, not of four dimensions")
        self._input_name, self._kind = inputs[0].name, kind
        takes = picture_input(TensorSpec(inputs[0].name, kind, tuple(map(_known, shape))), self._name)
        self._channels_last = takes.is_channels_last
        height, width = takes.size
        self._batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
        self._size = metadata.size if metadata else None
        if height is not None and width is not None:
            if self._size is not None and self._size != (height, width):
                raise ValueError(
                    f"{self._name} takes pictures of {width}x{height}, and its metadata say "
                    f"{self._size[1]}x{self._size[0]}; it was changed after its export"
                )
            self._size = (height, width)

    def _chosen_output(self, outputs: Sequence[Any], asked: str | None, onnx: Any) -> Any:
        """The output that is asked for, or called ``output``, or that alone can be labels or scores."""
        names = [one.name for one in outputs]
        if asked is not None and asked not in names and asked.isdecimal() and int(asked) < len(names):
            asked = names[int(asked)]
        if asked is None and "output" in names:
            asked = "output"
        specs = []
        for one in outputs:
            shape = tuple(_known(side) for side in model_files.shape_of(one) or ())
            kind = _NUMPY_TYPES.get(onnx.TensorProto.DataType.Name(one.type.tensor_type.elem_type), "object")
            specs.append(
                with_batch_axis(TensorSpec(one.name, kind, shape))
                if self._is_one_picture
                else TensorSpec(one.name, kind, shape)
            )
        return outputs[choose_output(specs, self._name, self._size, None, self._batch or 1, asked, "--output")]

    def _read_output(self, model: Any, onnx: Any, asked: str | None) -> None:
        """Decide what to fetch, and add the scores behind labels to the outputs."""
        named = {output.name: output for output in model.graph.output}
        output = self._chosen_output(model.graph.output, asked, onnx)
        self._outputs, self._axis, self._num_classes = [output.name], 1, None
        makers = {name: node for node in model.graph.node for name in node.output}
        is_scores = output.type.tensor_type.elem_type in (
            onnx.TensorProto.FLOAT,
            onnx.TensorProto.FLOAT16,
            onnx.TensorProto.DOUBLE,
        )
        name = output.name
        if is_scores:
            shape = model_files.shape_of(output)
            if shape is not None and (len(shape) != 4 or shape[1] == 1):
                raise ValueError(
                    f"{self._name}: its output is of floats {list(shape)}; expected scores (N, classes, H, W), or "
                    "labels as integers"
                )
            if shape is not None and isinstance(shape[1], int):
                self._num_classes = shape[1]
        else:
            while name in makers and makers[name].op_type in _KEEPS_LABELS:
                name = makers[name].input[0]
            if name not in makers or makers[name].op_type != "ArgMax":
                return
            attributes = {one.name: one.i for one in makers[name].attribute}
            self._axis = attributes.get("axis", 0)
            name = makers[name].input[0]
        while name in makers and makers[name].op_type in _KEEPS_ORDER:
            name = makers[name].input[0]
        if name not in named:
            model.graph.output.append(onnx.ValueInfoProto(name=name))  # ONNX Runtime finds out its type
        if name != output.name:
            self._outputs.append(name)


def _known(side: Any) -> int | None:
    """A dimension, if it is a number of something."""
    return side if isinstance(side, int) and side > 0 else None


def _of_a_batch(output: NDArray[Any]) -> NDArray[Any]:
    """What a model makes of one picture, as of a batch of 1: ``(1, ...)`` of three or four dimensions."""
    while output.ndim > 3 and len(output) == 1:
        output = output[0]
    return output[None]
