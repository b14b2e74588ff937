"""What is published by package, and the paths of the release before, which still lead there."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import pspfast
from pspfast.system.old_paths import MOVED

SOURCE = Path(pspfast.__file__).parent
ROOMS = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))

# Every module that docs/api.md of 0.1 named, with its public names of then.
OLD = {
    "scores": ["Absent", "Areas", "mean"],
    "results": ["Result"],
    "ledger": ["Entry", "Ledger", "LedgerWriter", "Subject", "add_entries", "merge", "write_ledger"],
    "sides": ["BASELINES", "Side"],
    "bootstrap": ["influence", "overall", "paired_intervals", "total"],
    "datasets": ["DATASETS", "VOC", "DataSet", "Places", "Split", "data_set", "find_labels", "find_picture",
                 "label_folder_beside", "labels_in", "no_labels", "palette", "pictures_in", "places", "read_classes",
                 "read_split"],
    "labels": ["MOST_LABEL_BYTES", "LabelPicture", "decode_labels", "read_labels"],
    "preprocess": ["Failure", "Summary", "main", "preprocess"],
    "inference": ["LAYOUTS", "Failure", "Layout", "Summary", "batch_of", "dump_names", "infer", "open_on",
                  "workers_for", "write_dumps"],
    "evaluation": ["Evaluation", "postprocess"],
    "export.exporting": ["DEFAULT_OPSET", "LEAST_AGREEMENT_HALF", "MOST_MARGIN_HALF", "OPSETS", "Exported",
                         "OutputType", "export", "file_for_batch"],
    "export.simplifying": ["differences", "fixed_shapes", "simplify"],
    "export.verification": ["MAX_MARGIN", "MIN_AGREEMENT", "Agreement", "Debug", "PictureAgreement", "Truth", "noise",
                            "verify"],
    "export.diagnosis": ["Diagnosis", "Finding", "Port", "Severity", "diagnose", "exact_feature_sizes"],
    "export.pool_repair": ["Repair", "RepairError", "repair"],
    "export.checkpoints": ["Checkpoint", "CheckpointError", "load_checkpoint"],
    "export.metadata": ["InputKind", "Layout", "ModelMetadata", "OutputKind", "Pooling", "parse_metadata",
                        "read_metadata", "write_metadata"],
    "export.pooling": ["average_matrix", "is_published_pool_exact", "nearest_sizes", "published_pool",
                       "uniform_window", "windows"],
    "runtimes.base": ["RUNTIMES", "Runtime", "RuntimeFault", "TensorSpec", "open_runtime", "runtime_for"],
    "tools.runner": ["Ran", "ToolFailed", "ToolMissing", "ToolTimeout", "find_program", "must_succeed", "run"],
    "tools.toolkit": ["INSTALL_ROOTS", "Toolkit", "find_toolkit", "how_to_enter"],
    "tools.drivers": ["Driven", "ais_bench_argv", "ais_bench_results", "benchmark_argv", "benchmark_program",
                      "pure_inference_argv", "run_ais_bench", "run_benchmark", "run_pure_inference", "run_trtexec",
                      "trtexec_argv", "trtexec_shapes", "trtexec_takes"],
    "performance.records": ["ASSUMED_BATCH", "COMMAS_IN_SHAPES", "DEVICE_TIME", "KINDS", "LATENCIES", "STAGES",
                            "ZERO_QPS", "Measurement", "Reading", "Statement", "benchmark_json", "device_name",
                            "devices_in_card", "is_gpu", "is_npu", "measurements_from_json"],
    "performance.claims": ["CODES", "MIN_ITERATIONS", "Finding", "check_cards", "check_comparison",
                           "check_measurements", "check_statements", "meant"],
    "pipeline": ["Run", "run"],
    "sources": ["Item", "Source", "data_set_source", "picture_source"],
    "report.page": ["MAX_DROP", "Written", "render", "write_report"],
    "environment": ["Fact", "cpu_name", "environment", "facts"],
    "demo.scenes": ["CLASSES", "SIZES", "TRAINING", "draw", "name_of", "write_scenes"],
}  # fmt: skip


def _import(module: str) -> str:
    """What a fresh interpreter that imports ``module`` says on standard error."""
    code = f"import {module}"
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("old", OLD)
@pytest.mark.filterwarnings("ignore:pspfast:DeprecationWarning")
def test_old_paths_have_their_names(old: str) -> None:
    module = importlib.import_module(f"pspfast.{old}")
    missing = [name for name in OLD[old] if not hasattr(module, name)]
    assert not missing
    assert not hasattr(module, "nothing_of_this_name")


def test_an_old_path_is_told_and_names_the_line() -> None:
    told = _import("pspfast.results")
    assert "<string>:1: DeprecationWarning: pspfast.results is gone after this release" in told
    assert "pspfast.formats.result" in told


def test_a_path_of_today_is_not_told() -> None:
    assert _import("pspfast.formats.result") == ""


def test_what_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"pspfast\.never"):
        importlib.import_module("pspfast.never")


def test_every_moved_module_leads_somewhere() -> None:
    for homes in MOVED.values():
        for home in homes:
            assert importlib.util.find_spec(f"pspfast.{home}") is not None, home


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_and_publishes_what_type_checkers_see(room: str) -> None:
    text = (SOURCE / room / "__init__.py").read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), room
    module = importlib.import_module(f"pspfast.{room}")
    checked = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"pspfast.{room}")
        for alias in node.names
        if alias.name != "lazy_exports"
    }
    assert checked == set(getattr(module, "__all__", []))
    for name in checked:
        # A function of a module's name would be whichever was imported first.
        assert not (SOURCE / room / f"{name}.py").exists(), name
