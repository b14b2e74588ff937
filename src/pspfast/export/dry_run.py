"""A network run on shapes alone: which sizes its parts see, and whether it takes pictures of a size at all."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from pspfast.system.captured_output import first_line
from pspfast.system.libraries import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["run_shapes"]

# What PyTorch and networks raise where a map becomes too small, or does not fit to another one.
_REASONS_OF_SHAPE = (RuntimeError, AssertionError, IndexError, ZeroDivisionError)


def run_shapes(model: nn.Module, height: int, width: int) -> None:
    """Run a network on a picture without its numbers; hooks and modes see every call.

    Weights are left out of it: only shapes go through, which takes little time and memory. Where an operation does not
    know how to do without numbers, it is run with them. The network is left as it was.

    Args:
        model: that takes ``(N, 3, H, W)``.
        height, width: of the picture.

    Raises:
        ValueError: a size that it cannot take, or it gives no scores of that size.
        MissingExtra: it needs a compiled operator that is not there.
    """
    # Each place that holds a tensor once: of a module with several names, PyTorch would restore the stand-in.
    meta = {
        f"{path}.{name}" if path else name: torch.empty_like(value, device="meta")
        for path, module in model.named_modules()
        for named in (module.named_parameters, module.named_buffers)
        for name, value in named(recurse=False, remove_duplicate=False)
    }
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of mmsegmentation's, about sizes that could be nicer
            try:
                with _unchanged(model):
                    picture = torch.empty(1, 3, height, width, device="meta")
                    out = torch.func.functional_call(model, meta, picture, tie_weights=False)
            except MissingExtra:
                raise
            except Exception:  # not every operation knows how to do without numbers, nor does the network's own code
                with _unchanged(model):
                    out = model(torch.zeros(1, 3, height, width))  # then with them, or for the true reason
    except MissingExtra:
        raise
    except _REASONS_OF_SHAPE as error:
        raise ValueError(
            f"the network cannot take pictures of {height}x{width} (height x width): {first_line(error)}; choose "
            "another shape"
        ) from error
    except Exception as error:  # a network's code may raise anything
        raise ValueError(
            f"the network fails with pictures of {height}x{width} (height x width): {type(error).__name__}: "
            f"{first_line(error)}"
        ) from error
    if not isinstance(out, torch.Tensor):
        raise ValueError(f"the network gives a {type(out).__name__}, expected scores (N, classes, H, W)")
    if tuple(out.shape[2:]) != (height, width):
        raise ValueError(f"the network makes {tuple(out.shape[2:])} of pictures of {height}x{width} (height x width)")


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Put back what a network's passes leave in it: some keep what they computed, which is nothing here."""
    parts = {id(part): part for part in model.modules()}
    parts |= {id(one): one for part in model.modules() for one in vars(part).values() if isinstance(one, nn.Module)}
    kept = []
    for part in parts.values():
        attributes = dict(vars(part))
        # Its parameters and buffers, and what it keeps of its own: by name, by number.
        tables = [(one, one.copy()) for one in attributes.values() if type(one) in (dict, list)]
        kept.append((part, attributes, tables))
    try:
        yield
    finally:
        for part, attributes, tables in kept:
            vars(part).clear()
            vars(part).update(attributes)
            for table, entries in tables:
                table.clear()
                table.update(entries) if isinstance(table, dict) else table.extend(entries)
