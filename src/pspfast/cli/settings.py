"""``pspfast.toml``: options that one would otherwise retype.

A table for each stage, keys spelled as the options are; ``[all]`` is for every stage that has such an option::

    [all]
    workers = 2

    [preprocess]
    image-folder-path = "VOCdevkit/VOC2012/JPEGImages"

What is typed wins over the environment (``PSPFAST_PREPROCESS_WORKERS``), which wins over the stage's table, which wins
over ``[all]``. Paths are meant from the file's folder, ``~`` is the home folder.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from pspfast.cli.path_types import NamedPath, NameOrPath, path_from
from pspfast.cli.suggestions import nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["FILE", "VARIABLE", "defaults", "find_settings", "read_settings"]

FILE = "pspfast.toml"
"""Looked for in the current folder, if no other file is named."""

VARIABLE = "PSPFAST_CONFIG"
"""Environment variable that names one; empty for none."""

_ALL = "all"


def find_settings(named: str | None) -> str | None:
    """The file to read: the one named, else what the environment names, else the current folder's if there is one."""
    if named is None:
        named = os.environ.get(VARIABLE)
    if named is not None:
        return named or None
    return FILE if os.path.exists(FILE) else None


def read_settings(path: str, stages: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The tables of a file.

    Args:
        path: the file.
        stages: names that a table may have, beside ``all``.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not TOML, or has tables of other names.
    """
    with open(path, "rb") as file:
        try:
            tables = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not TOML: {error}") from error
    known = [_ALL, *stages]
    for name, table in tables.items():
        if name.replace("_", "-") not in known:
            raise ValueError(f"{path}: {name!r} is no stage{nearest(name, known)}; tables are {', '.join(known)}")
        if not isinstance(table, dict):
            raise ValueError(f"{path}: {name} must be a table, [{name}], got {table!r}")
    return {name.replace("_", "-"): table for name, table in tables.items()}


def defaults(
    path: str,
    tables: Mapping[str, Mapping[str, Any]],
    stage: str,
    command: click.Command,
    others: Callable[[], Iterable[click.Command]],
) -> dict[str, Any]:
    """What a file has for a command, by parameter, as click takes it (``default_map``).

    Args:
        path: the file.
        tables: what :func:`read_settings` made of it.
        stage: the command's name.
        command: the command; a group's subcommands have tables of their own in the group's.
        others: all commands, for telling an option of another one in ``[all]`` from a misspelt one.

    Raises:
        ValueError: a key that is no option, or a value of the wrong kind.
    """
    found: dict[str, Any] = {}
    known = _options(command)
    for key, value in tables.get(_ALL, {}).items():
        name = key.replace("_", "-")
        if name in known:
            found[known[name].name or ""] = _value(path, f"[{_ALL}] {key}", value, known[name])
        elif not any(name in _options(other) for one in others() for other in _with_subcommands(one)):
            raise ValueError(f"{path}: [{_ALL}] {key}: no stage has an option --{name}")
        if isinstance(command, click.Group):
            for subname, subcommand in command.commands.items():
                options = _options(subcommand)
                if name in options:
                    at = f"[{_ALL}] {key}"
                    found.setdefault(subname, {})[options[name].name] = _value(path, at, value, options[name])
    for key, value in tables.get(stage, {}).items():
        name = key.replace("_", "-")
        if isinstance(command, click.Group) and name in command.commands:
            if not isinstance(value, dict):
                raise ValueError(f"{path}: [{stage}] {key} must be a table, [{stage}.{key}], got {value!r}")
            inner = defaults(path, {name: value}, name, command.commands[name], lambda: ())
            found[name] = {**found.get(name, {}), **inner}
        elif name in known:
            found[known[name].name or ""] = _value(path, f"[{stage}] {key}", value, known[name])
        else:
            raise ValueError(f"{path}: [{stage}] {key}: no such option{nearest(name, known)}; see pspfast {stage} -h")
    return found


def _with_subcommands(command: click.Command) -> Iterable[click.Command]:
    return [command, *(command.commands.values() if isinstance(command, click.Group) else ())]


def _options(command: click.Command) -> dict[str, click.Parameter]:
    """By every name they can be typed with, arguments by their own."""
    found = {}
    for parameter in command.params:
        for name in parameter.opts:
            found[name.lstrip("-").replace("_", "-")] = parameter
    return found


def _value(path: str, where: str, value: Any, option: click.Parameter) -> Any:
    is_list = option.multiple if isinstance(option, click.Option) else False
    is_list = is_list or option.nargs != 1
    if isinstance(option, click.Option) and option.is_flag:
        if not isinstance(value, bool):
            raise ValueError(f"{path}: {where} must be true or false, got {value!r}")
        return value
    if isinstance(value, (dict, bool)):
        raise ValueError(f"{path}: {where} must be a value, got {value!r}")
    if is_list and isinstance(value, (str, int, float)) and option.nargs == 1:
        value = [value]
    if is_list != isinstance(value, list):
        raise ValueError(f"{path}: {where} must be {'a list' if is_list else 'a single value'}, got {value!r}")
    if not isinstance(option.type, click.Path):
        return value
    try:
        paths = [_path(os.path.dirname(path), one, option.type) for one in (value if is_list else [value])]
    except ValueError as error:
        raise ValueError(f"{path}: {where}: {error}") from None
    return paths if is_list else paths[0]


def _path(folder: str, value: Any, kind: click.Path) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {value!r}")
    return kind.from_folder(folder, value) if isinstance(kind, NameOrPath | NamedPath) else path_from(folder, value)
