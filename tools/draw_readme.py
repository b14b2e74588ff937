"""The README's picture: ``python tools/draw_readme.py`` runs ``pspfast demo`` and draws what came out, light and dark.

Writes ``docs/images/demo-light.png`` and ``demo-dark.png``: a scene, the network's labels over it, the true ones, and
where the two differ; beneath them the scores that the run printed. Needs the extra ``run``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"
THEMES = {"light": ("#ffffff", "#1f2328", "#59636e", "#cf222e"), "dark": ("#0d1117", "#f0f6fc", "#9198a1", "#ff7b72")}
"""Paper, ink, faint ink, and what is wrong; GitHub's, light and dark."""
HEADINGS = ("a picture", "what the network says", "what is true", "where they differ")
_SIDE, _GAP, _TOP, _BOTTOM, _SCENES = (220, 165), 12, 30, 34, 2


def panels(examples: Path, name: str, wrong: str) -> list[Image.Image]:
    """The four of a scene."""
    picture = Image.open(examples / f"{name}_picture.jpg").convert("RGB")
    found, true = (Image.open(examples / f"{name}_{kind}.png") for kind in ("prediction", "truth"))
    labels, truth = np.array(found), np.array(true)
    over = [Image.blend(picture, labelled.convert("RGB").resize(picture.size, 0), 0.62) for labelled in (found, true)]
    differ = Image.fromarray(((labels != truth) & (truth != 255)).astype(np.uint8) * 255).resize(picture.size, 0)
    faint = Image.blend(picture.convert("L").convert("RGB"), Image.new("RGB", picture.size, "#808080"), 0.6)
    faint.paste(Image.new("RGB", picture.size, wrong), mask=differ)
    return [one.resize(_SIDE, Image.Resampling.LANCZOS) for one in (picture, *over, faint)]


def draw(run: Path, theme: str) -> Image.Image:
    """What a run of the demo left, as one picture."""
    paper, ink, faint, wrong = THEMES[theme]
    result = json.loads((run / "result.json").read_text())
    names = sorted({path.name.rpartition("_")[0] for path in (run / "examples").glob("*_picture.jpg")})[:_SCENES]
    width = len(HEADINGS) * (_SIDE[0] + _GAP) - _GAP
    sheet = Image.new("RGB", (width, _TOP + len(names) * (_SIDE[1] + _GAP) + _BOTTOM), paper)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, heading in enumerate(HEADINGS):
        pen.text((column * (_SIDE[0] + _GAP), 4), heading, fill=faint, font=font)
    for row, name in enumerate(names):
        for column, panel in enumerate(panels(run / "examples", name, wrong)):
            sheet.paste(panel, (column * (_SIDE[0] + _GAP), _TOP + row * (_SIDE[1] + _GAP)))
    scores = ", ".join(f"{name} {100 * result[name]:.2f}" for name in ("mIoU", "mAcc", "aAcc"))
    pen.text((0, sheet.height - _BOTTOM + 6), f"{result['pictures']} scenes: {scores}", fill=ink, font=font)
    return sheet


def main() -> None:
    """Run the demo, draw both."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "demo"
        subprocess.run([sys.executable, "-m", "pspfast", "demo", "--output", str(output), "--quiet"], check=True)
        for theme in THEMES:
            small = draw(output / "run", theme).quantize(240, kmeans=2, dither=Image.Dither.NONE)
            small.save(FOLDER / f"demo-{theme}.png", optimize=True)


if __name__ == "__main__":
    main()
