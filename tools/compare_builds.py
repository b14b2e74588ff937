"""Two builds of pspfast, the same commands, every byte that they leave: ``python tools/compare_builds.py OLD NEW``.

OLD and NEW are Pythons that have a build installed each, with the extra ``run`` (and ``export``, else its commands are
told as left out). Real pictures, masks and labels are those of ``PSPFAST_TEST_DATA`` or ``../shared/data``. Both run in
a folder of the same path, one after the other, with one worker where lines are written in the order of threads. Then
every file is compared, and standard output, standard error and exit status of every command. Also times
``import pspfast`` and ``pspfast --help``, in turn.

Only what cannot be equal is made so first: durations, rates, dates, memory and when a file was written (``_VARYING``).
"""

from __future__ import annotations

import argparse
import filecmp
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_ROUNDS = 21

_NUMBER = rb"\d+(?:[.,]\d+)*(?:e-?\d+)?"
# What varies between two runs of one build, and is all that may.
_VARYING: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("when a file was written, in ns", re.compile(rb"\b1[5-9]\d{17}\b")),
    ("date and time", re.compile(rb"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d| UTC)?")),
    ("rates", re.compile(_NUMBER + rb"(?:</b>)?(?: \w+)?/s\b")),
    ("durations", re.compile(_NUMBER + rb" ?(?:ms|s|min|us)\b")),
    ("memory", re.compile(_NUMBER + rb" [KMG]i?B\b")),
    ("bars of times, as long as their numbers", re.compile(rb'width="[\d.]+%"|class="bar[^"]*"')),
    ("which stage limits", re.compile(rb' <span class="tag">limits</span>')),
    ("shares of time in the report", re.compile(rb'(?<="number muted">)[\d.]+ %')),
    ("rows of a table of times", re.compile(rb"(?m)^ *[a-z][a-z0-9 ]*(?: +[\d.]+){5,}.*$")),
    ("process ids", re.compile(rb'"pid": \d+')),
    ("the program's own path", re.compile(rb"/[\w./-]{1,200}/site-packages/pspfast/\w+\.py")),
    (
        "measured numbers in JSON",
        re.compile(
            rb'"(?:\w*seconds\w*|\w*_ms|\w*per_second\w*|\w*_per_s|\w*rate\w*|peak\w*|started|finished|limited_by|read'
            rb"|min|max|mean|median|percentile\(\d+%\)|throughput|npu_compute_time_list"
            rb'|decode|letterbox|wait|infer|count|write|post|h2d|d2h)": (?:[\d.e+-]+|"[^"]*"|\{[^{}]*\}|\[[^\[\]]*\])'
        ),
    ),
)


_MEASURING = frozenset({"demo", "run", "report", "infer", "preprocess", "postprocess", "export", "simplify", "verify"})
"""Commands that tell how long they took; what others print is compared as it is."""
_EXACT = ("perf.", "compare.", "score.", "oracle.", "golden.", "om.", "aipp", "doctor.", "masks/")
"""Files that have no time in them, though they may have numbers that look so."""


def measures(argv: list[str]) -> bool:
    """Whether a command tells how long it took."""
    return "--help" not in argv and not _MEASURING.isdisjoint(word.rpartition(".")[2] for word in argv[:2])


