"""ATC, Ascend's compiler: its command line, what cannot be right in it, and its run.

A conversion is planned from the ONNX file (:func:`plan`), which finds mistakes that ATC would find late, or not at all.
It is run in a folder of its own beside the output (:func:`convert`): ATC leaves other files where it runs, and the
``.om`` gets its name only when everything about it is right.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pspfast
from pspfast.formats.external_weights import sha256_of_model
from pspfast.system.digests import sha256_of
from pspfast.system.files import OutputError, write_whole
from pspfast.system.processes import Ran, ToolFailed, run
from pspfast.vendors.atc_flags import FILE_FLAGS, check_path
from pspfast.vendors.atc_log import SUCCESS, read_log
from pspfast.vendors.atc_plan import Conversion, is_air, plan
from pspfast.vendors.atc_shapes import Shapes, parse_shapes
from pspfast.vendors.soc_version import find_soc_version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pspfast.vendors.atc_log import Log, Message
    from pspfast.vendors.toolkit import Toolkit

__all__ = [
    "FILE_FLAGS",
    "Conversion",
    "Converted",
    "Shapes",
    "convert",
    "find_soc_version",
    "is_air",
    "parse_shapes",
    "plan",
]


@dataclass(frozen=True, slots=True)
class Converted:
    """A conversion that is done: the ``.om`` or ``.om2`` file, its record beside it, and what ATC remarked."""

    om: str
    record: str
    seconds: float
    warnings: tuple[Message, ...] = field(default=())


def convert(
    conversion: Conversion,
    toolkit: Toolkit,
    *,
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], object] | None = None,
) -> Converted:
    """Run ATC and put the ``.om`` file in its place, and a record beside it. An earlier one stays until then.

    Args:
        conversion: from :func:`plan`.
        toolkit: from :func:`pspfast.vendors.toolkit.find_toolkit`.
        timeout: seconds.
        env: the whole environment, in place of this process's.
        on_line: gets each line of the log.

    Raises:
        ToolFailed: ATC failed, in any of the ways that it has; the message says what its errors are about.
        ToolTimeout: see ``timeout``.
        ToolMissing: it cannot be run.
        OutputError: the folder of the output cannot be written.
        ValueError: an absolute path has characters that ATC does not take.
    """
    model, output = os.path.abspath(conversion.model), os.path.abspath(conversion.output)
    check_path("the model's absolute path", model)
    check_path("the output's absolute path", output)
    folder, name = os.path.split(output)
    started = datetime.now(timezone.utc)
    source = {"path": model, "bytes": os.path.getsize(model), "sha256": sha256_of_model(model)}
    try:
        os.makedirs(folder, exist_ok=True)
        scratch_folder = tempfile.TemporaryDirectory(prefix=f".{name}.atc-", dir=folder, ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(output + conversion.suffix, error) from error
    with scratch_folder as scratch:
        place, workplace = os.path.join(scratch, "made", name), os.path.join(scratch, "work")
        os.mkdir(os.path.dirname(place))
        os.mkdir(workplace)
        flags = {
            key: os.path.abspath(value) if key in (*FILE_FLAGS, "insert_op_conf") else value
            for key, value in conversion.flags.items()
        }
        call = replace(conversion, model=model, output=place, flags=flags)
        ran = run(
            call.argv(program=toolkit.atc), cwd=workplace, timeout=timeout, env=env, on_line=on_line
        )  # fmt: skip
        log = read_log(ran.output)
        made = _made(place, call.suffix)
        if ran.status != 0 or not log.succeeded or log.failed or made is None or made.stat().st_size == 0:
            raise ToolFailed(_why(ran, log, made, toolkit, call.suffix), ran)
        final = os.path.join(folder, made.name)
        if os.path.isdir(final):
            raise OutputError(final, OSError(errno.EISDIR, os.strerror(errno.EISDIR)))
        digest, size = sha256_of(made), made.stat().st_size
        try:
            os.replace(made, final)
        except OSError as error:
            raise OutputError(final, error) from error
    record = f"{final}.json"
    facts = {
        "format": "pspfast atc",
        "version": 1,
        "pspfast": pspfast.__version__,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(ran.seconds, 3),
        "argv": list(ran.argv),
        "command": conversion.argv(),
        "toolkit": asdict(toolkit),
        "soc_version": conversion.soc_version,
        "batch": conversion.batch,
        "model": source,
        "om": {"path": final, "bytes": size, "sha256": digest},
        "warnings": [asdict(warning) for warning in log.warnings],
    }
    write_whole(record, (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode())
    return Converted(
        _relative(final, conversion.output), _relative(record, conversion.output), ran.seconds, log.warnings
    )


def _made(place: str, suffix: str) -> Path | None:
    """The file that was made; ATC puts the system and the machine into the name of one that holds code for the host."""
    folder, name = os.path.split(place)
    with suppress(OSError):
        names = [entry.name for entry in os.scandir(folder) if entry.is_file()]
        own = [one for one in names if one == f"{name}{suffix}"]
        others = sorted(one for one in names if one.startswith(f"{name}_") and one.endswith(suffix))
        for one in (*own, *others):
            return Path(folder, one)
    return None


def _relative(path: str, output: str) -> str:
    """A path beside ``output``, absolute only if that is."""
    return os.path.join(os.path.dirname(output), os.path.basename(path))


def _why(ran: Ran, log: Log, made: Path | None, toolkit: Toolkit, suffix: str) -> str:
    """A failure in words."""
    ending = f"{ran.ending}, after {ran.seconds:.1f} s"
    if log.errors:
        first, *others = log.errors
        text = f"ATC failed ({ending}): {first}"
        more = [f"{one.code} {one.text}".strip() for one in others]
        text += f"\n  and {len(more)} more, the last one: {more[-1]}" if more else ""
    elif ran.killed_by or (ran.status != 0 and not log.failed):
        text = f"ATC ended before its end ({ending})"
    elif ran.status != 0 or log.failed:
        text = f"ATC failed ({ending}) without saying why"
    elif not log.succeeded:
        text = f"ATC ended ({ending}) without saying {SUCCESS!r}"
    elif made is None:
        text = f"ATC says that it succeeded ({ending}) and has written no {suffix}"
    else:
        text = f"ATC says that it succeeded ({ending}) and has written an empty {made.name}"
    if not log.errors and (last := ran.last_lines(6)):
        text += "; its last lines:\n" + last
    if toolkit.unset:
        text += f"\nNot set here, though set_env.sh of CANN sets them: {', '.join(toolkit.unset)}"
    return text + "\nIts whole log is in ~/ascend/log/debug/plog (--log says how much of it)"
