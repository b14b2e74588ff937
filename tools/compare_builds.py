"""Does another build of pspfast do the same? The same commands by both, everything they write compared byte for byte.

    python tools/compare_builds.py OLD_PYTHON NEW_PYTHON [--data ../shared] [--keep DIR] [--only WORD]

Each PYTHON is that of an environment with one build in it (extras run, and export for the commands that need torch).
Standard output, standard error, exit status and files must be equal after what NORMALIZED lists. Exit status: 0 equal,
1 something differs, 2 usage.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# Pattern, what stands for it, why it may differ. Nothing else may.
NORMALIZED = [
    (rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?", b"<date>", "when it ran"),
    (rb"[ \t]*\b\d[\d,]*(\.\d+)?(e-?\d+)? (ms|us|s|min)\b", b" <time>", "how long it took"),
    (rb"[ \t]*\b\d[\d,]*(\.\d+)? (pictures|images|MB)/s", b" <speed>", "how fast it was"),
    (
        rb'("[^"]*(seconds|elapsed|_ms|per_second|started|finished|throughput)[^"]*": )[-+\d.e]+',
        rb"\1<time>",
        "the same",
    ),
    (rb'("mtime_ns"|"pid"): \d+', rb"\1: <n>", "process ids and times of files"),
]

GOLDEN = """
import sys, pathlib, numpy as np
from PIL import Image
out = pathlib.Path(sys.argv[2]); out.mkdir(parents=True)
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.png")):
    np.array(Image.open(path), np.int32).tofile(out / (path.stem + "_1.bin"))
"""

STAGES = [
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
]
NEEDS = {"torch": ("export", "verify"), "onnx": ("export", "simplify", "doctor model", "verify", "atc", "aipp model")}


def commands(data: Path, dumps: Path, checkpoint: Path) -> Iterator[tuple[str, list[str]]]:
    """Names (the first words say what a command needs) and what follows ``python -m pspfast``."""
    voc, cases = data / "data/voc/VOC2012", data / "cases"
    pictures, labels = str(voc / "JPEGImages"), str(voc / "SegmentationClass")
    yield "help", ["--help"]
    yield "version", ["--version"]
    yield "usage error", ["nonsense"]
    for stage in STAGES:
        yield f"help {stage}", [stage, "--help"]
    for sub in ("ledger merge", "ledger score", "get-info bin", "get-info jpg", "doctor env"):
        yield f"help {sub}", [*sub.split(), "--help"]
    for shell in ("bash", "zsh", "fish"):
        yield f"completion {shell}", ["completion", shell]
    yield "doctor env", ["doctor", "env"]
    for batch in ("1", "16"):
        for kind in ("float16", "float32"):
            options = ["--image-folder-path", pictures, "--dtype", kind, "--batch-size", batch, "--workers", "1"]
            folder = f"bins_{kind}_{batch}"
            yield f"preprocess {kind} {batch}", ["preprocess", *options, "--bin-folder-path", folder]
    yield "get_info bin", ["get-info", "bin", "bins_float16_1", "voc12.info", "500", "500"]
    yield "get_info jpg", ["get-info", "jpg", pictures, "jpg.info"]
    for geometry in ("exact", "reference"):
        written = ["--result-file", f"{geometry}.txt", "--json", f"{geometry}.json", "--csv", f"{geometry}.csv"]
        written += ["--ledger", f"{geometry}.ledger", "--save-masks", f"masks_{geometry}"]
        dumped = ["--bin-data-path", str(dumps), "--manifest", "bins_float16_1", "--ann-dir", labels]
        yield f"postprocess {geometry}", ["postprocess", *dumped, "--geometry", geometry, *written, "--workers", "1"]
    yield "ledger score", ["ledger", "score", "exact.ledger"]
    yield "ledger merge", ["ledger", "merge", "merged.ledger", "exact.ledger"]
    yield "compare", ["compare", "reference.ledger", "exact.ledger"]
    yield "compare json", ["compare", "reference.ledger", "exact.ledger", "--json", "compare.json"]
    yield "compare baseline", ["compare", "--baseline", "voc-opensource", "exact.ledger"]
    yield "oracle", ["oracle", "--ann-dir", labels, "--json", "oracle.json", "--workers", "1"]
    yield "demo", ["demo", "--pictures", "20", "--output", "demo"]
    yield "infer", ["infer", "--model", "MODEL", "--input", "bins_float16_1", "--output", "result", "--threads", "1"]
    yield "run", ["run", "--voc-root", str(voc), "--model", "MODEL", "--output", "run", "--threads", "1"]
    yield "report", ["report", "run", "--output", "page/index.html"]
    yield "report ledgers", ["report", "exact.ledger", "reference.ledger", "--output", "page2/index.html"]
    for log in [*sorted((cases / "perf").iterdir()), *sorted((cases / "trt").iterdir())]:
        yield f"compare-perf {log.name}", ["compare-perf", str(log), "--no-data-path", "--json", f"{log.name}.json"]
    yield "aipp", ["aipp", "--output", "aipp.cfg"]
    yield "aipp model", ["aipp", "MODEL"]
    yield "atc", ["atc", "MODEL", "--soc-version", "Ascend310", "--dry-run"]
    yield "doctor model", ["doctor", "MODEL"]
    yield "simplify", ["simplify", "MODEL", "simple.onnx"]
    exported = ["--checkpoint", str(checkpoint), "--shape", "96", "96", "--batch", "1", "--output-file", "out.onnx"]
    yield "export", ["export", *exported]
    yield "verify", ["verify", "MODEL", "MODEL", "--noise", "2"]
    for door in ("preprocess", "postprocess", "get_info", "export"):
        yield f"door {door}", [f"-m pspfast.{door}", "--help"]


def run(python: str, arguments: list[str], folder: Path) -> tuple[int, bytes, bytes]:
    """One command; MODEL is the ONNX file that the demo left."""
    module = ["-m", "pspfast"]
    if arguments[0].startswith("-m "):
        module, arguments = arguments[0].split(), arguments[1:]
    models = sorted(str(path.relative_to(folder)) for path in (folder / "demo").rglob("*.onnx"))
    arguments = [models[0] if one == "MODEL" and models else one for one in arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"COLUMNS": "120"}
    done = subprocess.run([python, *module, *arguments], cwd=folder, env=environment, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr


def normalize(content: bytes, folder: Path, python: str) -> bytes:
    """What may differ, put as one; the rest stays to the byte."""
    content = content.replace(str(folder).encode(), b"<folder>")
    content = content.replace(str(Path(python).absolute().parents[1]).encode(), b"<environment>")
    for pattern, stand_in, _ in NORMALIZED:
        content = re.sub(pattern, stand_in, content)
    return content


def is_there(python: str, module: str) -> bool:
    """Whether this environment has a library."""
    found = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False)
    return found.returncode == 0


def seen(folder: Path, known: dict[str, str]) -> dict[str, Path]:
    """Files that are new or changed since the last look."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            state = path.stat()
            mark, name = f"{state.st_mtime_ns} {state.st_size}", str(path.relative_to(folder))
            if known.get(name) != mark:
                known[name], found[name] = mark, path
    return found


