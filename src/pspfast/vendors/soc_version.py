"""The chip that a model is converted for: as this machine says, and which names cannot be right."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pspfast.system.processes import ToolFailed, ToolMissing
from pspfast.vendors import npu_smi

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_soc_version", "find_soc_version"]


def find_soc_version(env: Mapping[str, str] | None = None) -> str:
    """The chip of this machine: by ``npu-smi``, else by the module ``acl``.

    Raises:
        ValueError: neither tells.
    """
    try:
        return npu_smi.soc_name(env=env)
    except (ToolMissing, ToolFailed) as error:
        reason = str(error).splitlines()[0]
    try:
        import acl  # type: ignore[import-not-found, unused-ignore]

        name = acl.get_soc_name()
    except ImportError as error:
        reason += f"; {error}"
    except Exception as error:  # of a library without its driver
        reason += f"; acl.get_soc_name: {error}"
    else:
        if isinstance(name, str) and name:
            return name
        reason += f"; acl.get_soc_name gave {name!r}"
    raise ValueError(
        f"this machine does not say which chip it has ({reason}); name the one to convert for, --soc-version Ascend310"
    )


def check_soc_version(name: str) -> None:
    """Raise ValueError if it is no chip's name."""
    if re.fullmatch(r"\d{3}[\w-]*", name):
        raise ValueError(f"--soc-version {name}: do you mean Ascend{name}?")
    if not re.fullmatch(r"\w+(-\w+)*", name):
        raise ValueError(f"--soc-version {name!r}: expected a chip's name, e.g. Ascend310P3 or Ascend910B4-1")
    if name in ("Ascend310P", "Ascend310B", "Ascend910B"):
        raise ValueError(
            f"--soc-version {name} is a family; name the chip, e.g. {name}{'3' if name != 'Ascend310B' else '1'}, as "
            "npu-smi info does"
        )
