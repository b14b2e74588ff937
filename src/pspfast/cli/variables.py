"""Environment variables that stand for options: ``PSPFAST_RUN_WORKERS=1``.

click finds an option's variable by the name that it has in the code; here it gets the one by which it is typed, too
(``PSPFAST_RUN_DATASET``), and a variable that is no option's is an error, as a key of ``pspfast.toml`` is.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["check_variables", "name_variables"]

_PREFIX = "PSPFAST"
_NEAR = 0.8  # of difflib's ratio: how alike two variables without the prefix are, one of them mistyped


def name_variables(stage: str, command: click.Command) -> None:
    """Let every option of a stage and its subcommands have the variable that it is typed like."""
    for prefix, one in _with_subcommands(_variable(_PREFIX, stage), command):
        for option in one.params:
            if isinstance(option, click.Option) and option.envvar is None:
                option.envvar = [_variable(prefix, name.lstrip("-")) for name in option.opts if name.startswith("--")]


def check_variables(stage: str, command: click.Command, stages: Iterable[str], environ: Mapping[str, str]) -> None:
    """Refuse variables that are meant for a stage's options and are none of them.

    Args:
        stage: that is called.
        command: its command, after :func:`name_variables`.
        stages: names of all of them.
        environ: the environment.

    Raises:
        ValueError: a variable that is no option's, or a path with a ``~`` that no shell has made a folder.
    """
    known = dict(_options(stage, command))
    own = _variable(_PREFIX, stage) + "_"
    others = [_variable(_PREFIX, other) + "_" for other in stages if other != stage]
    for name, value in environ.items():
        if not name.startswith(f"{_PREFIX}_"):
            continue
        if name in known:
            if isinstance(known[name].type, click.Path) and value.startswith("~"):
                raise ValueError(f"{name}={value}: only a shell knows the folder that ~ is; write the path in full")
            continue
        is_others = any(name.startswith(other) and len(other) > len(own) for other in others)
        if name.startswith(own) and not is_others:
            raise ValueError(f"{name}: {stage} has no such option{_nearest(name, known, own)}; see pspfast {stage} -h")
        if not any(name.startswith(other) for other in others) and (
            close := _nearest(name, known, f"{_PREFIX}_", _NEAR)
        ):
            raise ValueError(f"{name} is no variable of pspfast{close}")


def _options(stage: str, command: click.Command) -> Iterator[tuple[str, click.Option]]:
    """Every variable that stands for an option, with the option."""
    for prefix, one in _with_subcommands(_variable(_PREFIX, stage), command):
        for option in one.params:
            if isinstance(option, click.Option):
                yield _variable(prefix, option.name or ""), option
                named = option.envvar or []
                yield from ((name, option) for name in ([named] if isinstance(named, str) else named))


def _with_subcommands(prefix: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield prefix, command
    if isinstance(command, click.Group):
        for name, one in command.commands.items():
            yield from _with_subcommands(_variable(prefix, name), one)


def _variable(prefix: str, name: str) -> str:
    return f"{prefix}_{name.replace('-', '_').upper()}"


def _nearest(name: str, known: Iterable[str], prefix: str, cutoff: float = 0.6) -> str:
    """The nearest variable, by what comes after the prefix that all have."""
    tails = [one.removeprefix(prefix) for one in known]
    close = difflib.get_close_matches(name.removeprefix(prefix), tails, n=1, cutoff=cutoff)
    return f" (did you mean {prefix}{close[0]}?)" if close else ""
