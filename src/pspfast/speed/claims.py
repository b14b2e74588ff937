"""The linter: what makes a figure, or a comparison of figures, unsound.

Each finding has a code, a place and a sentence. None of them changes a figure: whoever reads them decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pspfast.formats.measurements import (
    ASSUMED_BATCH,
    COMMAS_IN_SHAPES,
    DEVICE_TIME,
    KINDS,
    SEVERAL_STREAMS,
    ZERO_QPS,
    devices_in_card,
    is_gpu,
)
from pspfast.vendors.texts.shared import agree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pspfast.formats.measurements import Measurement, Statement

__all__ = [
    "CODES", "MIN_ITERATIONS", "UnsoundClaim", "check_cards", "check_comparison", "check_measurements",
    "check_statements", "meant",
]  # fmt: skip

MIN_ITERATIONS = 50
"""Fewer inferences are a rough figure: the guide calls its 20 rounds so; its whole data set is 91 batches of 16."""

CODES = {
    "static batch": "a model of fixed batch, called by another",
    "unknown batch": "nothing says which batch ran",
    "shapes with commas": "trtexec's --shapes takes 1x3x500x500; with commas it is ignored",
    "zero qps": "trtexec 7.x says 0 qps of every ONNX model",
    "several streams": "batches ran side by side, so that a batch's time is no rate",
    "random data": "inputs were made up, not read",
    "few iterations": "too few inferences for a mean",
    "no data path": "pre- and post-processing are not in the figure",
    "different kinds": "figures that are of different things, compared",
    "different batches": "figures of different batches, compared",
    "misnamed figure": "called by the name of another figure",
    "wrong batch": "a figure of another batch than is said",
    "wrong arithmetic": "the result is another than is said",
    "four devices": "multiplied by devices that the card does not have",
}
"""Code of a finding -> what it means."""


@dataclass(frozen=True, slots=True)
class UnsoundClaim:
    """A figure, a comparison of figures or a statement about them that does not hold.

    Attributes:
        code: one of :data:`CODES`.
        where: file, and line if it is a document.
        text: a sentence.
    """

    code: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.where}: {self.text}"


def check_measurements(
    measurements: Sequence[Measurement], *, min_iterations: int = MIN_ITERATIONS
) -> list[UnsoundClaim]:
    """What is unsound in figures by themselves; one finding for all figures of a run.

    Args:
        measurements: of one file or several.
        min_iterations: fewer inferences are told.

    Example:
        >>> from pspfast.vendors.texts import parse
        >>> made = parse("[INFO] ave_throughputRate: 8.5samples/s, ave_latency: 117.6ms", "log").measurements
        >>> [finding.code for finding in check_measurements(made)]
        ['random data', 'no data path']
    """
    found: dict[UnsoundClaim, None] = {}
    for one in measurements:
        for finding in _of_one(one, measurements, min_iterations):
            found.setdefault(finding)
    return [*found, *_without_data_path(measurements)]


def _of_one(one: Measurement, others: Sequence[Measurement], min_iterations: int) -> Iterator[UnsoundClaim]:
    if COMMAS_IN_SHAPES in one.notes:
        yield UnsoundClaim(
            "shapes with commas",
            one.where,
            "--shapes=name:1,3,500,500 is not trtexec's syntax (1x3x500x500); trtexec 7 runs a model of fixed batch "
            "regardless, from 8.0 on such a model takes no --shapes at all",
        )
    if ZERO_QPS in one.notes:
        yield UnsoundClaim(
            "zero qps", one.where, "trtexec 7.x says 0 qps of ONNX models; 1000 x batch / GPU mean is taken"
        )
    if SEVERAL_STREAMS in one.notes:
        yield UnsoundClaim(
            "several streams",
            one.where,
            f"several streams ran side by side and make {one.throughput:.2f} a second together; the GPU compute time "
            "of a batch is of one of them, and no rate",
        )
    if one.batch is not None and one.batch_run is not None and one.batch != one.batch_run:
        yield UnsoundClaim("static batch", one.where, _static_batch(one, others))
    elif ASSUMED_BATCH in one.notes and one.batch is None:
        yield UnsoundClaim(
            "unknown batch", one.where, "nothing says which batch ran; counted as 1, say it with --batch"
        )
    if one.on_random_data:
        what = "one made-up input, again and again" if one.kind == "pure inference" else "made-up inputs"
        yield UnsoundClaim("random data", one.where, f"{one.tool} ran {what}, not pictures")
    if one.iterations is not None and one.iterations < min_iterations:
        yield UnsoundClaim("few iterations", one.where, f"{one.iterations} inferences, fewer than {min_iterations}")


def _static_batch(one: Measurement, others: Sequence[Measurement]) -> str:
    is_proven = ASSUMED_BATCH not in one.notes
    text = f"called batch {one.batch}, " + (
        f"but batch {one.batch_run} ran" if is_proven else "but nothing shows that more than batch 1 ran"
    )
    mean = one.latency_ms.get("mean")
    if mean is None or one.latency_of != "batch" or one.batch is None:
        return text
    alike = (one.tool, one.kind, one.batch_run, one.device)
    times = [
        other.latency_ms["mean"]
        for other in others
        if (other.tool, other.kind, other.batch, other.device) == alike and "mean" in other.latency_ms
    ]
    if near := [alone for alone in times if agree(alone, mean, 0.1)]:
        text += f", and it took {mean:g} ms as batch {one.batch_run} did ({near[0]:g} ms): the model is of fixed batch"
    return f"{text}; {one.throughput:.3f} a second is of batch {one.batch_run}, not {1000 * one.batch / mean:.1f}"


def _without_data_path(measurements: Iterable[Measurement]) -> Iterator[UnsoundClaim]:
    runs: dict[tuple[str, str, str | None], list[Measurement]] = {}
    for one in measurements:
        runs.setdefault((one.source, one.tool, one.device), []).append(one)
    for (source, tool, device), ones in runs.items():
        if all(one.kind != "end to end" for one in ones):
            kinds = ", ".join(dict.fromkeys(one.kind for one in ones))
            of = f" of {device}" if device else ""
            yield UnsoundClaim(
                "no data path", source, f"{tool}'s figures{of} ({kinds}) leave out pre- and post-processing"
            )


def check_statements(statements: Sequence[Statement], measurements: Sequence[Measurement]) -> list[UnsoundClaim]:
    """What a document's prose says of its figures that they do not bear out.

    Args:
        statements: of the prose.
        measurements: of the same document.
    """
    found: dict[UnsoundClaim, None] = {}
    by_line: dict[tuple[str, int], list[tuple[Statement, Measurement | None]]] = {}
    for said in statements:
        match = meant(said, measurements)
        by_line.setdefault((said.source, said.line), []).append((said, match))
        for finding in _of_statement(said, match, measurements):
            found.setdefault(finding)
    for said_here in by_line.values():
        for finding in _compared_in_prose(said_here):
            found.setdefault(finding)
    return list(found)


def meant(said: Statement, measurements: Sequence[Measurement]) -> Measurement | None:
    """The figure that a statement is about: the same number, of the same batch if there are several."""
    matches = [
        one
        for one in measurements
        if agree(one.latency_ms.get("mean", -1.0) if said.is_latency else one.throughput, said.value, 1e-6)
    ]
    # A name that a figure does bear is no mistake.
    matches.sort(key=lambda one: (one.batch != said.batch, said.called is not None and one.kind != said.called))
    return matches[0] if matches else None


def _of_statement(
    said: Statement, match: Measurement | None, measurements: Sequence[Measurement]
) -> Iterator[UnsoundClaim]:
    where = f"{said.source}:{said.line}"
    device = match.device if match is not None else said.device
    if not said.is_latency and said.factor > 1 and device is not None and devices_in_card(device) != said.factor:
        figure = (
            f"{said.value:g} is multiplied by {said.factor:g}" if said.value else f"said to be {said.factor:g} devices"
        )
        what = "a T4 is one device" if device == "T4" else f"a card of {device} is counted as {devices_in_card(device)}"
        yield UnsoundClaim("four devices", where, f"{figure}, but {what}")
    if match is None:
        return
    if said.called is not None and said.called != match.kind:
        yield UnsoundClaim("misnamed figure", where, _misnamed(said, match, measurements))
    if said.batch is not None and match.batch is not None and said.batch != match.batch:
        yield UnsoundClaim(
            "wrong batch", where, f"{said.value:g} is called batch {said.batch}; it is of batch {match.batch}"
        )
    if said.is_latency and match.batch_run is not None and said.factor != match.batch_run:
        yield UnsoundClaim(
            "static batch",
            where,
            f"{said.value:g} ms is taken for batch {said.factor:g}; batch {match.batch_run} ran, which makes "
            f"{match.throughput:.3f} a second",
        )
    made = 1000 * said.factor / said.value if said.is_latency else said.value * said.factor
    if said.result is not None and not agree(made, said.result, 0.005):
        yield UnsoundClaim("wrong arithmetic", where, f"{said.result:g} is said to come out; it is {made:.6g}")


def _misnamed(said: Statement, match: Measurement, measurements: Sequence[Measurement]) -> str:
    name = {"interface": "Interface throughputRate"}.get(said.called or "", said.called or "")
    text = f"{said.value:g} is called {name}; it is the [{match.kind}] throughputRate of batch {match.batch}"
    real = next((one for one in measurements if one.kind == said.called and one.batch == match.batch), None)
    if real is None:
        return text
    text += f", the {name} is {real.throughput:g}"
    devices = devices_in_card(real.device)
    if devices == 1:
        return text
    return f"{text} (x{devices}: {devices * real.throughput:.2f}, not {devices * said.value:.2f})"


def _compared_in_prose(said: list[tuple[Statement, Measurement | None]]) -> Iterator[UnsoundClaim]:
    """Figures with a sign between them."""
    known = [match for _, match in said if match is not None]
    first = said[0][0]
    if not re.search(r"[<>\u2264\u2265\uff1c\uff1e]", first.text) or len(known) < 2:
        return
    for other in known[1:]:
        if other.kind != known[0].kind:
            yield UnsoundClaim("different kinds", f"{first.source}:{first.line}", _kinds_differ(known[0], other))


def check_comparison(first: Measurement, second: Measurement) -> list[UnsoundClaim]:
    """What is unsound in setting one figure against another."""
    found: list[UnsoundClaim] = []
    where = f"{first.where} and {second.where}"
    if first.kind != second.kind:
        found.append(UnsoundClaim("different kinds", where, _kinds_differ(first, second)))
    ran = [one.batch_run if one.batch_run is not None else one.batch for one in (first, second)]
    if None not in ran and ran[0] != ran[1]:
        found.append(
            UnsoundClaim("different batches", where, f"batch {ran[0]} ran on one side, batch {ran[1]} on the other")
        )
    return found


def _kinds_differ(first: Measurement, second: Measurement) -> str:
    text = " against ".join(
        f"{one.kind}{f' of {one.device}' if one.device else ''} ({KINDS.get(one.kind, 'of its own')})"
        for one in (first, second)
    )
    if {first.kind, second.kind} <= DEVICE_TIME:
        text += "; both are of the device, the nearest there are"
    return text


def check_cards(devices_per_card: Mapping[str | None, int]) -> list[UnsoundClaim]:
    """Devices a card as someone counts them, by device.

    Example:
        >>> [str(finding) for finding in check_cards({"T4": 4, "Ascend310": 4})]
        ['four devices: T4: counted as 4 devices a card; a T4 is one device']
    """
    found: list[UnsoundClaim] = []
    for device, count in devices_per_card.items():
        known = devices_in_card(device)
        if count == known:
            continue
        if device is None:
            said = "it is not known what it is; say it with --device"
        elif is_gpu(device):
            said = f"a {device} is one device"
        else:
            said = f"a card of {device} is taken to have {known}; only that of the Ascend 310 has 4"
        found.append(UnsoundClaim("four devices", device or "a device", f"counted as {count} devices a card; {said}"))
    return found
