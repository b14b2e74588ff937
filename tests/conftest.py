"""Fixtures: the real data where it is, and every instruction set this machine runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import pspfast

ROOT = Path(__file__).resolve().parents[1]


def find_shared_data() -> Path | None:
    """``PSPFAST_TEST_DATA``, else ``../shared/data`` beside the checkout."""
    named = os.environ.get("PSPFAST_TEST_DATA")
    if named:
        if not Path(named, "golden").is_dir():
            raise pytest.UsageError(f"PSPFAST_TEST_DATA={named} has no folder 'golden'")
        return Path(named)
    beside = ROOT.parent / "shared" / "data"
    return beside if (beside / "golden").is_dir() else None


SHARED_DATA = find_shared_data()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if SHARED_DATA is None:
        pytest.skip("real pictures not found: neither PSPFAST_TEST_DATA nor ../shared/data is there")
    return SHARED_DATA


@pytest.fixture(params=pspfast.isa()["runnable"])
def isa(request: pytest.FixtureRequest) -> str:
    """Each instruction set in turn; the kernels refuse a name they would not really run."""
    return str(request.param)


def pytest_report_header() -> str:
    return f"pspfast: {pspfast.isa()}, real data: {SHARED_DATA}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Real data that is there and unused is a failure of the suite: CI looks for this line."""
    passed = sum("shared_data" in report.keywords for report in terminalreporter.getreports("passed"))
    terminalreporter.write_line(f"tests passed on real data: {passed}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.keywords["shared_data"] = True


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file for engines that are handed in, which do not read it."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"stands for a model")
    return path
