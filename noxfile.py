"""What CI runs, one session a part: ``nox -s lint``, ``nox -s tests``; ``nox -l`` lists them.

By default every session makes its environment and installs what it needs. ``nox --no-venv`` (or ``--force-venv-backend
none``) takes the Python that nox runs under and installs nothing: one environment that has it all serves every session,
so torch is installed once. ``nox -R`` uses a session's own environment again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests", "lint"]

# The CPU build's number; README and docs/export.md say where it is.
TORCH = "torch==2.13.0"
HEAVY = [TORCH, "torchmetrics>=1.4,<2", "scikit-learn>=1.5,<2"]
MMSEG = ["mmsegmentation==1.2.2", "mmcv-lite==2.1.0"]
# What files are timed against, of those that install in seconds; .ci/run has them, too.
PEERS = ["albumentationsx", "kornia-rs", "openvino"]
# Tracked entries of src/pspfast: the rooms and the doors.
MOST_ENTRIES = 22
ALL_TOOLS = {"PSPFAST_REQUIRE_ALL_TOOLS": "1"}


def install(session: nox.Session, *packages: str) -> None:
    """Into the session's environment; one that is shared has it all."""
    if session.virtualenv.venv_backend != "none":
        session.install(*packages)


def python(session: nox.Session, *arguments: str, env: dict[str, str] | None = None) -> None:
    """The environment's Python; a shared one is that which runs nox, not the first on PATH."""
    name = sys.executable if session.virtualenv.venv_backend == "none" else "python"
    session.run(name, *arguments, env=env, external=True)


def program(session: nox.Session, name: str, *arguments: str, env: dict[str, str] | None = None) -> None:
    """A program of that environment."""
    if session.virtualenv.venv_backend == "none":
        name = str(Path(sys.executable).parent / name)
    session.run(name, *arguments, env=env, external=True)


def tracked(*patterns: str) -> list[str]:
    """Files that git has."""
    listed = subprocess.run(["git", "ls-files", *patterns], capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


@nox.session
def tests(session: nox.Session) -> None:
    """The README's test command; arguments after -- go to pytest."""
    install(session, ".[run,test]")
    python(session, "-m", "pytest", *session.posargs, env=ALL_TOOLS)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, the order of the rooms, and how many there are."""
    install(session, ".[lint,run,test]", "nox")
    program(session, "ruff", "check", ".")
    program(session, "ruff", "format", "--check", ".")
    program(session, "clang-format", "--dry-run", "--Werror", *tracked("*.cpp", "*.hpp"))
    program(session, "mypy")
    # The rooms of this checkout, not of an installed build.
    program(session, "lint-imports", env={"PYTHONPATH": str(Path("src").resolve())})
    entries = {path.split("/")[2] for path in tracked("src/pspfast")}
    if len(entries) > MOST_ENTRIES:
        session.error(f"src/pspfast has {len(entries)} entries, more than {MOST_ENTRIES}: {', '.join(sorted(entries))}")


@nox.session
def heavy(session: nox.Session) -> None:
    """Against torchmetrics, scikit-learn and mmsegmentation, too heavy for everybody's tests."""
    install(session, *HEAVY)
    install(session, ".[run,test,export,mmseg]", *MMSEG)
    files = ["dialects", "metrics", "integrations", "docs"]
    python(session, "-m", "pytest", "-q", *(f"tests/test_{name}.py" for name in files), *session.posargs)


@nox.session
def export(session: nox.Session) -> None:
    """Checkpoints to ONNX, the slow ones too (a ResNet-50 at 500x500 takes a minute)."""
    install(session, TORCH)
    install(session, ".[run,test,export,mmseg]", *MMSEG)
    python(session, "-m", "pytest", "-q", "tests/export", *session.posargs)


@nox.session
def runtimes(session: nox.Session) -> None:
    """Running and measuring: infer, benchmark, the stand-ins for devices, whole runs, the page in a browser."""
    install(session, TORCH)
    install(session, ".[run,test,export]")
    files = ["run", "demo", "json", "report", "report_page"]
    paths = ["tests/runtimes", *(f"tests/test_{name}.py" for name in files)]
    python(session, "-m", "pytest", "-q", *paths, *session.posargs, env=ALL_TOOLS)


@nox.session
def zoo(session: nox.Session) -> None:
    """One network of each of mmsegmentation's architectures, exported and compared (25 minutes).

    ``nox -s zoo -- --table docs/export.md`` writes the table there; names of architectures try these alone. Stopped,
    it goes on where it was.
    """
    install(session, TORCH)
    install(session, ".[run,export,mmseg]", *MMSEG)
    python(session, "-m", "tools.zoo", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documents, warnings are errors."""
    install(session, ".[docs,run]")
    python(session, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", "build/docs")


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmark runs and its routes agree (numbers from here mean nothing)."""
    if not Path("../shared/data/golden").is_dir():
        session.skip("no real data in ../shared/data")
    install(session, TORCH, "mmcv-lite==2.1.0")
    install(session, ".[run,test]", *PEERS)
    python(session, "-m", "bench.preprocess", "--part", "kernel", "--rounds", "1")
    python(session, "-m", "bench.preprocess", "--part", "files", "--rounds", "1", "--pictures", "2")
    python(session, "-m", "bench.postprocess", "--rounds", "1")