def commands(data: Path, repo: Path) -> list[tuple[str, list[str]]]:
    """Names and arguments, in an order in which each finds what it needs; the first word is a module or ``pspfast``."""
    voc = data / "voc/VOC2012"
    jpegs, labels, split = voc / "JPEGImages", voc / "SegmentationClass", voc / "ImageSets/Segmentation/val.txt"
    pictures = ["--image-folder-path", str(jpegs), "--split", str(split), "--quiet"]
    post = ["--img-dir", str(jpegs), "--ann-dir", str(labels), "--split", str(split), "--quiet"]
    model = ["--model", "demo/demo.onnx", "--workers", "1", "--quiet"]
    stages = (
        "run",
        "demo",
        "report",
        "export",
        "simplify",
        "verify",
        "doctor",
        "aipp",
        "atc",
        "preprocess",
        "get-info",
        "infer",
        "postprocess",
        "ledger",
        "compare",
        "oracle",
        "benchmark",
        "compare-perf",
        "completion",
    )
    out: list[tuple[str, list[str]]] = [(f"help {one}", ["pspfast", one, "--help"]) for one in stages]
    out += [(f"help {a} {b}", ["pspfast", a, b, "--help"]) for a, b in (("ledger", "merge"), ("ledger", "score"))]
    out += [
        ("help", ["pspfast", "--help"]),
        ("version", ["pspfast", "--version"]),
        *(
            (f"help of {door}", [f"pspfast.{door}", "--help"])
            for door in ("preprocess", "postprocess", "get_info", "export")
        ),
        ("bash", ["pspfast", "completion", "bash"]),
        ("demo", ["pspfast", "demo", "--output", "demo", "--pictures", "12"]),
        ("bins", ["pspfast.preprocess", *pictures, "--bin-folder-path", "bins"]),
        ("bins again", ["pspfast.preprocess", *pictures, "--bin-folder-path", "bins"]),
        ("bins of 16", ["pspfast", "preprocess", *pictures, "--bin-folder-path", "bins16", "--batch-size", "16"]),
        (
            "bins of the demo",
            ["pspfast", "preprocess", *pictures, "--bin-folder-path", "small", "--size", "192", "192"],
        ),
        (
            "float32",
            [
                "pspfast",
                "preprocess",
                *pictures,
                "--bin-folder-path",
                "bins32",
                "--dtype",
                "float32",
                "--stats",
                "exact",
                "--no-scale-up",
                "--batch-size",
                "8",
            ],
        ),
        (
            "broken pictures",
            [
                "pspfast",
                "preprocess",
                "--image-folder-path",
                str(data / "broken"),
                "--bin-folder-path",
                "broken",
                "--workers",
                "1",
            ],
        ),
        (
            "photographs",
            [
                "pspfast",
                "preprocess",
                "--image-folder-path",
                str(data / "photos"),
                "--bin-folder-path",
                "photos",
                "--size",
                "512",
                "1024",
                "--quiet",
            ],
        ),
        ("nothing there", ["pspfast", "preprocess", "--image-folder-path", "none", "--bin-folder-path", "none_bins"]),
        ("info of bins", ["pspfast.get_info", "bin", "bins", "bins.info", "500", "500"]),
        ("info of pictures", ["pspfast.get_info", "jpg", str(jpegs), "jpegs.info"]),
        ("infer", ["pspfast", "infer", *model, "--input", "small", "--output", "result", "--json", "infer.json"]),
        (
            "infer as ais_bench",
            [
                "pspfast",
                "infer",
                *model,
                "--input",
                "small",
                "--output",
                "ais",
                "--layout",
                "ais-bench",
                "--batch",
                "4",
            ],
        ),
        (
            "scores of dumps",
            [
                "pspfast",
                "postprocess",
                "--bin-data-path",
                "result/dumpOutput_device0",
                "--manifest",
                "small",
                *post,
                "--ledger",
                "om.ledger",
                "--json",
                "om.json",
                "--csv",
                "om.csv",
                "--save-masks",
                "masks",
                "--result-file",
                "om.txt",
            ],
        ),
        (
            "published crop",
            [
                "pspfast.postprocess",
                "--bin-data-path",
                "result/dumpOutput_device0",
                "--manifest",
                "small",
                *post,
                "--geometry",
                "reference",
                "--ledger",
                "ref.ledger",
                "--result-file",
                "ref.txt",
            ],
        ),
        (
            "golden masks",
            [
                "pspfast",
                "postprocess",
                "--bin-data-path",
                "golden",
                "--manifest",
                "bins",
                *post,
                "--ledger",
                "golden.ledger",
                "--json",
                "golden.json",
                "--result-file",
                "golden.txt",
            ],
        ),
        (
            "golden masks by info",
            [
                "pspfast",
                "postprocess",
                "--bin-data-path",
                "golden",
                "--test-annotation",
                "jpegs.info",
                *post,
                "--json",
                "by_info.json",
                "--result-file",
                "by_info.txt",
            ],
        ),
        ("merge", ["pspfast", "ledger", "merge", "both.ledger", "om.ledger", "om.ledger"]),
        ("merge what contradicts", ["pspfast", "ledger", "merge", "no.ledger", "om.ledger", "golden.ledger"]),
        (
            "score",
            [
                "pspfast",
                "ledger",
                "score",
                "golden.ledger",
                "--ignore-index",
                "none",
                "--json",
                "score.json",
                "--csv",
                "score.csv",
            ],
        ),
        ("compare", ["pspfast", "compare", "golden.ledger", "om.ledger", "--json", "compare.json"]),
        ("compare baseline", ["pspfast", "compare", "--baseline", "voc-om", "golden.ledger"]),
        (
            "oracle",
            ["pspfast", "oracle", "--ann-dir", str(labels), "--split", str(split), "--json", "oracle.json", "--quiet"],
        ),
        (
            "run",
            [
                "pspfast",
                "run",
                "--voc-root",
                str(voc),
                *model,
                "--output",
                "whole",
                "--json",
                "whole.json",
                "--csv",
                "whole.csv",
                "--keep-bins",
                "--keep-masks",
            ],
        ),
        ("run again", ["pspfast", "run", "--voc-root", str(voc), *model, "--output", "whole"]),
        (
            "run, batch 4",
            [
                "pspfast",
                "run",
                "--voc-root",
                str(voc),
                *model,
                "--output",
                "whole4",
                "--batch",
                "4",
                "--geometry",
                "reference",
                "--no-report",
            ],
        ),
        ("run, no labels", ["pspfast", "run", "--images", str(jpegs), *model, "--output", "looked", "--no-report"]),
        ("report", ["pspfast", "report", "whole", "whole4", "--output", "page/index.html"]),
        ("aipp", ["pspfast", "aipp", "--size", "500", "500"]),
        (
            "aipp, min",
            ["pspfast", "aipp", "--size", "500", "500", "--encoding", "min", "--host", "rgb", "--output", "aipp.cfg"],
        ),
        ("doctor", ["pspfast", "doctor", "demo/demo.onnx", "--json", "doctor.json"]),
        ("atc", ["pspfast", "atc", "demo/demo.onnx", "--soc-version", "Ascend310", "--dry-run", "--json", "atc.json"]),
        ("simplify", ["pspfast", "simplify", "demo/demo.onnx", "simple.onnx", "--batch", "2"]),
        (
            "export",
            [
                "pspfast",
                "export",
                "--checkpoint",
                str(repo / "tools/demo.pth"),
                "--shape",
                "192",
                "192",
                "--output-file",
                "export.onnx",
            ],
        ),
        ("verify", ["pspfast", "verify", "demo/demo.onnx", "simple.onnx"]),
    ]
    cases = data.parent / "cases"
    for log in sorted([*cases.glob("perf/*"), *cases.glob("trt/*")]):
        out.append((f"speed of {log.name}", ["pspfast", "compare-perf", str(log), "--no-data-path"]))
    pair = [f"t4={cases / 'trt/trt10.log'}", f"npu={cases / 'perf/npu_30fps.log'}"]
    out.append(
        ("speeds", ["pspfast", "compare-perf", *pair, "--no-data-path", "--json", "perf.json", "--csv", "perf.csv"])
    )
    return out


