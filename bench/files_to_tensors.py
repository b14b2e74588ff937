"""JPEG file to tensor, against what people use: ``python -m bench.files_to_tensors [--json FILE]``.

The pictures of ``PSPFAST_TEST_DATA`` or ``../shared/data``, as they are and enlarged to 1280 pixels, on one thread and
on two. Every row says how many of its tensors are, cast to halves, what the published calls give; that these give the
published bins is looked at first, where the data has their digests. Peers that are not installed (``pip install
albumentationsx kornia-rs``) are named.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from bench.harness import Row, find_voc, machine, positive, print_table, rows_of, time_in_turns, write_json
from bench.peers import peers, published

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.peers import Route

_LONG_SIDE = 1280


def enlarged(paths: list[str], folder: Path) -> list[str]:
    """The same pictures with a longer side of 1280 pixels."""
    made = []
    for path in paths:
        picture = np.asarray(cv2.imread(path))
        factor = _LONG_SIDE / max(picture.shape[:2])
        large = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        made.append(str(folder / Path(path).name))
        if not cv2.imwrite(made[-1], large):
            raise SystemExit(f"cannot write {made[-1]}")
    return made


def contest(
    name: str, paths: list[str], routes: dict[str, Route], threads: int, rounds: int, golden: dict[str, str]
) -> list[Row]:
    """All routes over all pictures, in turn; ``golden`` has the digests of published bins by picture."""
    wanted = [hashlib.sha256(published(path).tobytes()).hexdigest() for path in paths]
    for path, digest in zip(paths, wanted, strict=True):
        if golden.get(Path(path).stem, digest) != digest:
            raise SystemExit(f"{path}: the published calls do not give the published bin here; nothing is timed")
    notes = {}
    for route_name, route in routes.items():
        made = (hashlib.sha256(route(path).astype(np.float16).tobytes()).hexdigest() for path in paths)
        equal = sum(one == other for one, other in zip(made, wanted, strict=True))
        notes[route_name] = f"{equal} of {len(paths)} equal"
        if route_name == "pspfast float16" and equal != len(paths):
            raise SystemExit(f"{name}: pspfast gives other tensors than the published calls; not timed")
    with ThreadPoolExecutor(threads) as pool:

        def over_all(route: Route) -> None:
            for _ in pool.map(route, paths):
                """Each tensor is dropped as a network would have taken it."""

        calls: dict[str, Callable[[], object]] = {
            route_name: partial(over_all, route) for route_name, route in routes.items()
        }
        times = time_in_turns(calls, rounds=rounds, seconds=0.1)
    a_picture = {key: [one / len(paths) for one in taken] for key, taken in times.items()}
    size = 3 * 500 * 500
    sizes = {key: size * (4 if "float32" in key else 2) for key in routes}
    return rows_of(f"**{name}, {threads} thread{'s' * (threads > 1)}**", a_picture, sizes, notes)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.files_to_tensors", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=7, help="measurements of every row")
    parser.add_argument("--json", metavar="FILE", help="also write the rows as JSON")
    options = parser.parse_args()
    voc = find_voc()
    if voc is None:
        raise SystemExit("no pictures: set PSPFAST_TEST_DATA to the folder that has voc/VOC2012")
    names = (voc / "ImageSets/Segmentation/val.txt").read_text().split()
    paths = [str(voc / "JPEGImages" / f"{name}.jpg") for name in names]
    digests = voc.parents[1] / "golden" / "bins.sha256"
    listed = [line.split() for line in digests.read_text().splitlines()] if digests.exists() else []
    golden = {Path(name).stem: digest for digest, name in listed}
    cv2.setNumThreads(1)
    routes, missing = peers()
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="pspfast-bench-") as folder:
        for name, files in {"VOC pictures": paths, "1280 pixels": enlarged(paths, Path(folder))}.items():
            for threads in (1, 2):
                rows += contest(
                    f"JPEG file to tensor, {name}",
                    files,
                    routes,
                    threads,
                    options.rounds,
                    golden if files is paths else {},
                )
    print_table(rows)
    for name, reason in missing.items():
        print(f"\nnot measured: {name}: {reason}")
    if options.json:
        write_json(options.json, rows)


if __name__ == "__main__":
    main()
