"""How a whole run is to be done, as one record from the command to the workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pspfast.pictures.reader import MAX_PIXELS
from pspfast.stages.model_input import InputOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pspfast.pictures.geometry import CropRule
    from pspfast.runtimes.runtime import Runtime

__all__ = ["RunOptions"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is to be done: :func:`pspfast.stages.whole_run.run`, whose ``input_options`` are ``input`` here."""

    input: InputOptions | None = None
    geometry: CropRule = "exact"
    runtime: str | Callable[[int], Runtime] = "auto"
    devices: Sequence[int] = (0,)
    provider: str | None = None
    provider_options: Mapping[str, str] | None = None
    allow_cpu: bool = False
    threads: int | None = None
    batch: int | None = None
    workers: int | None = None
    output_name: str | None = None
    keep_bins: bool = False
    keep_masks: bool = False
    keep_overlays: bool = False
    report: Callable[[list[str], str], object] | Literal[False] = False
    resume: bool = True
    max_pixels: int = MAX_PIXELS
    command: Sequence[str] = ()
    quiet: bool = True
