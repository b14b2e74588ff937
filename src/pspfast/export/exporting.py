"""A checkpoint to ONNX files: what ``pspfast export`` does, as a function."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pspfast
from pspfast.export.attempts import Attempts
from pspfast.export.proving import noise
from pspfast.export.tracing import INPUT, OUTPUT
from pspfast.formats.model_metadata import ModelMetadata, write_metadata
from pspfast.graphs import model_files
from pspfast.pictures.reader import MAX_PIXELS
from pspfast.system.libraries import need
from pspfast.system.output_conflicts import check_outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pspfast.export.networks import Network
    from pspfast.formats.model_metadata import InputKind, Layout, Pooling

__all__ = [
    "DEFAULT_OPSET", "LEAST_AGREEMENT_HALF", "MOST_MARGIN_HALF", "OPSETS", "Exported", "OutputType", "export",
    "file_for_batch",
]  # fmt: skip

OutputType = Literal["int64", "int32"]

DEFAULT_OPSET: Literal["auto"] = "auto"
"""The lowest that works; 11 is the one that every release of ATC lists, for Resize above all."""
OPSETS = range(11, 19)
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
        opset: of its operators.
        remarks: what has to be said beside: why it is no lower opset, and if all labels were of one class.
    """

    path: str
    batch: int | None
    operators: int
    size: int
    agreement: float | None
    opset: int
    remarks: tuple[str, ...] = ()


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
    opset: int | Literal["auto"] = DEFAULT_OPSET,
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
        opset: one of :data:`OPSETS`, or ``"auto"``: the lowest of them that works.
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
        CheckpointError: not a checkpoint, not of this network, or with weights that are NaN or infinite.
        ValueError: options that contradict each other, or a shape the network cannot take.
        RuntimeError: PyTorch cannot export it, it labels otherwise in each pass, half precision overflows, or what came
            out computes something else; nothing is written then.
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
    from pspfast.export import soundness
    from pspfast.export.deployment import Deployed
    from pspfast.export.networks import load_network

    step(f"reading {checkpoint}")
    network = load_network(checkpoint, config, classes=classes, trust=trust, sha256=sha256, md5=md5)
    if network.classes and len(network.classes) != network.num_classes:
        raise ValueError(
            f"{checkpoint}: the network tells {network.num_classes} classes apart, {len(network.classes)} are named; "
            "say how they are called (--classes)"
        )
    soundness.check_weights(network.module, checkpoint)
    network.check_shape(shape)
    metadata = _metadata(network, checkpoint, shape, input, layout, pooling, logits=logits)
    kind = None if logits else getattr(torch, output_type)
    deployed = Deployed(
        network.module, input, layout, kind, mean=metadata.mean, std=metadata.std, to_rgb=metadata.to_rgb
    ).eval()
    example = torch.from_numpy(noise(input, shape))
    # Before anything is replaced in it: files are compared with the network as it is.
    expected = soundness.labels_of(deployed, example)
    network.prepare(shape, pooling)
    given = soundness.run(deployed, example)
    labels = given.argmax(1) if logits else given
    soundness.check_repeats(expected, labels, lambda: soundness.labels_of(deployed, example), _LEAST_AGREEMENT)

    attempts = Attempts(
        deployed,
        example,
        given.shape,
        expected.numpy(),
        least=LEAST_AGREEMENT_HALF if fp16 else _LEAST_AGREEMENT,
        logits=logits,
        keeps=(INPUT,) * (input == "float32") + (OUTPUT,) * logits if fp16 else None,
        name=output_file,
        advice="; pooling 'matmul' writes adaptive pools of every size" if pooling == "native" else "",
        step=step,
    )
    # Sixteen pictures at once would need the memory of sixteen: one is compared, first of all.
    numbers = list(files) if {None, 1} & files.keys() else [1, *files]
    graph = attempts.at_lowest(OPSETS, numbers[0]) if opset == "auto" else attempts.at(opset, numbers[0])
    same = soundness.remark_of_labels(expected, network.classes)
    remarks = tuple(one for one in (graph.remark, same) if one)
    written = []
    for number in numbers:
        is_first = number == numbers[0]
        simple = graph.simple if is_first else attempts.simplified(graph.traced, number)
        agreement = graph.agreement if is_first else attempts.compared(simple) if number == 1 else None
        write_metadata(simple, metadata)
        if number in files:
            model_files.save(simple, files[number])
            size = simple.ByteSize()
            written.append(
                Exported(files[number], number, len(simple.graph.node), size, agreement, graph.opset, remarks)
            )
    return written


def _check(
    shape: tuple[int, int], batch: Sequence[int], opset: int | str, *, logits: bool, output_type: str, layout: str
) -> None:
    if min(shape) < 1:
        raise ValueError(f"shape must be a positive height and width, got {shape}")
    if shape[0] * shape[1] > MAX_PIXELS:
        raise ValueError(f"shape must have no more than {MAX_PIXELS:,} pixels, got {shape[0]} x {shape[1]}")
    if any(number < 1 for number in batch):
        raise ValueError(f"batches must be positive, got {list(batch)}")
    if opset != "auto" and opset not in OPSETS:
        raise ValueError(f"opset must be auto, or {OPSETS.start} to {OPSETS.stop - 1}, got {opset}")
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
