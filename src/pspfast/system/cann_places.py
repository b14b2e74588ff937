"""Where CANN, the toolkit of Ascend, is installed on this machine, and how a shell enters it."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["INSTALL_ROOTS", "cann_places", "how_to_enter"]

INSTALL_ROOTS = (
    "/usr/local/Ascend/cann",
    "/usr/local/Ascend/ascend-toolkit/latest",
    "~/Ascend/cann",
    "~/Ascend/ascend-toolkit/latest",
)
"""Where its installer puts it: 8.5 and later, those before; the same for people who are not root."""

# Of an environment of conda, where `conda install ascend::cann-toolkit` puts it: 8.5 and later, those before.
_IN_CONDA = ("Ascend/cann", "Ascend/ascend-toolkit/latest")


def cann_places(env: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Folders where CANN may be installed: in the conda environment of this shell, then as the installer has them.

    Args:
        env: in place of this process's environment.

    Example:
        >>> cann_places({"CONDA_PREFIX": "/opt/conda"})[0]
        '/opt/conda/Ascend/cann'
    """
    prefix = (os.environ if env is None else env).get("CONDA_PREFIX")
    inside = tuple(os.path.join(prefix, place) for place in _IN_CONDA) if prefix else ()
    return (*inside, *map(os.path.expanduser, INSTALL_ROOTS))


def how_to_enter(root: str) -> str:
    """The line to type so that a shell knows an installation.

    Args:
        root: as in :data:`INSTALL_ROOTS`; ``latest`` has its ``set_env.sh`` in the folder above.
    """
    for folder in (root, os.path.dirname(root.rstrip("/"))):
        file = os.path.join(folder, "set_env.sh")
        if os.path.isfile(file):
            return f"source {shlex.quote(file)}"
    # 5.0 has no such file.
    home = shlex.quote(root)
    return (
        f"export PATH={home}/atc/ccec_compiler/bin:{home}/atc/bin:$PATH "
        f"PYTHONPATH={home}/atc/python/site-packages:$PYTHONPATH "
        f"LD_LIBRARY_PATH={home}/atc/lib64:{home}/acllib/lib64:$LD_LIBRARY_PATH "
        f"ASCEND_OPP_PATH={home}/opp ASCEND_AICPU_PATH={home}"
    )
