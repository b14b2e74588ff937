"""ATC's flags and paths: which are files, which exclude each other, and what cannot be right in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DYNAMIC_FLAGS", "FILE_FLAGS", "MANAGED_FLAGS", "MODES_OF_MODELS", "check_flags", "check_path"]

# Of --model; the manual says so. A slash parts folders.
_PATH = re.compile(r"[A-Za-z0-9_\-./\u4e00-\u9fff]+")
_GEARS = range(2, 101)

MANAGED_FLAGS = ("framework", "model", "output", "soc_version", "input_shape", "input_fp16_nodes", "insert_op_conf")
"""Flags that pspfast writes itself."""

DYNAMIC_FLAGS = ("dynamic_batch_size", "dynamic_image_size", "dynamic_dims")
"""Flags that leave a size open until the model runs."""

FILE_FLAGS = ("op_precision_mode", "fusion_switch_file", "modify_mixlist", "keep_dtype", "compression_optimize_conf")
"""Flags whose value is a file, so that it is meant from the folder of the caller."""


MODES_OF_MODELS = {"0": ".om", "7": ".om2"}
"""Values of ``--mode`` that make a model, and how its file ends. 7 is of the newest CANN only."""


def check_path(what: str, path: str) -> None:
    """Refuse a path with characters that ATC does not take."""
    odd = sorted(set(_PATH.sub("", path)))
    if odd:
        raise ValueError(
            f"{what} {path!r}: ATC takes letters, digits, Chinese characters, '_', '-' and '.' in paths, not "
            f"{' '.join(map(repr, odd))}; use a copy or link of another name"
        )
    if not path:
        raise ValueError(f"{what} is empty")


def check_flags(flags: Mapping[str, str], aipp: str | None) -> None:
    """Raise ValueError for flags that contradict each other, or values that ATC does not take; OSError for a file."""
    for name, value in flags.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"{name!r} is no name of a flag of ATC; write it without dashes in front: keep_dtype=FILE")
        if "\n" in value or "\0" in value:
            raise ValueError(f"--{name}: more than one line")
    if flags.get("mode", "0") not in MODES_OF_MODELS:
        raise ValueError(f"--mode={flags['mode']} makes no .om; call atc itself for that")
    if "auto_tune_mode" in flags:
        raise ValueError("--auto_tune_mode is refused by ATC of today (E10001)")
    dynamic = [name for name in DYNAMIC_FLAGS if name in flags]
    if len(dynamic) > 1:
        raise ValueError(f"--{' and --'.join(dynamic)} exclude each other")
    if "precision_mode" in flags and "precision_mode_v2" in flags:
        raise ValueError("--precision_mode and --precision_mode_v2 exclude each other")
    if aipp is not None and "dynamic_dims" in flags:
        raise ValueError("AIPP and --dynamic_dims exclude each other")
    if aipp is not None and flags.get("input_format", "NCHW") not in ("NCHW", "NHWC"):
        raise ValueError(f"--input_format={flags['input_format']}: with AIPP only NCHW and NHWC")
    gears = {
        "dynamic_batch_size": (r"[1-9]\d*(,[1-9]\d*)*", ",", "1,4,8,16"),
        "dynamic_image_size": (r"[1-9]\d*,[1-9]\d*(;[1-9]\d*,[1-9]\d*)*", ";", "'500,500;375,500'"),
    }
    for name, (form, comma, example) in gears.items():
        if name not in flags:
            continue
        value = flags[name]
        if not re.fullmatch(form, value):
            raise ValueError(f"--{name} {value!r}: expected {example}")
        parts = value.split(comma)
        if len(parts) not in _GEARS or len(set(parts)) < len(parts):
            raise ValueError(f"--{name} {value!r}: ATC takes {_GEARS.start} to {_GEARS.stop - 1} different ones")
    for name in FILE_FLAGS:
        if name in flags:
            with open(flags[name]):
                pass
