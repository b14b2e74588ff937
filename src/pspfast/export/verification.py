"""Whether two models label pictures alike: what ``pspfast verify`` does, as a function.

Runtimes add up in different orders, so scores differ in their last digits, and a pixel whose two best classes are that
close may get the other one. Anything beyond that is another network. So two numbers decide: how many pixels are equal,
and how far ahead the winner was where they are not.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pspfast.datasets import VOC, find_picture, labels_of_another_suffix, pictures_in, read_split
from pspfast.export.agreement import MAX_MARGIN, MIN_AGREEMENT, Agreement, PictureAgreement
from pspfast.export.known import find as known_checkpoint
from pspfast.export.labellers import OnnxRunner, TorchRunner
from pspfast.export.model_comparison import Debug, ModelComparison, Sample, Truth, noise
from pspfast.pictures.reader import MAX_PIXELS, PictureError, PictureReader
from pspfast.system.files import folder_for_output, remove_leftovers
from pspfast.system.libraries import need
from pspfast.system.terminal import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pspfast.datasets import DataSet
    from pspfast.export.labellers import Runner
    from pspfast.formats.model_metadata import Channels

__all__ = ["MAX_MARGIN", "MIN_AGREEMENT", "Agreement", "Debug", "PictureAgreement", "Truth", "noise", "verify"]


_DEFAULT_NOISE = 4


def verify(
    model: str | Runner | Any,
    reference: str | Runner | Any | None = None,
    *,
    checkpoint: str | None = None,
    config: str | None = None,
    trust: bool = False,
    images: Sequence[str] = (),
    split: str | None = None,
    data_set: DataSet = VOC,
    limit: int | None = None,
    noise_pictures: int = _DEFAULT_NOISE,
    seed: int = 0,
    truth: Truth | None = None,
    shape: tuple[int, int] | None = None,
    own_input: bool = False,
    batch: int = 1,
    channels: Channels | None = None,
    reference_channels: Channels | None = None,
    output: str | None = None,
    reference_output: str | None = None,
    debug: Debug | None = None,
    max_pixels: int = MAX_PIXELS,
    quiet: bool = True,
) -> Agreement:
    """Run two models on the same pictures and compare what they make of them. One batch is in memory at a time.

    Pictures are letterboxed to the models' size and normalized as the models' metadata say; where neither has metadata,
    as published for PSPNet. Both models get the same numbers: where one of them takes halves, the other one gets them
    rounded to halves too, and where one takes bytes, the other one's input is made from these bytes, the padding being
    the bytes next to the mean. So what differs is the models' doing.

    Args:
        model: what is examined: an ONNX file, an ``onnx.ModelProto``, or a runner.
        reference: what it is compared with, of the same kinds.
        checkpoint: in place of ``reference``: a path, a URL or a known name; run in PyTorch. If neither is given, the
            checkpoint and config that the model's metadata name, which must be the same file.
        config: mmsegmentation config for the checkpoint; what the model's metadata name if left out.
        trust: load a checkpoint that can run code.
        images: picture files, and folders of them.
        split: file that names the pictures to take from the folder, which is then the only one in ``images``.
        data_set: says how the pictures of a folder are named; of a folder that has none named so, all are taken.
        limit: take no more pictures than this.
        noise_pictures, seed: if there are no ``images``: how many pictures of seeded noise to make.
        truth: labels of the pictures, for what becomes of mIoU.
        shape: ``(H, W)`` if the models do not tell.
        own_input: give each model its own input instead of the same numbers: what the input's type costs is in the
            result then.
        batch: pictures at once for models that take any number.
        channels, reference_channels: the order of channels that the one and the other take, where they do not tell it.
        output, reference_output: name or number, from 0, of the output with the labels, of models of several.
        debug: where to draw pictures that differ.
        max_pixels: larger pictures are refused.
        quiet: no progress on standard error.

    Raises:
        ValueError: models that cannot be compared, or options that contradict each other.
        OSError: a model, checkpoint, folder or split that cannot be read; an output that cannot be written.
        RuntimeError: a model that fails.
        MissingExtra: a library is not installed.
    """
    if reference is not None and checkpoint is not None:
        raise ValueError("two references, a model and a checkpoint; give one")
    if config is not None and reference is not None:
        raise ValueError("a config is for a checkpoint, and the reference is a model")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    if batch < 1 or (not images and noise_pictures < 1):
        raise ValueError(f"batch and noise_pictures must be at least 1, got {batch} and {noise_pictures}")
    pictures = _pictures(images, split, data_set)[:limit]
    if truth is not None:
        _check_truth(truth, pictures)
    if debug is not None:
        _check_debug(debug, pictures, truth)
    if reference is None and (reference_channels is not None or reference_output is not None):
        raise ValueError("--reference-channels and --reference-output are of a second model; a checkpoint says them")
    model_runner = _as_runner(model, channels, output)
    if reference is not None:
        reference_runner = _as_runner(reference, reference_channels, reference_output)
    else:
        reference_runner = _checkpoint_runner(model_runner, checkpoint, config, trust=trust, quiet=quiet)
    comparison = ModelComparison(
        reference_runner, model_runner, shape, truth, debug, own_input=own_input, max_pixels=max_pixels
    )
    samples = pictures or [Sample(f"noise {number}", "", seed, number) for number in range(noise_pictures)]
    together = max(one.facts.batch or batch for one in (model_runner, reference_runner))
    reader = PictureReader(max_pixels)
    with Progress("pictures", len(samples), quiet=quiet) as progress:
        for start in range(0, len(samples), together):
            group = []
            for sample in samples[start : start + together]:
                try:
                    group.append(comparison.prepare(sample, reader))
                except PictureError as error:
                    comparison.fault(sample.name, error.strerror or str(error))
                    progress.say(str(error))
                    progress.advance()
            for text in comparison.compare(group, progress):
                progress.say(text)
    return comparison.agreement()


def _as_runner(model: Any, channels: Channels | None, output: str | None) -> Runner:
    if hasattr(model, "run") and hasattr(model, "facts"):
        if channels is not None or output is not None:
            raise ValueError(f"{model.facts.name} is a runner already; channels and outputs are said when it is made")
        runner: Runner = model
        return runner
    return OnnxRunner(model, channels=channels, output=output)


def _checkpoint_runner(
    model: Runner, checkpoint: str | None, config: str | None, *, trust: bool, quiet: bool
) -> TorchRunner:
    need("torch")
    from pspfast.export.networks import load_network

    metadata, sha256 = getattr(model, "metadata", None), None
    if checkpoint is None:
        if metadata is None:
            raise ValueError(
                f"{model.facts.name} does not say what it was exported from; give --checkpoint, or a second model"
            )
        checkpoint, sha256 = metadata.checkpoint, metadata.checkpoint_sha256 or None
        if not (os.path.exists(checkpoint) or "://" in checkpoint or known_checkpoint(checkpoint)):
            raise FileNotFoundError(
                2,
                f"no such file here; {model.facts.name} says that it is from it. Give its place (--checkpoint)",
                checkpoint,
            )
    if config is None and metadata is not None:
        config = metadata.config or None
    return TorchRunner(load_network(checkpoint, config, trust=trust, sha256=sha256, quiet=quiet), checkpoint)


def _pictures(images: Sequence[str], split: str | None, data_set: DataSet) -> list[Sample]:
    if split is not None and (len(images) != 1 or not os.path.isdir(images[0])):
        raise ValueError(f"the split {split} names pictures in a folder; give that folder, and no other pictures")
    samples: dict[str, Sample] = {}
    for path in images:
        if split is not None:
            ids, naming = list(read_split(split).ids), data_set
            if not any(os.path.exists(os.path.join(path, find_picture(path, name, data_set))) for name in ids):
                naming = VOC
        elif os.path.isdir(path):
            ids, naming = _ids_in(path, data_set)
        else:
            samples.setdefault(path, Sample(path, path, id=data_set.id_of(os.path.basename(path))))
            continue
        for name in ids:
            file = os.path.join(path, find_picture(path, name, naming))
            samples.setdefault(file, Sample(file, file, id=name))
    return list(samples.values())


def _ids_in(folder: str, data_set: DataSet) -> tuple[list[str], DataSet]:
    """Pictures of a folder, and the data set that they are named as those of."""
    for naming in (data_set, VOC):
        ids = pictures_in(folder, naming)
        if ids:
            return ids, naming
    raise ValueError(f"{folder} has no pictures in it")


def _check_truth(truth: Truth, pictures: Sequence[Sample]) -> None:
    if not pictures:
        raise ValueError("labels are of pictures, and noise has none; give the pictures")
    if not os.path.isdir(truth.folder):
        raise ValueError(f"{truth.folder} is no folder; expected one of label pictures")
    if any(truth.labels_of(one) is not None for one in pictures):
        return
    said = labels_of_another_suffix(truth.folder, [one.id for one in pictures], truth.data_set)
    raise ValueError(
        said
        or f"{truth.folder} has labels for none of the {len(pictures)} pictures; expected their names with "
        f"{truth.data_set.label_suffix}"
    )


def _check_debug(debug: Debug, pictures: Sequence[Sample], truth: Truth | None) -> None:
    folder = folder_for_output(debug.folder)
    inputs = {os.path.dirname(one.path) or "." for one in pictures} | ({truth.folder} if truth is not None else set())
    if any(os.path.samefile(folder, one) for one in inputs if os.path.exists(one)):
        raise ValueError(
            f"{debug.folder} has the pictures or labels, which debug pictures would replace; choose another"
        )
    remove_leftovers(folder, shared=True)
