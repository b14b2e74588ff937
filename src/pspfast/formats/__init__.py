"""The files that stages hand to each other, each with its reader beside its writer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pspfast.system.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from pspfast.formats.info_files import bin_info as bin_info
    from pspfast.formats.info_files import jpg_info as jpg_info
    from pspfast.formats.ledger import Entry as Entry
    from pspfast.formats.ledger import Ledger as Ledger
    from pspfast.formats.ledger import LedgerWriter as LedgerWriter
    from pspfast.formats.ledger import Subject as Subject
    from pspfast.formats.ledger import write_ledger as write_ledger
    from pspfast.formats.measurements import Measurement as Measurement
    from pspfast.formats.measurements import Reading as Reading
    from pspfast.formats.model_metadata import ModelMetadata as ModelMetadata
    from pspfast.formats.model_metadata import read_metadata as read_metadata
    from pspfast.formats.model_metadata import write_metadata as write_metadata
    from pspfast.formats.result import Result as Result
    from pspfast.formats.run_folder import ledger_in as ledger_in
    from pspfast.formats.run_folder import result_in as result_in
    from pspfast.formats.run_folder import rules_of as rules_of

_HOMES = {
    "info_files": (
        "bin_info",
        "jpg_info",
    ),
    "ledger": (
        "Entry",
        "Ledger",
        "LedgerWriter",
        "Subject",
        "write_ledger",
    ),
    "measurements": (
        "Measurement",
        "Reading",
    ),
    "model_metadata": (
        "ModelMetadata",
        "read_metadata",
        "write_metadata",
    ),
    "result": ("Result",),
    "run_folder": (
        "ledger_in",
        "result_in",
        "rules_of",
    ),
}
__getattr__, __dir__, __all__ = lazy_exports(__name__, _HOMES)
