"""How fast a model runs, with everything around it and without: what ``pspfast benchmark`` does, as functions."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from pspfast.datasets import VOC, find_labels, labels_of_another_suffix, pictures_in, read_split
from pspfast.formats.ledger import Subject
from pspfast.runtimes.model_facts import metadata_of, shape_of_picture
from pspfast.speed.clocks import TimedBins, TimedPictures
from pspfast.speed.timed_batches import OutputHandling, Scoring
from pspfast.speed.warm_model import WarmModel
from pspfast.stages.counting import Rules
from pspfast.stages.device_runtimes import batch_of, open_on
from pspfast.stages.feeding import find_feed
from pspfast.stages.inference import PictureFailure
from pspfast.stages.model_input import InputOptions, check_bins, check_classes, resolve_input
from pspfast.stages.model_output import resolve_output
from pspfast.system.terminal import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pspfast.datasets import DataSet
    from pspfast.formats.model_metadata import Channels, ModelMetadata
    from pspfast.runtimes.runtime import Runtime
    from pspfast.speed.clocks import TimedSource
    from pspfast.speed.tables import Benchmark
    from pspfast.stages.feeding import BinLayout

__all__ = ["benchmark_bins", "benchmark_pictures", "benchmark_pure"]


def benchmark_pictures(
    model: str | os.PathLike[str],
    images: str | os.PathLike[str],
    split: str | os.PathLike[str] | None = None,
    *,
    labels: str | os.PathLike[str] | None = None,
    dump: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    data_set: DataSet | None = None,
    size: tuple[int, int] | None = None,
    channels: Channels | None = None,
    output_name: str | None = None,
    runtime: str | Callable[[int], Runtime] = "auto",
    device: int = 0,
    threads: int | None = None,
    batch: int | None = None,
    workers: int | None = None,
    warmup: int = 3,
    quiet: bool = True,
    **options: Any,
) -> Benchmark:
    """Measure a model with a data set: pictures are read, letterboxed, run, and scored or dumped, all at once.

    Args:
        model: the file.
        images: folder of the pictures.
        split: file with one id a line; every picture of the folder if left out.
        labels: folder of label pictures to score against.
        dump: folder for the model's outputs, as :func:`pspfast.stages.inference.infer` writes them.
        num_classes: for scores, where there is no ``data_set``; the model's own, or VOC's, if left out.
        data_set: says how files are named and what labels mean; its classes have to be the model's.
        size: ``(H, W)`` of the canvas, for models that leave it open.
        channels: which the model takes first, where it does not say: ``"rgb"`` or ``"bgr"``.
        output_name: which of the model's outputs has the labels; the only one that can be it if left out.
        runtime, device, threads, **options: see :func:`pspfast.runtimes.engines.open_runtime`; or what opens a runtime.
        batch: pictures at once, see :func:`pspfast.stages.device_runtimes.batch_of`.
        workers: threads of the data path; enough to keep the device busy if left out.
        warmup: batches that are run before and count for nothing.
        quiet: no progress on standard error.

    Raises:
        OSError: the folder, the split or the model cannot be read, or the folder for outputs not be made.
        ValueError: a model that does not take pictures, or nothing to run.
        RuntimeFault, MissingExtra: see :func:`pspfast.runtimes.engines.open_runtime`.
    """
    folder = os.fspath(images)
    if not os.path.isdir(folder):
        raise NotADirectoryError(None, "no such folder of pictures", folder)
    names = pictures_in(folder, data_set or VOC) if split is None else list(read_split(split).ids)
    if not names:
        raise ValueError(f"{folder}: no pictures in this folder")
    label_folder = None if labels is None else os.fspath(labels)
    if label_folder is not None and not os.path.isdir(label_folder):
        raise NotADirectoryError(None, "no such folder of labels", label_folder)
    with ExitStack() as opened:
        (one,) = open_on(opened, model, runtime, (device,), threads, **options)
        path = os.fspath(model)
        dtype: Any = None if one.input.dtype == "uint8" else one.input.dtype
        found = resolve_input(one, path, InputOptions(size=size, dtype=dtype, channels=channels))
        settings, shape = found.letterbox, found.letterbox.shape
        if found.is_to_be_told(quiet=quiet):
            tell(found.assumed)
        scoring = None
        if label_folder is not None:
            if data_set is None:
                named = _data_set_of(found.metadata, num_classes)
            else:
                named = data_set
                check_classes(path, found.metadata, named)
            _check_labels(label_folder, names, named)
            rules = Rules(
                Subject(named.classes, named.ignore_index, "exact", named.name),
                named.label_map,
                named.reduce_zero_label,
            )
            output = resolve_output(one, path, settings.canvas, rules.num_classes, shape, output_name)
            scoring = Scoring(label_folder, named, rules, output)
        handling = OutputHandling.of(dump, one, scoring)

        def make_source() -> TimedSource:
            return TimedPictures(folder, settings, data_set or VOC)

        warm = WarmModel(one, batch_of(one, batch), workers, warmup, shape, quiet)
        return warm.data_set(make_source, names, handling, model=os.fspath(model), device=device)


def _check_labels(folder: str, names: Sequence[str], data_set: DataSet) -> None:
    """Refuse a folder that has no labels of any picture by the names looked for, and has them by others."""
    if not any(os.path.exists(find_labels(folder, name, data_set)) for name in names):
        said = labels_of_another_suffix(folder, names, data_set)
        if said is not None:
            raise ValueError(said)


def _data_set_of(metadata: ModelMetadata | None, num_classes: int | None) -> DataSet:
    """A data set of as many classes as were given, else of the model's own, else VOC."""
    if num_classes is not None:
        return VOC.with_classes(tuple(map(str, range(num_classes))))
    return VOC.with_classes(metadata.classes) if metadata is not None and metadata.classes else VOC