def execute(
    python: str, what: list[tuple[str, list[str]]], work: Path, data: Path
) -> dict[str, tuple[int, bytes, bytes]]:
    """Run everything in ``work``; exit status and both streams of each."""
    work.mkdir()
    program = (
        "import sys, numpy as np; from pathlib import Path; from PIL import Image\n"
        "out = Path('golden'); out.mkdir()\n"
        "for path in sorted(Path(sys.argv[1]).glob('*.png')):\n"
        "    np.array(Image.open(path), np.int32).tofile(out / f'{path.stem}_1.bin')\n"
    )
    subprocess.run([python, "-c", program, str(data / "golden/preds")], cwd=work, check=True)
    done = {}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | {
        "COLUMNS": "100"
    }
    for name, (module, *arguments) in what:
        argv = [python, "-m", module, *arguments]
        one = subprocess.run(
            argv, cwd=work, env=environment, capture_output=True, stdin=subprocess.DEVNULL, check=False
        )
        done[name] = one.returncode, one.stdout, one.stderr
        print(f"\r{len(done)}/{len(what)} {name}".ljust(60), end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return done


def steady(content: bytes) -> bytes:
    """Without what varies between two runs of one build. What is no text has nothing of the kind.

    A journal of inference is in the order in which threads ended; it is compared in the order of names.
    """
    if b"\0" in content[:4096] or content[:4] == b"\x89PNG":
        return content
    for _, pattern in _VARYING:
        content = pattern.sub(b"~", content)
    if content.startswith(b'{"inference"') or b'\n{"name": ' in content[:4096]:
        content = b"\n".join(sorted(content.splitlines()))
    return re.sub(rb"[ ~]{2,}|-{3,}", b" ", content)


def first_difference(before: bytes, now: bytes) -> str:
    """The first line that differs beyond what may vary."""
    old, new = steady(before).splitlines(), steady(now).splitlines()
    at = next((k for k, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    shown = [b"".join(lines[at : at + 1]).decode(errors="replace")[:300] for lines in (old, new)]
    return f"    line {at + 1}, old: {shown[0]}\n    line {at + 1}, new: {shown[1]}"


def files_in(folder: Path) -> dict[str, Path]:
    """Relative name -> file."""
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def _lines(text: bytes, stream: str) -> list[bytes]:
    """What must be the same; decoders write their warnings past us, so messages come in any order."""
    lines = steady(text).splitlines()
    return sorted(lines) if stream == "messages" else lines


def times(pythons: list[str], arguments: list[str]) -> list[float]:
    """Medians in ms, in turn."""
    taken: list[list[float]] = [[] for _ in pythons]
    for _ in range(_ROUNDS):
        for one, python in zip(taken, pythons, strict=True):
            start = time.perf_counter()
            subprocess.run([python, *arguments], capture_output=True, check=True)
            one.append(1000 * (time.perf_counter() - start))
    return [statistics.median(one) for one in taken]


def main() -> int:
    """Run, compare, tell; 1 if anything differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("old", help="Python of the build to be equal to")
    parser.add_argument("new", help="Python of the build to hold to it")
    parser.add_argument("--keep", metavar="DIR", help="keep what both wrote, in DIR/old and DIR/new")
    asked = parser.parse_args()
    data = Path(os.environ.get("PSPFAST_TEST_DATA", ROOT.parent / "shared/data")).resolve()
    if not (data / "voc").is_dir():
        parser.error(f"{data} has no real pictures; PSPFAST_TEST_DATA names the folder that has voc/ and golden/")
    base = Path(asked.keep or tempfile.mkdtemp(prefix="pspfast_builds_"))
    base.mkdir(parents=True, exist_ok=True)
    todo = commands(data, ROOT)
    results = {}
    for name, python in (("old", asked.old), ("new", asked.new)):
        results[name] = execute(python, todo, base / "work", data)
        (base / "work").rename(base / name)
    differing: list[str] = []
    left_out = []
    for name, argv in todo:
        old, new = results["old"][name], results["new"][name]
        if old[0] == 3 and new[0] == 3:  # a library is missing
            left_out.append(f"{name}: {old[2].decode(errors='replace').strip()}")
        if old[0] != new[0]:
            differing.append(f"{name}: status {old[0]}, now {new[0]} ({' '.join(argv)})")
        for stream, before, now in (("output", old[1], new[1]), ("messages", old[2], new[2])):
            if before != now and (not measures(argv) or _lines(before, stream) != _lines(now, stream)):
                differing.append(f"{name}: {stream} ({' '.join(argv)})\n{first_difference(before, now)}")
    old_files, new_files = files_in(base / "old"), files_in(base / "new")
    for file in sorted(old_files.keys() | new_files.keys()):
        if file not in old_files or file not in new_files:
            differing.append(f"{file}: only {'old' if file in old_files else 'new'} writes it")
        elif not filecmp.cmp(old_files[file], new_files[file], shallow=False):
            before, now = old_files[file].read_bytes(), new_files[file].read_bytes()
            if file.startswith(_EXACT) or steady(before) != steady(now):
                differing.append(f"{file}: other bytes\n{first_difference(before, now)}")
    for line in differing:
        print(line)
    for line in left_out:
        print(f"not compared beyond its message, {line}")
    exact = sum(
        filecmp.cmp(old_files[one], new_files[one], shallow=False) for one in old_files.keys() & new_files.keys()
    )
    print(f"{len(todo)} commands, {len(old_files)} files compared, {exact} equal as they are, {len(differing)} differ")
    for what, arguments in (
        ("import pspfast", ["-c", "import pspfast"]),
        ("pspfast --help", ["-m", "pspfast", "--help"]),
    ):
        old_ms, new_ms = times([asked.old, asked.new], arguments)
        print(f"{what}: {old_ms:.1f} ms old, {new_ms:.1f} ms new, {new_ms / old_ms:.2f} (medians of {_ROUNDS} in turn)")
    if not asked.keep:
        shutil.rmtree(base)
    return bool(differing)


if __name__ == "__main__":
    sys.exit(main())
