"""The page: what a number of runs found, side by side, in one HTML file that needs nothing else."""

from __future__ import annotations

import os
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

import pspfast
from pspfast.accuracy.evaluations import BASELINES
from pspfast.formats.run_folder import LEDGER, RECORD, RESULT
from pspfast.report.charts import HEAT_LIMITS, class_rows, percent, scale_of
from pspfast.report.examples import make_cards, swatches
from pspfast.report.facts_section import commands, facts, facts_line, times
from pspfast.report.saved import SavedRun, read_runs
from pspfast.report.scores_section import compared, differences, heat, left_out, scores
from pspfast.system import libraries as extras
from pspfast.system.files import folder_for_output, write_whole
from pspfast.system.output_conflicts import check_outputs, check_own

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


__all__ = ["MAX_DROP", "Written", "render", "write_report"]

MAX_DROP = 1.0
"""Points of mIoU; a loss of this much is not accepted, as by ``pspfast compare``."""

_MOST_LISTED = 50


class Written(NamedTuple):
    """A page that was written.

    Attributes:
        path: of the file.
        faults: what could not be shown.
    """

    path: str
    faults: tuple[str, ...]


def write_report(
    results: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    baseline: str | None = None,
    title: str | None = None,
    max_drop: float = MAX_DROP,
    resamples: int = 2000,
    seed: int = 0,
) -> Written:
    """Write the page of saved results.

    Args:
        results: folders of runs, results that ``--json`` wrote, or ledgers; the first one is the reference.
        output: the HTML file; its folder is made if need be.
        baseline: the reference in place of the first one: one of ``pspfast.accuracy.comparison.BASELINES``, or a
            further result.
        title: of the page.
        max_drop, resamples, seed: as ``pspfast compare`` takes them.

    Raises:
        OSError: a result cannot be read.
        OutputError: the page cannot be written.
        ValueError: something that is no result, results that cannot be compared, or something else than a page where
            the page goes.
        MissingExtra: jinja2 is not installed.
    """
    if not results:
        raise ValueError("give at least one result: a run's folder, a result of --json, or a ledger")
    path, paths = os.fspath(output), [os.fspath(one) for one in results]
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder; give a file for the page, {os.path.join(path, 'index.html')} say")
    files = [*paths, *([] if baseline is None or baseline in BASELINES else [baseline])]
    check_outputs([path], _inputs(files))
    check_own(path, is_page=True)
    runs, reference = _read(results, baseline)
    command = ["pspfast", "report", *paths, "--output", path]
    command += [] if baseline is None else ["--baseline", baseline]
    command += [] if title is None else ["--title", title]
    command += [] if max_drop == MAX_DROP else ["--max-drop", f"{max_drop:g}"]
    command += [] if resamples == 2000 else ["--resamples", str(resamples)]
    command += [] if seed == 0 else ["--seed", str(seed)]
    html, faults = _rendered(runs, reference, title, max_drop, resamples, seed, command)
    if not path.startswith("/dev/"):
        folder_for_output(os.path.dirname(path) or ".")
    write_whole(path, html.encode("utf-8", "backslashreplace"))  # names of files need not be text
    return Written(path, tuple(faults))


def render(
    runs: Sequence[SavedRun],
    *,
    reference: int = 0,
    title: str | None = None,
    max_drop: float = MAX_DROP,
    resamples: int = 2000,
    seed: int = 0,
) -> str:
    """The page as text; the same runs give the same page.

    Args:
        runs: what to show, in this order; labels are all different.
        reference: place of the run that others are compared with.
        title: of the page.
        max_drop, resamples, seed: as ``pspfast compare`` takes them.

    Raises:
        ValueError: runs that cannot be compared.
        MissingExtra: jinja2 is not installed.
    """
    return _rendered(runs, reference, title, max_drop, resamples, seed, [])[0]


def _inputs(paths: Iterable[str]) -> Iterator[str]:
    """Files that a page is made of."""
    for path in paths:
        yield from (os.path.join(path, name) for name in (LEDGER, RESULT, RECORD)) if os.path.isdir(path) else (path,)


def _read(results: Sequence[str | os.PathLike[str]], baseline: str | None) -> tuple[list[SavedRun], int]:
    """The runs of a page, and which of them is the reference."""
    if baseline is None:
        runs = read_runs(results)
        return runs, next((place for place, run in enumerate(runs) if run.side), 0)
    if baseline in BASELINES:
        return [SavedRun.published(baseline), *read_runs(results)], 0
    for place, path in enumerate(results):
        if os.path.realpath(path) == os.path.realpath(baseline):
            return read_runs(results), place
    if not os.path.exists(baseline):
        raise ValueError(f"--baseline must be {', '.join(BASELINES)}, or a result; there is no file {baseline}")
    return read_runs([baseline, *results]), 0


def _rendered(
    runs: Sequence[SavedRun],
    reference: int,
    title: str | None,
    max_drop: float,
    resamples: int,
    seed: int,
    command: Sequence[str],
) -> tuple[str, list[str]]:
    """The page, and what could not be shown."""
    jinja2 = extras.need("jinja2")
    found = compared(runs, reference, resamples, seed)
    scale = scale_of([number for one in found.values() for number in differences(one)])
    cards, legend, faults = make_cards(runs)
    sides = {place: run.side for place, run in enumerate(runs) if run.side and run.side.total}
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "hue": _hue}
    page = environment.get_template("page.html").render(
        title=title or _title([run.label for run in runs], reference),
        version=pspfast.__version__,
        runs=runs,
        facts_line=facts_line(runs),
        scores=[scores(place, runs, reference, found.get(place), scale, max_drop) for place in range(len(runs))],
        scale=f"{scale:g}",
        is_compared=bool(found),
        has_intervals=any(one.intervals for one in found.values()),
        reference=runs[reference].label,
        left_out=[left_out(run) for run in runs],
        most_listed=_MOST_LISTED,
        classes=class_rows(sides, {place: one for place, one in found.items() if place in sides}),
        heat=heat(runs),
        heat_limits=HEAT_LIMITS,
        cards=cards,
        legend=legend,
        differences=swatches(),
        faults=faults,
        times=times(runs),
        facts=facts(runs),
        shown=[place for place, run in enumerate(runs) if run.path],
        commands=commands(runs, reference, command),
    )
    return page, faults


def _template(name: str) -> str:
    return resources.files("pspfast.report").joinpath(name).read_text("utf-8")


def _title(labels: Sequence[str], reference: int) -> str:
    """What a page is called by itself.

    Example:
    >>> _title(["a"], 0), _title(["a", "b"], 0), _title(["a", "b", "c"], 1)
    ('a', 'b against a', 'a and c against b')
    """
    if len(labels) == 1:
        return labels[0]
    others = [label for place, label in enumerate(labels) if place != reference]
    return f"{', '.join(others[:-1])}{' and ' * (len(others) > 1)}{others[-1]} against {labels[reference]}"


def _hue(place: int) -> int:
    """Which of the six colours of runs one has."""
    return place % 6
