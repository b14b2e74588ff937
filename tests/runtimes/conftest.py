"""Fixtures of the runtimes' tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.runtimes.deployed import Deployed


@pytest.fixture(scope="session")
def deployed(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """A small PSPNet and the real pictures."""
    for library in ("torch", "onnx", "onnxruntime", "onnxsim"):
        pytest.importorskip(library, reason="the extra 'export' is not installed")
    from tests.runtimes.deployed import deploy

    return deploy(tmp_path_factory.mktemp("deployed"), shared_data / "voc" / "VOC2012")
