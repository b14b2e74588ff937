"""What this machine and this installation are: what ``pspfast doctor env`` tells, and what results are kept with."""

from __future__ import annotations

import importlib.util
import os
import platform
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pspfast
from pspfast.system.machine import cpu_name, physical_memory
from pspfast.system.threads import default_workers

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Fact", "environment", "facts"]

# Distribution -> what it is for. Whatever pspfast may import.
_NEEDED = ("numpy", "opencv-python", "Pillow", "simplejpeg", "zlib-ng", "click", "rich")
_EXTRAS = {
    "onnxruntime": "run, export",
    "jinja2": "run",
    "torch": "export",
    "onnx": "export",
    "onnxsim": "export",
    "mmsegmentation": "mmseg",
    "mmcv-lite": "mmseg",
    "torchmetrics": "",
}
# One library under several names.
_OTHER_NAMES = {
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime-cann"),
    "opencv-python": ("opencv-python-headless", "opencv-contrib-python"),
    "mmcv-lite": ("mmcv",),
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One line about this machine.

    Attributes:
        about: what it belongs to: ``"machine"``, ``"package"``, ``"extra"``, ``"tool"``.
        name: of what is told.
        value: empty if it is not there.
        note: what it is for, or what to do about it.
    """

    about: str
    name: str
    value: str
    note: str = ""


def environment() -> dict[str, Any]:
    """What figures have to be kept with, from what costs nothing to ask.

    Example:
        >>> environment()["pspfast"] == pspfast.__version__
        True
    """
    return {
        "pspfast": pspfast.__version__,
        "cpu": cpu_name(),
        "isa": pspfast.isa()["active"],
        "cores": default_workers(),
        "machine": platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name in (*_NEEDED, *_EXTRAS) if (version := _version(name))},
    }


def facts(env: Mapping[str, str] | None = None) -> list[Fact]:
    """Everything worth knowing when something does not work; looks for tools, and asks ONNX Runtime for its providers.

    Args:
        env: environment to look for tools in, in place of this process's.
    """
    env = os.environ if env is None else env
    here = environment()
    forced = f"PSPFAST_ISA={env['PSPFAST_ISA']}" if env.get("PSPFAST_ISA") else "the best this CPU runs"
    found = [
        Fact(
            "machine",
            "CPU",
            here["cpu"],
            f"{here['cores']} for this process; {physical_memory() / 1e9:.1f} GB of memory",
        ),
        Fact("machine", "kernels", here["isa"], forced),
        Fact("machine", "system", here["system"]),
        Fact("machine", "Python", here["python"], os.path.dirname(os.path.dirname(pspfast.__file__))),
        Fact("package", "pspfast", here["pspfast"]),
    ]
    found += [Fact("package", name, _version(name), "" if _version(name) else "needed") for name in _NEEDED]
    for name, extra in _EXTRAS.items():
        version = _version(name)
        advice = f"pip install 'pspfast[{extra.split(',')[0]}]'" if extra else f"pip install {name}"
        found.append(Fact("extra", name, version, "" if version else advice))
    found.append(_providers())
    return found + _tools(env)


def _version(distribution: str) -> str:
    for name in (distribution, *_OTHER_NAMES.get(distribution, ())):
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        return version if name == distribution else f"{version} ({name})"
    return ""


def _providers() -> Fact:
    try:
        import onnxruntime
    except ImportError as error:
        return Fact("extra", "providers", "", f"of ONNX Runtime: {error}")
    names = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    return Fact("extra", "providers", ", ".join(names), "of ONNX Runtime")


def _tools(env: Mapping[str, str]) -> list[Fact]:
    from pspfast.system.processes import ToolMissing, find_program
    from pspfast.vendors.drivers import benchmark_program
    from pspfast.vendors.toolkit import find_toolkit

    found = []
    try:
        toolkit = find_toolkit(env)
    except ToolMissing as error:
        found.append(Fact("tool", "atc", "", str(error)))
    else:
        unset = f"not set: {', '.join(toolkit.unset)}; source set_env.sh" if toolkit.unset else ""
        found.append(Fact("tool", "atc", " ".join(filter(None, (toolkit.atc, toolkit.version))), unset))
    for name, what in (("npu-smi", "Ascend's driver"), ("nvidia-smi", "NVIDIA's driver"), ("trtexec", "TensorRT")):
        try:
            found.append(Fact("tool", name, find_program(name, env=env), what))
        except ToolMissing:
            found.append(Fact("tool", name, "", what))
    try:
        found.append(Fact("tool", "benchmark", benchmark_program(env=env), "of CANN up to 5"))
    except ToolMissing:
        found.append(Fact("tool", f"benchmark.{platform.machine()}", "", "of CANN up to 5"))
    for module, what in (("acl", "pyACL, of CANN"), ("ais_bench", "for .om files")):
        spec = importlib.util.find_spec(module)
        found.append(Fact("tool", module, (spec.origin or "a namespace") if spec else "", what))
    return found
