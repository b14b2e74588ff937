"""Names that a package publishes, and imports only when they are asked for."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["lazy_exports"]


def lazy_exports(
    package: str, homes: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` (PEP 562) of a package whose names are defined in its modules.

    Args:
        package: its ``__name__``.
        homes: module of the package -> the names that are taken from it.

    Example:
        >>> get, _, names = lazy_exports("pspfast.system", {"libraries": ("MissingExtra",)})
        >>> names, get("MissingExtra").__module__
        (['MissingExtra'], 'pspfast.system.libraries')
    """
    home = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{home[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home})

    return get, listed, sorted(home)
