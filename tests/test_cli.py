"""``pspfast`` itself: it finds its stages, and imports none before it is called."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

import pspfast
from pspfast.cli.main import _STAGES, main


@pytest.mark.parametrize("stage", _STAGES)
def test_every_stage_explains_itself(stage: str) -> None:
    for spelling in (stage, stage.replace("-", "_")):
        found = CliRunner().invoke(main, [spelling, "--help"], prog_name="pspfast")
        assert found.exit_code == 0 and found.output.startswith(f"Usage: pspfast {spelling} ")


def test_help_and_version() -> None:
    found = CliRunner().invoke(main, ["--help"])
    assert found.exit_code == 0 and all(about[:20] in found.output for _, about in _STAGES.values())
    assert CliRunner().invoke(main, ["--version"]).output == f"pspfast, version {pspfast.__version__}\n"
    assert CliRunner().invoke(main, ["no-such-stage"]).exit_code == 2


@pytest.mark.parametrize("module", ["pspfast", "pspfast.cli.main", *(module for module, _ in _STAGES.values())])
def test_modules_that_are_commands_do_not_end_in_silence(module: str) -> None:
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("Usage: ")


def test_help_imports_no_stage() -> None:
    code = (
        "import sys\nfrom pspfast.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'numpy', 'cv2', 'torch', 'PIL'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
