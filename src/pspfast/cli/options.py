"""Command-line options that several commands share, and what becomes of them."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import click

from pspfast.datasets import DATASETS, VOC, data_set, read_classes, read_split, with_label_suffix
from pspfast.system import terminal
from pspfast.system.files import OutputError, stem, write_whole
from pspfast.system.threads import default_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pspfast.datasets import DataSet
    from pspfast.formats.result import Result

__all__ = [
    "bin_layout_option",
    "channels_option",
    "class_options",
    "data_set_as_asked",
    "data_set_option",
    "data_set_options",
    "label_or_none",
    "label_rule_options",
    "named_label_options",
    "output_name_option",
    "pictures_of_split",
    "report_result",
    "report_writer",
    "result_file_options",
    "workers_option",
]

workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=default_workers,
    metavar="N",
    help="Threads; the CPUs this process may use if left out.",
    show_default=False,
)


def bin_layout_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``bin_layout``: where the channels of bins are that no manifest describes."""
    return click.option(
        "--bin-layout",
        type=click.Choice(["nchw", "nhwc"]),
        help="Of bins without a manifest, for a model of floats with its channels last.",
    )(command)


def channels_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``channels``: the order of a picture's channels where the model does not tell it."""
    return click.option(
        "--channels",
        type=click.Choice(["rgb", "bgr"]),
        help="Which the model takes first; its own word, else rgb for floats and bgr for bytes.",
    )(command)


def output_name_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``output_name``: which of several outputs has the labels."""
    return click.option(
        "--output-name", metavar="NAME", help="The model's output with labels or scores, where it has several."
    )(command)


def data_set_option(default: str | None, help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``data_set``: a :class:`pspfast.datasets.DataSet`, or ``None`` if it is left out and has no default."""
    return click.option(
        "--dataset",
        "data_set",
        type=click.Choice(list(DATASETS), case_sensitive=False),
        default=default,
        metavar="NAME",
        callback=lambda _, __, name: None if name is None else data_set(name),
        help=f"{help}: {', '.join(DATASETS)}.",
    )


def data_set_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which data set, and where: ``data_set``, a :class:`pspfast.datasets.DataSet`, and ``root``."""
    root = click.option(
        "--root",
        type=click.Path(),
        metavar="DIR",
        help="The data set's own folder (VOC2012), which has all the others.",
    )
    return data_set_option("voc", "Says what labels mean and how files are named")(root(command))


_label_suffix_option = click.option(
    "--label-suffix",
    metavar="END",
    help="What label pictures' names end in, as _mask.png; the data set's if left out.",
)


def class_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What labels mean and are called where it is not what the data set says, see :func:`data_set_as_asked`."""

    @functools.wraps(command)
    def with_suffix(*args: Any, data_set: DataSet, label_suffix: str | None, **others: Any) -> Any:
        return command(*args, data_set=_suffixed(data_set, label_suffix), **others)

    optioned: Callable[..., Any] = with_suffix
    for option in (
        _label_suffix_option,
        *_rule_options,
        click.option(
            "--ignore-index",
            metavar="LABEL",
            help="Pixels that do not count, mostly 255; 'none' for none; the data set's if left out.",
        ),
        click.option(
            "--classes", type=click.Path(), help="File with one class name a line; the data set's if left out."
        ),
    ):
        optioned = option(optioned)
    return optioned


def label_rule_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What labels of a ledger mean: ``label_map`` and ``reduce_zero_label``, ``None`` for those of its data set."""

    @functools.wraps(command)
    def with_rules(*args: Any, data_set: DataSet | None, **others: Any) -> Any:
        return command(*args, **_rules_asked(data_set, others))

    return _optioned(with_rules, "Says what labels mean; the ledger's own if left out")


def named_label_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What labels mean, as :func:`label_rule_options`, and how pictures and labels are named: ``data_set``."""

    @functools.wraps(command)
    def with_rules(*args: Any, data_set: DataSet | None, label_suffix: str | None, **others: Any) -> Any:
        naming = _suffixed(data_set or VOC, label_suffix)
        return command(*args, data_set=naming, **_rules_asked(data_set, others))

    said = "Says what labels mean and how files are named; labels as they are, under the pictures' names, if left out"
    return _label_suffix_option(_optioned(with_rules, said))


def _rules_asked(data_set: DataSet | None, options: dict[str, Any]) -> dict[str, Any]:
    """Options with the data set's rules where none are given."""
    if data_set is None:
        return options
    asked = _with_rules(data_set, options["label_map"], options["reduce_zero_label"])
    return options | {"label_map": dict(asked.label_map), "reduce_zero_label": asked.reduce_zero_label}


def _optioned(command: Callable[..., Any], data_set_help: str) -> Callable[..., Any]:
    for option in (*_rule_options, data_set_option(None, data_set_help)):
        command = option(command)
    return command


def _suffixed(data_set: Any, suffix: str | None) -> Any:
    """A data set with ``--label-suffix``; ``None`` stays, where a command goes without a data set."""
    if suffix is None:
        return data_set
    if data_set is None:
        raise click.UsageError("--label-suffix needs --dataset, which says what such labels mean")
    try:
        return with_label_suffix(data_set, suffix)
    except ValueError as error:  # before the command, which has console.handles_errors
        raise click.UsageError(str(error)) from None


