"""A checkpoint to ONNX files: what ``pspfast export`` does, as a function."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import pspfast
from pspfast.export.tracing import INPUT, OUTPUT, halve, trace
from pspfast.formats.model_metadata import ModelMetadata, write_metadata
from pspfast.graphs import model_files
from pspfast.graphs.simplification import fixed_shapes, simplify
from pspfast.pictures.reader import MAX_PIXELS
from pspfast.system.captured_output import first_line
from pspfast.system.libraries import MissingExtra, need
from pspfast.system.onnx_sessions import open_session
from pspfast.system.output_conflicts import check_outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pspfast.export.networks import Network
    from pspfast.formats.model_metadata import InputKind, Layout, Pooling

__all__ = [
    "DEFAULT_OPSET", "LEAST_AGREEMENT_HALF", "MOST_MARGIN_HALF", "OPSETS", "Exported", "OutputType", "export",
    "file_for_batch",
]  # fmt: skip

OutputType = Literal["int64", "int32"]

DEFAULT_OPSET = 11
"""The one that every release of ATC lists, for Resize above all."""
OPSETS = range(11, 18)
"""What PyTorch's exporter and ATC both know."""

# Runtimes add up in other orders, so undecided pixels flip: 0.01 % of them, and 0.7 % in half precision.
_LEAST_AGREEMENT = 0.9995
LEAST_AGREEMENT_HALF, MOST_MARGIN_HALF = 0.97, 0.2
"""Share of pixels of a half-precision file that must be labelled as in PyTorch, and how decided the others may be."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written.

    Attributes:
        path: of the file.
        batch: pictures it takes at once, ``None`` for any number.
        operators: nodes in it.
        size: of the file, in bytes.
        agreement: share of pixels labelled as PyTorch does, on seeded noise; ``None`` for batches above 1,
            which are the same graph; that one is compared if no other file is asked for.
    """

    path: str
    batch: int | None
    operators: int
    size: int
    agreement: float | None


def file_for_batch(path: str, batch: int) -> str:
    """Name of the file for one of several batches.

    Example:
        >>> file_for_batch("out/pspnet.onnx", 16)
        'out/pspnet_bs16.onnx'
    """
    base, suffix = os.path.splitext(path)
    return f"{base}_bs{batch}{suffix}"


def export(
    checkpoint: str,
    output_file: str,
    *,
    config: str | None = None,
    shape: tuple[int, int] = (500, 500),
    batch: Sequence[int] = (),
    dynamic_batch: bool = False,
    opset: int = DEFAULT_OPSET,
    input: InputKind = "float32",
    output_type: OutputType = "int64",
    layout: Layout = "n1hw",
    logits: bool = False,
    fp16: bool = False,
    pooling: Pooling = "matmul",
    classes: tuple[str, ...] | None = None,
    trust: bool = False,
    sha256: str | None = None,
    md5: str | None = None,
    step: Callable[[str], None] = lambda _: None,
) -> list[Exported]:
    """Write a checkpoint as ONNX; what comes out is compared with PyTorch before a file gets its name.

    Args:
        checkpoint: a path, a URL or a known name, see :func:`pspfast.export.checkpoints.load_checkpoint`.
        output_file: the file. If there are several, those of a certain batch are named by :func:`file_for_batch`.
        config: an mmsegmentation 1.x config, by path or packaged name; without it, the project's own PSPNet.
        shape: ``(H, W)`` of the pictures.
        batch: pictures at once, a file each; 1 if neither this nor ``dynamic_batch`` is given.
        dynamic_batch: write a file for any number of pictures.
        opset: one of :data:`OPSETS`.
        input: ``"float32"`` or ``"float16"`` ``(N, 3, H, W)``, normalized; or ``"uint8"`` ``(N, H, W, 3)``, blue first,
            which the graph normalizes.
        output_type: of labels.
        layout: of labels: ``"n1hw"`` ``(N, 1, H, W)`` or ``"nhw"`` ``(N, H, W)``.
        logits: scores ``(N, classes, H, W)`` float32 instead of labels.
        fp16: compute in half precision.
        pooling: ``"matmul"`` has no pooling operator and is exact for every size; ``"cascade"`` has small average pools
            and is refused where they are not exact; ``"native"`` leaves adaptive pools to PyTorch's exporter, which
            refuses most sizes.
        classes: names; the checkpoint's or config's if left out, VOC's for 21 classes of which neither tells.
        trust: load a checkpoint that can run code.
        sha256, md5: of the checkpoint file, which is refused if it has another.
        step: is told what is being done.

    Returns:
        The files: the one for any number of pictures first, then by batch.

    Raises:
        CheckpointError: not a checkpoint, or not of this network.
        ValueError: options that contradict each other, or a shape the network cannot take.
        RuntimeError: PyTorch cannot export it, or what came out computes something else; nothing is written then.
        OutputError: a file cannot be written.
        MissingExtra: a library is not installed.
    """
    torch = need("torch")
    for library in ("onnx", "onnxruntime", "onnxsim"):
        need(library)
    _check(shape, batch, opset, logits=logits, output_type=output_type, layout=layout)
    files = _files(output_file, batch, dynamic_batch)
    check_outputs(files.values(), [checkpoint] if config is None else [checkpoint, config])
    for path in files.values():
        model_files.check_writable(path)
    from pspfast.export.deployment import Deployed
    from pspfast.export.networks import load_network

    step(f"reading {checkpoint}")
    network = load_network(checkpoint, config, classes=classes, trust=trust, sha256=sha256, md5=md5)
    if network.classes and len(network.classes) != network.num_classes:
        raise ValueError(
            f"{checkpoint}: the network tells {network.num_classes} classes apart, {len(network.classes)} are named; "
            "say how they are called (--classes)"
        )
    network.prepare(shape, pooling)
    metadata = _metadata(network, checkpoint, shape, input, layout, pooling, logits=logits)
    kind = None if logits else getattr(torch, output_type)
    deployed = Deployed(
        network.module, input, layout, kind, mean=metadata.mean, std=metadata.std, to_rgb=metadata.to_rgb
    ).eval()

    step(f"tracing at {shape[1]}x{shape[0]}, opset {opset}")
    example = torch.from_numpy(_noise(input, shape))
    try:
        model = trace(deployed, example, opset)
    except RuntimeError as error:
        if pooling != "native":
            raise
        raise RuntimeError(f"{error}; pooling 'matmul' writes adaptive pools of every size") from error
    with torch.no_grad():
        expected = deployed.scores(example).argmax(1).numpy()
    del deployed, network  # a ResNet-101's weights are there twice by now
    if fp16:
        step("converting to half precision")
        model = halve(model, keep=(INPUT,) * (input == "float32") + (OUTPUT,) * logits)

    least = LEAST_AGREEMENT_HALF if fp16 else _LEAST_AGREEMENT
    written = []
    # Sixteen pictures at once would need the memory of sixteen: one is compared, first of all.
    for number in files if {None, 1} & files.keys() else [1, *files]:
        step(f"simplifying for {'any batch' if number is None else f'batch {number}'}")
        shapes = None if number is None else fixed_shapes(model, number)
        simple = simplify(model, shapes, compare=False)  # with PyTorch instead, which sees more
        write_metadata(simple, metadata)
        agreement = None
        if number in (None, 1):
            agreement = float(np.mean(_labels(simple, example.numpy(), logits=logits) == expected))
            if agreement < least:
                raise RuntimeError(
                    f"{output_file}: the exported model labels {agreement:.4%} of the pixels as PyTorch does, "
                    f"{least:.2%} were expected; it is not written. Please report this"
                )
        if number in files:
            model_files.save(simple, files[number])
            written.append(Exported(files[number], number, len(simple.graph.node), simple.ByteSize(), agreement))
    return written


