"""Where CANN, the toolkit of Ascend, is on this machine. Nothing is sourced here, only said what to type."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pspfast.system.cann_places import INSTALL_ROOTS, cann_places, how_to_enter
from pspfast.system.processes import ToolMissing, find_program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["INSTALL_ROOTS", "Toolkit", "find_toolkit", "how_to_enter"]

_VARIABLES = ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH")
_BIN = ("bin", "atc/bin")  # the latter up to 5.0
# What atc reads of the environment that set_env.sh makes, or that the guide exports by hand.
_NEEDED = ("ASCEND_OPP_PATH", "LD_LIBRARY_PATH", "PYTHONPATH")


@dataclass(frozen=True, slots=True)
class Toolkit:
    """CANN as this process can use it.

    Attributes:
        atc: path of the compiler.
        found_by: ``"PATH"`` or the variable that led to it.
        root: folder of the toolkit; empty if it is not known.
        version: of the toolkit; empty if it is not known.
        unset: variables that ``set_env.sh`` sets and that are not set; atc will hardly work without.
    """

    atc: str
    found_by: str
    root: str
    version: str
    unset: tuple[str, ...]


def find_toolkit(env: Mapping[str, str] | None = None, roots: Sequence[str] | None = None) -> Toolkit:
    """The toolkit that this environment leads to: by PATH, then by the variables of ``set_env.sh``.

    Args:
        env: in place of this process's environment.
        roots: folders to look for an installation that the environment does not know, in place of
            :func:`pspfast.system.cann_places.cann_places`.

    Raises:
        ToolMissing: there is none; the message says what was looked at and which line to type.
    """
    env = os.environ if env is None else env
    unset = tuple(name for name in _NEEDED if not env.get(name))
    homes = {name: env[name] for name in _VARIABLES if env.get(name)}
    try:
        atc = find_program("atc", env=env)
    except ToolMissing as error:
        reason = str(error)
    else:
        root = next(iter(homes.values()), "") or _root_of(atc)
        return Toolkit(atc, "PATH", root, _version(root), unset)
    for name, home in homes.items():
        for folder in _BIN:
            file = os.path.join(home, folder, "atc")
            if os.path.isfile(file):
                return Toolkit(find_program(file, env=env), name, home, _version(home), unset)
    looked = [reason]
    looked += [f"{name} is {homes[name]}, which has no bin/atc" if name in homes else f"{name} is not set"
               for name in _VARIABLES]  # fmt: skip
    for root in cann_places(env) if roots is None else map(os.path.expanduser, roots):
        if any(os.path.isfile(os.path.join(root, folder, "atc")) for folder in _BIN):
            raise ToolMissing(
                f"CANN is installed in {root}, but this shell does not know it ({'; '.join(looked)}). Type\n"
                f"  {how_to_enter(root)}\nand run this again"
            )
        looked.append(f"{root} {'has no atc' if os.path.isdir(root) else 'is not there'}")
    raise ToolMissing(
        f"no CANN toolkit: {'; '.join(looked)}. If it is in another folder, type\n  source FOLDER/set_env.sh\n"
        "Converting needs no NPU: install Ascend-cann-toolkit (and, from 8.5 on, the ops package of the target chip); "
        "--dry-run prints the line, to be run where there is one"
    )


def _root_of(atc: str) -> str:
    """The folder of the toolkit that an atc found by PATH belongs to, as far as its own path tells."""
    folder = os.path.dirname(atc)
    for tail in reversed(_BIN):
        if folder.endswith("/" + tail):
            root = folder[: -len(tail) - 1]
            return root if os.path.isdir(os.path.join(root, "opp")) else ""
    return ""


def _version(root: str) -> str:
    """As the toolkit's own file says, else as the folder that ``latest`` leads to is named."""
    if not root:
        return ""
    arch = platform.machine()
    for name in (f"{arch}-linux/ascend_toolkit_install.info", "ascend_toolkit_install.info"):
        try:
            with open(os.path.join(root, name), errors="replace") as file:
                found = re.search(r"^version\s*=\s*(\S+)", file.read(1 << 16), re.MULTILINE)
        except OSError:
            continue
        if found:
            return found[1]
    found = re.fullmatch(r"(?:cann-)?(\d[\w.]*)", os.path.basename(os.path.realpath(root)))
    return found[1] if found else ""