def data_set_as_asked(
    data_set: DataSet,
    class_file: str | None,
    ignore_index: str | None,
    label_map: dict[int, int] | None,
    reduce_zero_label: bool | None,
) -> DataSet:
    """A data set with the options' rules in place of its own.

    Args:
        data_set: ``--dataset``.
        class_file: of ``--classes``, or the one in the data set's root.
        ignore_index, label_map, reduce_zero_label: as the options give them; ``None`` where they were left out.

    Raises:
        OSError: the file with the classes cannot be read.
        ValueError: an option says nothing sensible, or nothing says what the classes are.
    """
    if class_file is not None:
        data_set = data_set.with_classes(read_classes(class_file))
    if not data_set.classes:
        raise ValueError(f"--dataset {data_set.name} has no classes of its own; give --classes, or --root")
    if ignore_index is not None:
        data_set = replace(data_set, ignore_index=label_or_none(ignore_index))
    return _with_rules(data_set, label_map, reduce_zero_label)


def _with_rules(data_set: DataSet, label_map: dict[int, int] | None, reduce_zero_label: bool | None) -> DataSet:
    return replace(
        data_set,
        label_map=data_set.label_map if label_map is None else label_map,
        reduce_zero_label=data_set.reduce_zero_label if reduce_zero_label is None else reduce_zero_label,
    )


def _label_map(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[int, int] | None:
    if not texts:
        return None
    changes: dict[int, int] = {}
    if texts == ("none",):
        return changes
    for change in (change for text in texts for change in text.split(",")):
        old, colon, new = change.partition(":")
        if not (colon and old.strip().isdecimal() and new.strip().isdecimal()):
            raise click.BadParameter(f"expected OLD:NEW, two labels, got {change!r}")
        if changes.setdefault(int(old), int(new)) != int(new):
            raise click.BadParameter(f"label {int(old)} becomes both {changes[int(old)]} and {int(new)}")
    return changes


_rule_options = (
    click.option(
        "--reduce-zero-label/--no-reduce-zero-label",
        default=None,
        help="Label 0 becomes 255, every other one less; the data set's rule if left out.",
    ),
    click.option(
        "--label-map",
        multiple=True,
        callback=_label_map,
        metavar="OLD:NEW,...",
        help="All at once: 0:1,1:0 swaps; 'none' for none; the data set's if left out.",
    ),
)


def label_or_none(text: str) -> int | None:
    """A label as ``--ignore-index`` takes it.

    Raises:
        ValueError: neither a label nor "none".
    """
    if text == "none":
        return None
    if not text.isdecimal():
        raise ValueError(f"--ignore-index must be a label or 'none', got {text!r}")
    return int(text)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``json_file``: where what is printed goes as JSON as well."""
    return click.option("--json", "json_file", type=click.Path(), metavar="FILE", help="Everything, for programs.")(
        command
    )


def result_file_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Files for a result: ``json_file`` and ``csv_file``."""
    csv = click.option("--csv", "csv_file", type=click.Path(), metavar="FILE", help="A line a class.")
    return json_option(csv(command))


def report_result(result: Result, result_file: str | None, json_file: str | None, csv_file: str | None) -> bool:
    """Print a result's tables and write its files.

    Returns:
        Whether one of these failed, which is told; the others are there all the same.
    """
    outputs: list[Callable[[], None]] = [lambda: terminal.report("\n".join([result.tables(), *result.caveats()]))]
    for path, text in ((result_file, result.published), (json_file, result.to_json), (csv_file, result.to_csv)):
        if path is not None:
            outputs.append(lambda path=path, text=text: write_whole(path, text().encode()))  # type: ignore[misc]
    failed = False
    for write in outputs:
        try:
            write()
        except OutputError as error:
            terminal.tell(str(error))
            failed = True
    return failed


def pictures_of_split(split: str, sources: Mapping[str, Collection[str]]) -> list[str]:
    """Names of the pictures that ``--split`` chooses, each once, in the split's order.

    Args:
        split: the file.
        sources: file -> names of the pictures that it has.

    Raises:
        OSError: the split cannot be read.
        ValueError: it names nothing, or a picture that one of the sources lacks.
    """
    named = read_split(split)
    names = list(dict.fromkeys(stem(name) for name in named.ids))
    repeated = len(named.ids) + len(named.repeated) - len(names)
    if repeated:
        terminal.tell(f"{split}: {repeated} lines name a picture that an earlier one names; each counts once")
    for source, known in sources.items():
        has = frozenset(known)
        missing = [name for name in names if name not in has]
        if missing:
            raise ValueError(f"{source} lacks {len(missing)} of the pictures in {split}, {missing[0]} among them")
    return names


def report_writer() -> Callable[[list[str], str], object] | Literal[False]:
    """What writes the page of a run (jinja2 is loaded when it is called); ``False`` where jinja2 is not installed."""
    from importlib.util import find_spec

    if find_spec("jinja2") is None:
        return False

    def write(folders: list[str], path: str) -> None:
        from pspfast.report.page import write_report

        write_report(folders, path)

    return write