def same(first: Path, second: Path, folders: list[Path], pythons: list[str]) -> bool:
    """Byte for byte; only files of text are normalized, bins and models never."""
    one, two = first.read_bytes(), second.read_bytes()
    if one == two:
        return True
    if b"\0" in one[:4096]:
        return False
    return normalize(one, folders[0], pythons[0]) == normalize(two, folders[1], pythons[1])


def clock(pythons: list[str], arguments: list[str]) -> list[float]:
    """Medians of 21, in turn."""
    taken: list[list[float]] = [[], []]
    for _ in range(21):
        for index, python in enumerate(pythons):
            start = time.perf_counter()
            subprocess.run([python, *arguments], capture_output=True, check=True)
            taken[index].append(time.perf_counter() - start)
    return [statistics.median(one) for one in taken]


def main() -> int:
    """See the module."""
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description="Two builds, compared byte for byte.")
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--data", type=Path, default=root.parent / "shared")
    parser.add_argument("--keep", type=Path, help="an empty folder for what both wrote")
    parser.add_argument("--only", default="", help="commands whose names have this word")
    options = parser.parse_args()
    pythons = [options.old, options.new]
    top = (options.keep or Path(tempfile.mkdtemp(prefix="compare_builds_"))).resolve()
    folders = [top / "old", top / "new"]
    for folder in folders:
        folder.mkdir(parents=True)
    print("normalized:", *(f"  {pattern!r}: {why}" for pattern, _, why in NORMALIZED), sep="\n")
    print("  folders and environments: their paths", flush=True)
    data, dumps = options.data.resolve(), top / "dumps"
    subprocess.run([options.old, "-c", GOLDEN, str(data / "data/golden/preds"), str(dumps)], check=True)
    absent = {name for name in NEEDS if not all(is_there(python, name) for python in pythons)}
    known: list[dict[str, str]] = [{}, {}]
    count = files = differ = left_out = 0
    for name, arguments in commands(data, dumps, root / "tools/demo.pth"):
        if options.only not in name:
            continue
        lacking = sorted(lib for lib in absent if name.startswith(NEEDS[lib]))
        if lacking:
            left_out += 1
            print(f"not compared: {name}: {', '.join(lacking)} is not in both environments")
            continue
        count += 1
        results = [run(python, arguments, folder) for python, folder in zip(pythons, folders, strict=True)]
        old, new = (
            (code, normalize(out, folder, python), normalize(err, folder, python))
            for (code, out, err), folder, python in zip(results, folders, pythons, strict=True)
        )
        for what, one, two in zip(("exit status", "stdout", "stderr"), old, new, strict=True):
            if one != two:
                differ += 1
                print(f"differs: {name}: {what}: {one!r:.400} | {two!r:.400}")
        wrote = [seen(folder, marks) for folder, marks in zip(folders, known, strict=True)]
        for file in sorted(set(wrote[0]) | set(wrote[1])):
            files += 1
            if file not in wrote[0] or file not in wrote[1]:
                differ += 1
                print(f"differs: {name}: {file} is written by one only")
            elif not same(wrote[0][file], wrote[1][file], folders, pythons):
                differ += 1
                print(f"differs: {name}: {file}")
        print(f"{name}: exit status {old[0]}, {len(wrote[0])} files", flush=True)
    for label, line in (("import pspfast", ["-c", "import pspfast"]), ("pspfast --help", ["-m", "pspfast", "--help"])):
        times = clock(pythons, line)
        print(f"{label}: old {times[0] * 1000:.1f} ms, new {times[1] * 1000:.1f} ms (median of 21, in turn)")
    print(f"{left_out} commands not compared")
    print(f"{count} commands, {files} files compared, {differ} differ")
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
