"""JPEG file to tensor, against what people use: ``python -m bench.files_to_tensors [--json FILE]``.

The pictures of ``PSPFAST_TEST_DATA`` or ``../shared/data``, as they are and enlarged to 1280 pixels, on one thread and
on two. Every row names its decoder and says how many of its tensors are, cast to halves, what the published calls give;
that these give the published bins is looked at first, where the data has their digests. Peers that cannot be imported
are named, with what pip is to be asked for. ``python -m bench.preprocess`` shows these rows, too.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from bench.harness import Row, find_voc, machine, positive, print_table, rows_of, time_in_turns, write_json
from bench.peers import peers, published

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.peers import Files, Peer

__all__ = ["PICTURES", "ROUNDS", "file_rows"]

PICTURES = 73  # of the test data; of a larger split the first so many
ROUNDS = 7
_LONG_SIDE = 1280
_VALUES = 3 * 500 * 500


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
    name: str, paths: list[str], contenders: list[Peer], threads: int, rounds: int, golden: dict[str, str]
) -> list[Row]:
    """All contenders over all pictures, in turn; ``golden`` has the digests of published bins by picture."""
    title = f"**{name}, {threads} thread{'s' * (threads > 1)}**"
    wanted = [hashlib.sha256(published(path).tobytes()).hexdigest() for path in paths]
    for path, digest in zip(paths, wanted, strict=True):
        if golden.get(Path(path).stem, digest) != digest:
            raise SystemExit(f"{path}: the published calls do not give the published bin here; nothing is timed")
    calls: dict[str, Callable[[], object]] = {}
    sizes, notes = {}, {}
    with ExitStack() as started:
        for peer in contenders:
            key = f"{peer.name}, {peer.dtype}"
            over = started.enter_context(peer.start(threads))
            equal = equals(over, paths, wanted, peer.dtype)
            if peer.name == "pspfast" and equal != len(paths):
                raise SystemExit(f"{name}: {key} gives other tensors than the published calls; not timed")
            facts = [peer.decoder, f"{equal} of {len(paths)} equal", *([peer.differs] if peer.differs else [])]
            notes[key], sizes[key] = "; ".join(facts), _VALUES * np.dtype(peer.dtype).itemsize
            calls[key] = partial(through, over, paths)
        print(f"timing {title.strip('*')}", file=sys.stderr, flush=True)
        times = time_in_turns(calls, rounds=rounds, seconds=0.1)
    a_picture = {key: [one / len(paths) for one in taken] for key, taken in times.items()}
    return rows_of(title, a_picture, sizes, notes)


def equals(over: Files, paths: list[str], wanted: list[str], dtype: str) -> int:
    """How many tensors have the wanted digests once they are halves."""
    count = 0
    for tensor, digest in zip(over(paths), wanted, strict=True):
        if tensor.shape != (3, 500, 500) or tensor.dtype != dtype or not tensor.flags.c_contiguous:
            raise SystemExit(f"a {tensor.dtype} tensor of {tensor.shape}, wanted {dtype} and (3, 500, 500)")
        count += hashlib.sha256(tensor.astype(np.float16).tobytes()).hexdigest() == digest
    return count


def through(over: Files, paths: list[str]) -> None:
    for _ in over(paths):
        """Each tensor is dropped as a network would have taken it."""


def file_rows(voc: Path, rounds: int, pictures: int) -> tuple[list[Row], list[str]]:
    """Rows of all contests; and what is to be read with them: versions, who is not among them, and why."""
    names = (voc / "ImageSets/Segmentation/val.txt").read_text().split()[:pictures]
    paths = [str(voc / "JPEGImages" / f"{name}.jpg") for name in names]
    digests = voc.parents[1] / "golden" / "bins.sha256"
    listed = [line.split() for line in digests.read_text().splitlines()] if digests.exists() else []
    golden = {Path(name).stem: digest for digest, name in listed}
    cv2.setNumThreads(1)
    contenders, used, missing = peers()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="pspfast-bench-") as folder:
        for name, files in {"VOC pictures": paths, "1280 pixels": enlarged(paths, Path(folder))}.items():
            known = golden if files is paths else {}
            for threads in (1, 2):
                rows += contest(f"JPEG file to tensor, {name}", files, contenders, threads, rounds, known)
    remarks = [f"peers: {', '.join(f'{one} {version(one)}' for one in used)}"] if used else []
    return rows, remarks + [f"not measured: {name}: {reason}" for name, reason in missing.items()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.files_to_tensors", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help="measurements of every row")
    parser.add_argument("--pictures", type=positive, default=PICTURES, help="take the first so many")
    parser.add_argument("--json", metavar="FILE", help="also write the rows as JSON")
    options = parser.parse_args()
    voc = find_voc()
    if voc is None:
        raise SystemExit("no pictures: set PSPFAST_TEST_DATA to the folder that has voc/VOC2012")
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    rows, remarks = file_rows(voc, options.rounds, options.pictures)
    print_table(rows)
    print("", *remarks, sep="\n")
    if options.json:
        write_json(options.json, rows)


if __name__ == "__main__":
    main()
