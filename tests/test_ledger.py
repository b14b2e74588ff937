"""The ledger: nothing that was counted is lost or believed wrongly, and scores from it are scores from the pictures."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pspfast import ConfusionMatrix, Letterbox
from pspfast.formats.ledger import Entry, Ledger, LedgerWriter, Subject, merge, write_ledger
from pspfast.metrics.class_pairs import NO_CLASS, PairCounter, Pairs
from pspfast.stages.postprocessing import postprocess
from pspfast.system.files import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SUBJECT = Subject(("road", "sky", "Vélo"))


def entry(name: str, seed: int = 0, size: tuple[int, int] = (9, 13)) -> Entry:
    rng = np.random.default_rng([seed, *name.encode(errors="surrogatepass")])
    mask, target = rng.integers(-1, 5, size), rng.choice([0, 1, 2, 7, 255], size)
    return Entry(name, f"{seed:032x}", size, PairCounter(3)(mask, target, Letterbox.fit(size, size)))


NAMES = [f"picture_{number:03d}" for number in range(7)] + ["new\nline", 'ümläut \ud800 "quote"', "日本"]


def written(path: Path, entries: list[Entry], subject: Subject = SUBJECT) -> bytes:
    with LedgerWriter(path, subject) as writer:
        for one in entries:
            writer.add(one)
    return path.read_bytes()


def same(first: Entry, second: Entry) -> bool:
    return first.to_line() == second.to_line()


# ---- the file ----


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "val.ledger"
    entries = [entry(name) for name in NAMES]
    data = written(path, entries)
    ledger = Ledger.read(path)
    assert (ledger.subject, ledger.torn) == (SUBJECT, 0)
    assert list(ledger.entries) == NAMES
    assert all(same(ledger.entries[one.name], one) for one in entries)
    assert data.count(b"\n") == 1 + len(NAMES)
    with LedgerWriter(path, SUBJECT) as writer:
        assert list(writer.entries) == NAMES
    assert path.read_bytes() == data
    write_ledger(path, ledger)
    assert list(Ledger.read(path).entries) == sorted(NAMES)
    assert Ledger.read(path).to_bytes() == path.read_bytes() == ledger.to_bytes()


def test_cut_anywhere_and_gone_on_from_there(tmp_path: Path) -> None:
    """What a kill can leave, byte by byte."""
    path = tmp_path / "val.ledger"
    entries = [entry(name) for name in NAMES]
    whole = written(path, entries)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        lines = whole[:length].count(b"\n")
        if lines:
            ledger = Ledger.read(path)
            assert list(ledger.entries) == NAMES[: lines - 1]
            assert ledger.torn == length - (whole[:length].rfind(b"\n") + 1)
        with LedgerWriter(path, SUBJECT) as writer:
            assert list(writer.entries) == NAMES[: max(lines - 1, 0)]
            for one in entries[max(lines - 1, 0) :]:
                writer.add(one)
        assert path.read_bytes() == whole


def spoilt(change: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    def apply(line: bytes) -> bytes:
        fields = json.loads(line)
        change(fields)
        return json.dumps(fields).encode()

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line[: len(line) // 2],
        lambda _: b"",
        lambda line: bytes(len(line)),  # as a power cut leaves it
        lambda line: b"\xff" + line,
        lambda line: line + line,
        lambda _: b"null",
        lambda _: b"[1, 2]",
        lambda _: b"[" * 100_000,
        lambda _: b"1e999",
        lambda line: line.replace(b'"digest"', b'"digets"'),
        spoilt(lambda fields: fields.update(name=5)),
        spoilt(lambda fields: fields.update(size=[9])),
        spoilt(lambda fields: fields.update(size=[13.0, 9])),
        spoilt(lambda fields: fields.update(size=[9, 14])),
        spoilt(lambda fields: fields.update(pairs=[])),
        spoilt(lambda fields: fields.update(pairs=[0, 0])),
        spoilt(lambda fields: fields.update(pairs=[0, 0, 116.5])),
        spoilt(lambda fields: fields.update(pairs=["0", "0", "117"])),
        spoilt(lambda fields: fields.update(pairs=[0, 0, 118, 1, 1, -1])),
        spoilt(lambda fields: fields.update(pairs=[0, -2, 117])),
        spoilt(lambda fields: fields.update(pairs=[0, 0, 1 << 70])),
        spoilt(lambda fields: fields.update(pairs=[[0, 0, 117], [1]])),
        spoilt(lambda fields: fields.update(pairs=None)),
    ],
)
@pytest.mark.parametrize("where", [2, 5, 11])
def test_a_damaged_line_is_named(damage: Callable[[bytes], bytes], where: int, tmp_path: Path) -> None:
    path = tmp_path / "val.ledger"
    lines = written(path, [entry(name) for name in NAMES]).split(b"\n")
    lines[where - 1] = damage(lines[where - 1])
    path.write_bytes(b"\n".join(lines))
    data = path.read_bytes()
    for use in (Ledger.read, lambda path: LedgerWriter(path, SUBJECT)):
        with pytest.raises(ValueError, match=rf"{path}, line {where}: "):
            use(path)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\n", "is not a ledger"),
        (b"text\n", "is not a ledger"),
        (b"\xff\xfe\n", "is not a ledger"),
        (b"[]\n", "is not a ledger"),
        (b'{"format":"pspfast bins","version":1}\n', "is not a ledger"),
        (b'{"format":"pspfast ledger","version":2}\n', "is a ledger of version 2; this pspfast reads version 1"),
        (b'{"format":"pspfast ledger","version":1}\n', "its first line is damaged"),
        (
            b'{"format":"pspfast ledger","version":1,"classes":"ab","ignore_index":255,"geometry":"exact"}\n',
            "its first line is damaged",
        ),
        (
            b'{"format":"pspfast ledger","version":1,"classes":["a"],"ignore_index":"b","geometry":"exact"}\n',
            "its first line is damaged",
        ),
        (
            b'{"format":"pspfast ledger","version":1,"classes":["a"],"ignore_index":255,"geometry":"round"}\n',
            "its first line is damaged: geometry must be 'exact' or 'reference', got 'round'",
        ),
        (bytes(500), "is not a ledger"),
        (b"\x89PNG\r\n\x1a\n and so on", "is not a ledger"),
    ],
)
def test_other_files(data: bytes, text: str, tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(data)
    for use in (Ledger.read, lambda path: LedgerWriter(path, SUBJECT)):
        with pytest.raises(ValueError, match=rf"{path}:? ?{text}"):
            use(path)
    assert path.read_bytes() == data  # somebody's, and not ours to change


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (Subject(("road", "sky")), r"is about 3 classes \(road, sky, Vélo\)"),
        (Subject(("road", "sky", "bike")), r"is about 3 classes"),
        (Subject(SUBJECT.classes, None), "is about ignore_index 255"),
        (Subject(SUBJECT.classes, geometry="reference"), "is about exact geometry; choose another file"),
    ],
)
def test_a_ledger_about_something_else(other: Subject, text: str, tmp_path: Path) -> None:
    data = written(tmp_path / "val.ledger", [entry("a")])
    with pytest.raises(ValueError, match=text):
        LedgerWriter(tmp_path / "val.ledger", other)
    assert (tmp_path / "val.ledger").read_bytes() == data
    written(tmp_path / "other.ledger", [], other)
    shards = {name: Ledger.read(tmp_path / name) for name in ("val.ledger", "other.ledger")}
    with pytest.raises(ValueError, match=r"other\.ledger and val\.ledger cannot be merged"):
        merge(shards)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"classes": ("a", "a")}, "names of their own"),
        ({"classes": ()}, "names of their own"),
        ({"classes": ("a",), "geometry": "round"}, "geometry must be 'exact' or 'reference', got 'round'"),
        ({"classes": ("a",), "ignore_index": -1}, "ignore_index must be 0 to 65534 or None, got -1"),
        ({"classes": ("a",), "ignore_index": 65_535}, "ignore_index must be"),
    ],
)
def test_subjects_that_cannot_be(arguments: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Subject(**arguments)


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, text in (
        (tmp_path, "Is a directory"),
        (tmp_path / "no" / "folder", "No such file"),
        (tmp_path / "pipe", "not a regular file"),
        (Path("/dev/full"), "not a regular file"),
        (Path("/dev/null"), "not a regular file"),
    ):
        with pytest.raises(OutputError, match=rf"cannot write {path}: {text}"):
            LedgerWriter(path, SUBJECT)


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "val.ledger"
    with LedgerWriter(path, SUBJECT) as writer:
        writer.add(entry("a"))
        with pytest.raises(OutputError, match="another run is writing into it; wait for it, or choose another file"):
            LedgerWriter(path, SUBJECT)
        assert list(Ledger.read(path).entries) == ["a"]  # reading is welcome
        writer.add(entry("b"))
    with LedgerWriter(path, SUBJECT) as writer:
        assert list(writer.entries) == ["a", "b"]


def test_a_full_disk_keeps_whole_lines(tmp_path: Path) -> None:
    """As much as fits, at every size that a disk can have left."""
    path = tmp_path / "val.ledger"
    entries = [entry(name) for name in NAMES]
    whole = written(path, entries)
    starts = [0, *(at + 1 for at, byte in enumerate(whole) if byte == ord("\n"))]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for length in range(0, len(whole), 7):
        path.unlink()
        kept = max(start for start in starts if start <= length)
        resource.setrlimit(resource.RLIMIT_FSIZE, (length, limits[1]))
        try:
            with pytest.raises(OutputError, match=rf"cannot write {path}: File too large"):
                written(path, entries)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_bytes() == whole[:kept]
    with LedgerWriter(path, SUBJECT) as writer:
        for one in entries[len(writer.entries) :]:
            writer.add(one)
    assert path.read_bytes() == whole


def test_the_last_line_about_a_picture_counts(tmp_path: Path) -> None:
    written(tmp_path / "val.ledger", [entry("a"), entry("b"), entry("a", seed=1)])
    ledger = Ledger.read(tmp_path / "val.ledger")
    assert same(ledger.entries["a"], entry("a", seed=1))
    assert ledger.matrix().total == 2 * 9 * 13


# ---- merging ----


@given(st.lists(st.lists(st.integers(0, 9), max_size=6, unique=True), min_size=1, max_size=5), st.randoms())
@settings(max_examples=60, deadline=None)
def test_merging_in_any_order_and_grouping(shards: list[list[int]], random: Any) -> None:
    ledgers = {
        str(number): Ledger(SUBJECT, {NAMES[index]: entry(NAMES[index]) for index in shard})
        for number, shard in enumerate(shards)
    }
    wanted = merge(ledgers).to_bytes()
    shuffled = list(ledgers.items())
    random.shuffle(shuffled)
    assert merge(dict(shuffled)).to_bytes() == wanted
    cut = random.randint(0, len(shuffled) - 1)
    parts = [dict(part) for part in (shuffled[:cut], shuffled[cut:]) if part]
    assert merge({str(number): merge(part) for number, part in enumerate(parts)}).to_bytes() == wanted
    names = {NAMES[index] for shard in shards for index in shard}
    assert wanted.decode().count("\n") == 1 + len(names)


def test_shards_that_disagree() -> None:
    one, other = (Ledger(SUBJECT, {"a": entry("a", seed=seed)}) for seed in (0, 1))
    assert merge({"one": one, "again": one}).to_bytes() == one.to_bytes()
    with pytest.raises(ValueError, match="other and one disagree about 'a'; remove one of them"):
        merge({"one": one, "other": other})
    with pytest.raises(ValueError, match="no ledgers to merge"):
        merge({})


# ---- scores ----


RULES: list[dict[str, Any]] = [
    {},
    {"ignore_index": None},
    {"ignore_index": 0},
    {"ignore_index": 7},
    {"label_map": {0: 1, 1: 0}},
    {"label_map": {7: 2, 255: 0}},
    {"label_map": {0: 7}},
    {"reduce_zero_label": True},
    {"reduce_zero_label": True, "ignore_index": 0, "label_map": {7: 3}},
    {"label_map": {300: 1, 40_000: 2}},
    {"label_map": {65_534: 1}, "ignore_index": 300},
]

FAR = [0, 1, 2, 3, 7, 254, 255, 256, 300, 40_000, 65_534, 65_535, 70_000, -1, -100, 2**31 - 1]


@pytest.mark.parametrize("rules", RULES)
@given(st.integers(0, 1000), st.booleans(), st.sampled_from([2, 3, 64, 65, 300]))
@settings(max_examples=12, deadline=None)
def test_scores_are_those_of_the_pictures(rules: dict[str, Any], seed: int, far: bool, classes: int) -> None:
    """Whatever labels and predictions there are, beyond any class too, and whatever rule is asked for afterwards."""
    rng = np.random.default_rng(seed)
    values = FAR if far else [0, 1, 2, 255]
    subject = Subject(tuple(map(str, range(classes))))
    entries, pictures = {}, []
    counter = PairCounter(classes)
    for name in "abcde":
        size = tuple(rng.integers(1, 30, 2).tolist())
        box = Letterbox.fit((size[0], size[1]), (20, 32))
        mask = rng.choice(values, (20, 32)).astype(np.int64 if far else np.uint8)
        target = rng.choice(values, size).astype(np.int32 if far else np.uint8)
        entries[name] = Entry(name, "", (size[0], size[1]), counter(mask, target, box))
        pictures.append((mask, target, box))
        assert same(Entry.from_line(entries[name].to_line()), entries[name])
    ledger = Ledger(subject, entries)
    for names in ("abcde", "b", "ec", ""):
        wanted = ConfusionMatrix(classes, **{"ignore_index": 255, **rules})
        for name in names:
            wanted.update_letterboxed(*pictures["abcde".index(name)])
        found = ledger.matrix(names, **rules)
        assert all(map(np.array_equal, found.cells(), wanted.cells()))
    with pytest.raises(KeyError):
        ledger.matrix(["f"])


def test_a_label_that_pairs_do_not_tell_from_others() -> None:
    for label in (NO_CLASS, 65_535):
        with pytest.raises(ValueError, match="ignore_index must be 0 to 65534 or None"):
            Ledger(SUBJECT, {}).matrix(ignore_index=label)
        with pytest.raises(ValueError, match="ignore_index must be 0 to 65534 or None"):
            PairCounter(3, label)


@pytest.mark.parametrize("classes", [1, 2, 21, 64, 65, 1000])
def test_pairs_do_not_depend_on_what_is_expected(classes: int) -> None:
    rng = np.random.default_rng(12)
    box = Letterbox.fit((17, 40), (30, 30))
    for values in ([0, 1], FAR):
        mask, target = rng.choice(values, (30, 30)), rng.choice(values, (17, 40))
        found, wanted = PairCounter(classes)(mask, target, box), PairCounter(5000, None)(mask, target, box)
        for mine, theirs in ((found.labels, wanted.labels), (found.preds, wanted.preds), (found.pixels, wanted.pixels)):
            assert np.array_equal(mine, theirs)
        assert found.total == target.size


# ---- killed, and gone on ----


def save_pictures(folder: Path, count: int) -> tuple[Path, Path]:
    """Many small masks and their labels."""
    rng = np.random.default_rng(13)
    dumps, labels = folder / "dumps", folder / "labels"
    dumps.mkdir(parents=True)
    labels.mkdir()
    for number in range(count):
        target = np.repeat(rng.integers(0, 21, (4 + number % 5, 6)), 5, 1).astype(np.uint8)
        Image.fromarray(target).save(labels / f"p{number:04d}.png", compress_level=1)
        np.repeat(rng.integers(0, 22, (24, 4)), 8, 1).astype(np.int32).tofile(dumps / f"p{number:04d}_1.bin")
    return dumps, labels


def command(dumps: Path, labels: Path, ledger: Path, *others: str) -> list[str]:
    size = ["--net-input-height=24", "--net-input-width=32"]
    found = [f"--bin-data-path={dumps}", f"--ann-dir={labels}", f"--ledger={ledger}", *size, *others]
    return [sys.executable, "-m", "pspfast.postprocess", *found]


def test_killed_at_random_and_run_again(tmp_path: Path) -> None:
    """kill -9 in the middle, again and again: the ledger goes on, and ends with the bytes of a run left in peace."""
    dumps, labels = save_pictures(tmp_path, 2000)
    peace, path = tmp_path / "peace.ledger", tmp_path / "val.ledger"
    options: Any = {"label_folder": labels, "size": (24, 32)}
    wanted = postprocess(dumps, ledger=peace, workers=1, **options)
    whole = peace.read_bytes()
    rng = np.random.default_rng(0)
    seen, sizes = 0, []
    for kill in range(9):
        child = subprocess.Popen(command(dumps, labels, path, "--quiet", f"--workers={1 + kill % 3}"), cwd=tmp_path)
        deadline = time.monotonic() + 20
        while child.poll() is None and time.monotonic() < deadline:
            # Wait until it writes, so that the kill lands in the middle of the work and not of the start.
            if path.exists() and path.stat().st_size > seen:
                break
            time.sleep(0.001)
        time.sleep(float(rng.uniform(0, 0.02)))
        child.send_signal(signal.SIGKILL)
        child.wait()
        data = path.read_bytes()
        assert data == whole[: len(data)]
        seen = len(data)
        sizes.append(seen)
        if seen < len(whole) and kill % 2:  # as a kill in the middle of a line leaves it
            path.write_bytes(whole[: seen + 20])
    assert len({size for size in sizes if 0 < size < len(whole)}) > 2, f"too few kills came in between: {sizes}"
    again = postprocess(dumps, ledger=path, workers=2, **options)
    assert path.read_bytes() == whole
    assert again.kept == max(whole[: sizes[-1]].count(b"\n") - 1, 0)
    assert again.result.to_json() == wanted.result.to_json()


def test_ctrl_c_keeps_whole_lines(tmp_path: Path) -> None:
    dumps, labels = save_pictures(tmp_path, 2000)
    path = tmp_path / "val.ledger"
    child = subprocess.Popen(command(dumps, labels, path, "--workers=1"), cwd=tmp_path, stderr=subprocess.PIPE)
    while not path.exists() or path.stat().st_size < 10_000:
        assert child.poll() is None, "it ended before it was interrupted"
        time.sleep(0.001)
    child.send_signal(signal.SIGINT)
    _, complaint = child.communicate(timeout=20)
    assert child.returncode == 130
    assert b"run the same command again to go on" in complaint
    assert not (tmp_path / "voc_seg_result.txt").exists()
    assert path.read_bytes().endswith(b"\n")
    done = postprocess(dumps, label_folder=labels, size=(24, 32), ledger=path)
    assert done.result.pictures == 2000
    assert 0 < done.kept < 2000


def test_a_full_disk_under_the_command(tmp_path: Path) -> None:
    dumps, labels = save_pictures(tmp_path, 300)
    path = tmp_path / "val.ledger"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    full = subprocess.run(
        command(dumps, labels, path), cwd=tmp_path, capture_output=True, text=True, check=False, preexec_fn=limit
    )
    assert full.returncode == 1
    assert f"stopped: cannot write {path}: File too large; the ledger has what was counted" in full.stderr
    assert full.stdout == ""
    kept = len(Ledger.read(path).entries)
    assert 0 < kept < 300
    assert Ledger.read(path).torn == 0
    again = postprocess(dumps, label_folder=labels, size=(24, 32), ledger=path)
    assert (again.kept, again.result.pictures) == (kept, 300)


# ---- what has changed is counted again ----


def picture(tmp_path: Path, mask: NDArray[Any], target: NDArray[np.uint8]) -> None:
    for folder in ("dumps", "labels"):
        (tmp_path / folder).mkdir(exist_ok=True)
    mask.tofile(tmp_path / "dumps" / "a_1.bin")
    Image.fromarray(target).save(tmp_path / "labels" / "a.png")


@pytest.mark.parametrize("dump_type", [np.uint8, np.int32, np.float16, np.float32])
def test_a_change_anywhere_is_seen(dump_type: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(14)
    mask, target = rng.integers(0, 2, (10, 12)).astype(dump_type), rng.integers(0, 2, (5, 12)).astype(np.uint8)

    def run(**options: Any) -> int:
        base: dict[str, Any] = {"label_folder": tmp_path / "labels", "size": (10, 12), "classes": ("a", "b")}
        found = postprocess(tmp_path / "dumps", ledger=tmp_path / "ledger", **{**base, **options})
        fresh = postprocess(tmp_path / "dumps", **{**base, **options})
        assert (found.stopped, found.faults) == ("", ())
        assert found.result.to_json() == fresh.result.to_json()
        return found.kept

    picture(tmp_path, mask, target)
    assert [run(), run()] == [0, 1]
    for row in (2, 6):
        mask[row, 0] = 1 - mask[row, 0]
        picture(tmp_path, mask, target)
        assert [run(), run()] == [0, 1]
    mask[0, 0] = 1 - mask[0, 0]  # in the padding
    picture(tmp_path, mask, target)
    assert run() == 1
    target[4, 11] = 1 - target[4, 11]
    picture(tmp_path, mask, target)
    assert [run(), run(), run(reduce_zero_label=True), run(label_map={0: 1})] == [0, 1, 1, 1]


def test_a_change_of_scores_is_seen(tmp_path: Path) -> None:
    """Of two classes, which have the size of integers; a change in any plane and row of the picture."""
    rng = np.random.default_rng(15)
    scores, target = rng.standard_normal((2, 10, 12)).astype(np.float16), np.zeros((5, 12), np.uint8)

    def run() -> int:
        options: Any = {"label_folder": tmp_path / "labels", "size": (10, 12), "classes": ("a", "b")}
        found = postprocess(tmp_path / "dumps", ledger=tmp_path / "ledger", **options)
        assert found.result.to_json() == postprocess(tmp_path / "dumps", **options).result.to_json()
        return found.kept

    picture(tmp_path, scores, target)
    assert [run(), run()] == [0, 1]
    for plane in (0, 1):
        for row in range(2, 7):
            scores[plane, row, 5] = scores[1 - plane, row, 5] + 1
            picture(tmp_path, scores, target)
            run()


def test_pairs_add_up() -> None:
    pairs = Pairs(np.array([0, 1]), np.array([0, 0]), np.array([5, 6]))
    assert pairs.total == 11