def _check(
    shape: tuple[int, int], batch: Sequence[int], opset: int, *, logits: bool, output_type: str, layout: str
) -> None:
    if min(shape) < 1:
        raise ValueError(f"shape must be a positive height and width, got {shape}")
    if shape[0] * shape[1] > MAX_PIXELS:
        raise ValueError(f"shape must have no more than {MAX_PIXELS:,} pixels, got {shape[0]} x {shape[1]}")
    if any(number < 1 for number in batch):
        raise ValueError(f"batches must be positive, got {list(batch)}")
    if opset not in OPSETS:
        raise ValueError(f"opset must be {OPSETS.start} to {OPSETS.stop - 1}, got {opset}")
    if logits and (output_type != "int64" or layout != "n1hw"):
        raise ValueError("scores have neither an integer type nor a layout of labels: leave them out, or the scores")


def _files(path: str, batch: Sequence[int], dynamic: bool) -> dict[int | None, str]:
    """Batch -> file."""
    numbers: list[int | None] = [None] * dynamic + sorted(set(batch)) or [1]
    if len(numbers) == 1:
        return {numbers[0]: path}
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{path} is no place for {len(numbers)} files; give the name of a file")
    return {number: path if number is None else file_for_batch(path, number) for number in numbers}


def _metadata(
    network: Network,
    source: str,
    shape: tuple[int, int],
    kind: InputKind,
    layout: Layout,
    pooling: Pooling,
    *,
    logits: bool,
) -> ModelMetadata:
    return ModelMetadata(
        checkpoint=source,
        checkpoint_sha256=network.sha256,
        config=network.config,
        classes=network.classes,
        palette=network.palette,
        mean=network.mean,
        std=network.std,
        to_rgb=network.to_rgb,
        size=shape,
        input=kind,
        output="logits" if logits else "labels",
        layout=layout,
        pooling=pooling,
        version=pspfast.__version__,
    )


def _noise(kind: InputKind, shape: tuple[int, int]) -> NDArray[Any]:
    """One picture of noise as the model takes it; smooth over eight pixels, so that it gets through to the features."""
    rng = np.random.default_rng(0)
    coarse = rng.standard_normal((1, 3, -(-shape[0] // 8), -(-shape[1] // 8)))
    picture = coarse.repeat(8, axis=2).repeat(8, axis=3)[:, :, : shape[0], : shape[1]]
    picture = picture + 0.25 * rng.standard_normal(picture.shape)
    if kind == "uint8":
        return np.ascontiguousarray(np.clip(picture * 50 + 115, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1))
    return picture.astype(kind)


def _labels(model: Any, example: NDArray[Any], *, logits: bool) -> NDArray[Any]:
    """What ONNX Runtime labels the example as, ``(1, H, W)``."""
    try:
        (output,) = open_session(model.SerializeToString()).run([OUTPUT], {INPUT: example})
    except MissingExtra:
        raise
    except Exception as error:  # each of its reasons has its own class, which are not public
        raise RuntimeError(f"ONNX Runtime fails with the exported model: {first_line(error)}") from error
    return np.asarray(output.argmax(1) if logits else output.reshape(1, *output.shape[-2:]))