def benchmark_bins(
    model: str | os.PathLike[str],
    source: str | os.PathLike[str],
    *,
    bin_layout: BinLayout | None = None,
    dump: str | os.PathLike[str] | None = None,
    runtime: str | Callable[[int], Runtime] = "auto",
    device: int = 0,
    threads: int | None = None,
    batch: int | None = None,
    workers: int | None = None,
    warmup: int = 3,
    quiet: bool = True,
    **options: Any,
) -> Benchmark:
    """Measure a model with bins, which are read, run and, if asked for, dumped; without preprocessing.

    Args:
        source, bin_layout: see :func:`pspfast.stages.feeding.find_feed`.
        model, dump, runtime, device, threads, batch, workers, warmup, quiet, **options: see
            :func:`benchmark_pictures`.

    Raises:
        OSError, ValueError, RuntimeFault, MissingExtra: see :func:`pspfast.stages.inference.infer`.
    """
    with ExitStack() as opened:
        (one,) = open_on(opened, model, runtime, (device,), threads, **options)
        feed = find_feed(source, one.input, bin_layout)
        check_bins(os.fspath(model), metadata_of(one, os.fspath(model)), feed.source, feed.parameters)
        by_name = {slot.name: slot for slot in feed.pictures}

        def make_source() -> TimedSource:
            return TimedBins(feed, by_name, one.input.dtype)

        warm = WarmModel(one, batch_of(one, batch), workers, warmup, feed.shape, quiet)
        return warm.data_set(
            make_source,
            list(by_name),
            OutputHandling.of(dump, one),
            model=os.fspath(model),
            device=device,
            failures=[PictureFailure(*failure) for failure in feed.failures],
        )


def benchmark_pure(
    model: str | os.PathLike[str],
    *,
    rounds: int = 20,
    size: tuple[int, int] | None = None,
    runtime: str | Callable[[int], Runtime] = "auto",
    device: int = 0,
    threads: int | None = None,
    batch: int | None = None,
    warmup: int = 3,
    **options: Any,
) -> Benchmark:
    """Measure a model alone, with one batch of random numbers again and again.

    Args:
        rounds: how often.
        size: ``(H, W)``, for models that leave it open.
        model, runtime, device, threads, batch, warmup, **options: see :func:`benchmark_pictures`.

    Raises:
        OSError, ValueError, RuntimeFault, MissingExtra: see :func:`benchmark_pictures`.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    with ExitStack() as opened:
        (one,) = open_on(opened, model, runtime, (device,), threads, **options)
        count = batch_of(one, batch)
        shape = shape_of_picture(one, size, os.fspath(model))
        return WarmModel(one, count, 1, warmup, shape, quiet=True).pure(rounds, model=os.fspath(model), device=device)
