"""What the documents show is what happens: docstring examples, the README's snippet, names in the stubs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pspfast

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
MODULES = sorted(module.name for module in pkgutil.walk_packages(pspfast.__path__, "pspfast."))
INTEGRATIONS = {"pspfast.integrations.mmsegmentation": "mmseg", "pspfast.integrations.torchmetrics": "torchmetrics"}
# Module -> the library that it, or its example, needs.
NEEDED = INTEGRATIONS | {
    "pspfast.export.mmseg": "torch",
    "pspfast.export.dry_run": "torch",
    "pspfast.export.exact_pooling": "torch",
    "pspfast.export.pool_modules": "torch",
    "pspfast.export.soundness": "torch",
    "pspfast.export.traceable": "torch",
    "pspfast.export.pspnet": "torch",
    "pspfast.export.resizing": "torch",
    "pspfast.export.state_dicts": "torch",
    "pspfast.graphs.simplification": "onnxsim",
    "pspfast.export.deployment": "torch",
}


@pytest.mark.parametrize("name", ["pspfast", *MODULES])
def test_docstring_examples(name: str) -> None:
    if name in NEEDED:
        pytest.importorskip(NEEDED[name], reason=f"not installed: {NEEDED[name]}")
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0
    assert results.attempted > 0 or name not in INTEGRATIONS


def test_there_are_docstring_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    own = [name for name in MODULES if name not in NEEDED]
    found = [test for name in own for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) >= 6


def test_readme_snippet(shared_data: Path, tmp_path: Path) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "2007_000033.jpg").symlink_to(shared_data / "voc/VOC2012/JPEGImages/2007_000033.jpg")
    done = subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


DOCUMENTS = ["README.md", "CHANGELOG.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_inside_the_tree_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert ((ROOT / document).parent / target).exists(), target


def test_architecture_names_every_module() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    for folder, pattern in ((ROOT / "src/pspfast", "*.py"), (ROOT / "csrc", "*.cpp")):
        for path in folder.rglob(pattern):
            assert path.name in text, path


def test_changelog_has_this_version() -> None:
    assert f"## {pspfast.__version__}" in (ROOT / "CHANGELOG.md").read_text()
