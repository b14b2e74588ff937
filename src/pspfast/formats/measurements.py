"""One measured throughput as a record, and what texts say about such figures.

``pspfast benchmark`` writes these records under a header of its own; parsers make them of what vendors' tools print.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "ASSUMED_BATCH", "COMMAS_IN_SHAPES", "DEVICE_TIME", "KINDS", "LATENCIES", "SEVERAL_STREAMS", "STAGES", "ZERO_QPS",
    "Measurement", "Reading", "Statement", "benchmark_json", "device_name", "devices_in_card", "is_gpu", "is_npu",
    "measurements_from_json",
]  # fmt: skip

_FORMAT, _VERSION = "pspfast benchmark", 1

KINDS = {
    "end to end": "pictures through everything: reading, preprocessing, inference, post-processing",
    "data read": "reading alone",
    "preprocess": "preprocessing alone",
    "infer": "the inference stage with its copies and queues",
    "post": "post-processing; of the benchmark tool, the rate at which pictures arrive there",
    "interface": "the benchmark tool's Interface throughputRate: the call that runs the model",
    "pure inference": "the benchmark tool's -round: one input again and again",
    "compute": "the model alone, without copies",
    "npu compute": "ais_bench: 1000 x batch / NPU_compute_time.mean, without copies",
    "gpu compute": "trtexec: 1000 x batch / GPU compute mean, without copies",
    "host latency": "copies and compute, one after the other: 1000 x batch / latency mean",
    "wall clock": "trtexec's Throughput: batches by wall clock x batch; copies overlap with compute",
}
"""What a throughput is of. A record may name another; this is what our parsers and commands use."""

STAGES = ("data read", "preprocess", "infer", "post")
"""Kinds that are a part of "end to end"."""

DEVICE_TIME = frozenset({"interface", "pure inference", "compute", "npu compute", "gpu compute"})
"""Kinds that are of the device and the call that runs it; nearest to each other, though not the same."""

# Notes that claims.py looks for; everything else in notes is for people alone.
COMMAS_IN_SHAPES = "--shapes has commas where trtexec takes x"
ZERO_QPS = "the log says 0 qps, which is trtexec's mistake and not used"
SEVERAL_STREAMS = "several streams at once: a batch's time is of one of them, and no rate"
ASSUMED_BATCH = "nothing in the log proves the batch: counted as 1"

LATENCIES = ("mean", "median", "p90", "p95", "p99", "min", "max")
"""Names that latencies go by."""
_GPU_TOOLS, _NPU_TOOLS = frozenset({"trtexec"}), frozenset({"benchmark", "ais_bench", "msame"})
# Ascending, whatever the distribution is; printed figures are rounded.
_ASCENDING = (("min", "median", "p90", "p95", "p99", "max"), ("min", "mean", "max"))
_ROUNDING = 1e-4
_MOST = 1e15  # of anything that is counted or measured; sums of figures below it hold as floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measured throughput.

    Attributes:
        source: file that says so.
        tool: ``benchmark``, ``ais_bench``, ``trtexec``, ``msame``, ``pspfast``.
        kind: what the throughput is of, see :data:`KINDS`.
        throughput: pictures a second on one device.
        batch: as declared: by a command line, a file's name, the user.
        batch_run: as it really ran; 1 where a model may be static and the log proves nothing (see ``notes``).
        device: such as ``Ascend310``, ``T4``, ``CPU``; None if the source does not say.
        device_index: which of the machine's devices.
        tool_version: of the tool, or of its runtime.
        latency_ms: any of mean, median, p90, p95, p99, min, max.
        latency_of: ``picture`` or ``batch``.
        iterations: how many inferences were measured.
        pictures: how many pictures were measured.
        on_random_data: whether inputs were made up; None if the source does not say.
        line: in the source, from 1, if it is a document.
        notes: what else has to be known.

    Raises:
        ValueError: figures that cannot be, or that contradict each other; the text names the source.

    Example:
        >>> measured = Measurement(source="log", tool="trtexec", kind="gpu compute", throughput=61.482, device="T4")
        >>> Measurement.from_json(measured.to_json()) == measured
        True
    """

    source: str
    tool: str
    kind: str
    throughput: float
    batch: int | None = None
    batch_run: int | None = None
    device: str | None = None
    device_index: int | None = None
    tool_version: str | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)
    latency_of: str = "picture"
    iterations: int | None = None
    pictures: int | None = None
    on_random_data: bool | None = None
    line: int | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"{self.where}: {self.kind}"
        for name in ("source", "tool", "kind", "device", "tool_version"):
            value = getattr(self, name)
            if not isinstance(value, str) and not (value is None and name in ("device", "tool_version")):
                raise ValueError(f"{where}: {name} must be text, got {value!r}")
        if self.on_random_data not in (None, True, False):
            raise ValueError(f"{where}: on_random_data must be true or false, got {self.on_random_data!r}")
        if not _is_number(self.throughput) or self.throughput <= 0:
            raise ValueError(f"{where}: a throughput must be a number above 0, got {self.throughput!r}")
        if not 1 / _MOST < self.throughput < _MOST:
            raise ValueError(f"{where}: {self.throughput:g} pictures a second are beyond any measurement")
        for name in ("batch", "batch_run", "iterations", "pictures"):
            _check_count(where, name, getattr(self, name), least=1)
        _check_count(where, "device_index", self.device_index, least=0)
        _check_count(where, "line", self.line, least=1)
        if self.latency_of not in ("picture", "batch"):
            raise ValueError(f"{where}: latency_of must be 'picture' or 'batch', got {self.latency_of!r}")
        for name, value in self.latency_ms.items():
            if name not in LATENCIES:
                raise ValueError(f"{where}: a latency is one of {', '.join(LATENCIES)}, got {name!r}")
            if not _is_number(value) or value < 0:
                raise ValueError(f"{where}: latency {name} must be a number of ms, got {value!r}")
        self._check_order(where)

    def _check_order(self, where: str) -> None:
        for order in _ASCENDING:
            known = [name for name in order if name in self.latency_ms]
            for low, high in pairwise(known):
                if self.latency_ms[low] > self.latency_ms[high] * (1 + _ROUNDING):
                    raise ValueError(
                        f"{where}: {low} {self.latency_ms[low]:g} ms is above {high} {self.latency_ms[high]:g} ms, "
                        "which cannot be; is the text of one run?"
                    )

    @property
    def where(self) -> str:
        """File, and line if it is a document."""
        return self.source if self.line is None else f"{self.source}:{self.line}"

    @property
    def is_of_gpu(self) -> bool:
        """Whether it is an NVIDIA device's: by its name, else by the tool, which knows no other."""
        return is_gpu(self.device) if self.device is not None else self.tool in _GPU_TOOLS

    @property
    def is_of_npu(self) -> bool:
        """Whether it is an Ascend device's: by its name, else by the tool, which knows no other."""
        return is_npu(self.device) if self.device is not None else self.tool in _NPU_TOOLS

    @property
    def has_proven_batch(self) -> bool:
        """Whether the source shows which batch ran."""
        return self.batch_run is not None and ASSUMED_BATCH not in self.notes

    def with_batch(self, batch: int) -> Measurement:
        """The same with the batch that really ran, as someone says who knows the model.

        Raises:
            ValueError: the source proves another one.
        """
        if self.batch_run == batch:
            return replace(self, notes=tuple(note for note in self.notes if note != ASSUMED_BATCH))
        if self.has_proven_batch:
            raise ValueError(f"{self.where} shows that batch {self.batch_run} ran, not {batch}")
        scale = batch if ASSUMED_BATCH in self.notes else 1
        notes = (*(note for note in self.notes if note != ASSUMED_BATCH), f"batch {batch} by the user's word")
        return replace(self, throughput=self.throughput * scale, batch=batch, batch_run=batch, notes=notes)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for JSON; what is not known is left out."""
        values = asdict(self) | {"notes": list(self.notes)}
        return {name: value for name, value in values.items() if value not in (None, {}, [])}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Measurement:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: a field is missing, unknown or cannot be.
        """
        if not isinstance(values, dict):
            raise ValueError(f"a measurement is an object of fields, got {type(values).__name__}")
        known = {one.name for one in fields(cls)}
        if unknown := values.keys() - known:
            raise ValueError(f"a measurement has no field {sorted(unknown)[0]!r}")
        if missing := {"source", "tool", "kind", "throughput"} - values.keys():
            raise ValueError(f"a measurement needs the field {sorted(missing)[0]!r}")
        if not isinstance(values.get("latency_ms", {}), dict) or not isinstance(values.get("notes", []), list):
            raise ValueError("a measurement's latency_ms is an object, its notes are a list")
        return cls(**{**values, "notes": tuple(map(str, values.get("notes", ())))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a document says about a figure, in its own words.

    Attributes:
        source, line: where.
        text: the whole line.
        value: the figure: pictures a second, or ms if ``is_latency``.
        is_latency: whether it stands in ``1000 / (ms / batch)``.
        factor: what it is multiplied by: devices a card, or the batch if ``is_latency``.
        result: what is said to come out.
        called: the kind that the text gives the figure, such as ``interface``.
        batch, device: as the line names them.
    """

    source: str
    line: int
    text: str
    value: float
    is_latency: bool = False
    factor: float = 1
    result: float | None = None
    called: str | None = None
    batch: int | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file holds.

    Attributes:
        measurements: in the file's order.
        statements: of its prose, if it is a document.
        left_out: of a document's blocks those that are no good, a sentence each, with file and line.
    """

    measurements: tuple[Measurement, ...]
    statements: tuple[Statement, ...] = ()
    left_out: tuple[str, ...] = ()


def benchmark_json(measurements: Iterable[Measurement], **others: Any) -> str:
    """The file that ``pspfast benchmark --json`` writes.

    Args:
        measurements: stages first, "end to end" among them if it was measured; ``latency_ms`` of "data read",
            "preprocess" and "post" is the time that one thread takes for a picture.
        **others: further plain values for the file's head.

    Example:
        >>> text = benchmark_json([Measurement(source="-", tool="pspfast", kind="infer", throughput=2.0)])
        >>> [measured.kind for measured in measurements_from_json(json.loads(text), "-")]
        ['infer']
    """
    head = {"format": _FORMAT, "version": _VERSION, **others}
    return json.dumps({**head, "measurements": [one.to_json() for one in measurements]}, indent=1) + "\n"


def measurements_from_json(values: Any, source: str) -> list[Measurement]:
    """Records of a parsed file of :func:`benchmark_json`; their source becomes ``source``.

    Raises:
        ValueError: it is none; the text names the file.
    """
    try:
        if values["format"] != _FORMAT or values["version"] != _VERSION:
            raise ValueError(f"format {values['format']!r} of version {values['version']}")
        found = [replace(Measurement.from_json(one), source=source) for one in values["measurements"]]
    except KeyError as error:
        raise ValueError(f"{source} is not a file of pspfast benchmark: no field {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{source} is not a file of pspfast benchmark: {error}") from error
    if not found:
        raise ValueError(f"{source} is of pspfast benchmark and holds no measurement")
    return found


# ---- devices ----

_NPU = re.compile(r"(?:ascend[ _-]?)?(310P\d?|310B\d?|310|910[A-Z]?\d?(?:_\d+)?|950\w*)", re.IGNORECASE)
_GPU_VENDOR = re.compile(r"^(?:NVIDIA|Tesla|Quadro|GeForce)\s+", re.IGNORECASE)
_GPU = re.compile(
    r"T4G?|[AVP]\d{1,3}[A-Z]{0,2}|K\d{2}|L4|L40S?|[HB]\d{3}|RTX.*|GTX.*|Orin.*|Xavier.*|Titan.*", re.IGNORECASE
)


def device_name(text: str) -> str:
    """One name for each device, however a tool or a person spells it.

    Example:
        >>> [device_name(text) for text in ("310", "Ascend 310P3", "Tesla T4", "CPU")]
        ['Ascend310', 'Ascend310P3', 'T4', 'CPU']
    """
    text = text.strip()
    if npu := _NPU.fullmatch(text):
        return "Ascend" + npu[1].upper()
    while vendor := _GPU_VENDOR.match(text):
        text = text[vendor.end() :]
    return re.split(r"[ -]", text)[0].upper() if re.match(r"[AVTPLHBK]\d+\w{0,2}(?:[ -]|$)", text, re.I) else text


def is_npu(device: str | None) -> bool:
    """Whether it is an Ascend device."""
    return device is not None and _NPU.fullmatch(device) is not None


def is_gpu(device: str | None) -> bool:
    """Whether it is an NVIDIA device."""
    return device is not None and _GPU.fullmatch(device) is not None


def devices_in_card(device: str | None) -> int:
    """4 for the Ascend 310, whose card (Atlas 300I) carries four; 1 for every other.

    Example:
        >>> devices_in_card("Ascend310"), devices_in_card("Ascend310P3"), devices_in_card("T4")
        (4, 1, 1)
    """
    return 4 if device == "Ascend310" else 1


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_count(where: str, name: str, value: object, *, least: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{where}: {name} must be a whole number from {least} on, got {value!r}")
    if value > _MOST:
        raise ValueError(f"{where}: {name} is beyond any measurement")
