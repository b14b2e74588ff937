"""Data sets as people bring them: lists of pictures, archives with links, labels under other names."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from PIL import Image

from pspfast.cli.main import main
from pspfast.datasets import VOC, data_set, read_classes, read_split, with_label_suffix
from pspfast.datasets.file_trees import Archive, open_tree
from pspfast.datasets.sources import data_set_source, picture_source
from pspfast.pictures.reader import PictureError

if TYPE_CHECKING:
    from pathlib import Path

# -- lists --


@pytest.mark.parametrize(
    "text",
    [
        "JPEGImages/a.jpg SegmentationClass/a.png\nJPEGImages/b.jpg SegmentationClass/b.png\n",
        "/JPEGImages/a.jpg\t/SegmentationClassAug/a.png\n",
        "images/my a.jpg,labels/my a.png\nimages/my b.jpg,labels/my b.png\n",
        "image,label\na.jpg,a.png\nb.jpg,b.png\n",
        '"a.jpg";"a.png"\n"b.jpg";"b.png"\n',
        "leftImg8bit/val/a_leftImg8bit.png gtFine/val/a_gtFine_labelTrainIds.png\n",
        "images\\a.JPG masks\\a.PNG\nimages\\b.JPG masks\\b.PNG\n",
        "JPEGImages/a SegmentationClass/a\nJPEGImages/b SegmentationClass/b\n",
        "a.tif|a_mask.tif|0\nb.tif|b_mask.tif|1\n",
    ],
)
def test_a_list_of_pictures_and_labels_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.txt").write_text(text)
    with pytest.raises(
        ValueError, match=r"train\.txt has a picture and its labels on each line .*expected one id a line"
    ):
        read_split(tmp_path / "train.txt")


@pytest.mark.parametrize("text", ["2007_000032  1\n2007_000033 -1\n", "a -1\nb  0\nc  1\n"])
def test_a_list_of_a_class_is_named(tmp_path: Path, text: str) -> None:
    """``cat_val.txt`` of VOC names every picture, and says which ones have a cat."""
    (tmp_path / "cat_val.txt").write_text(text)
    with pytest.raises(ValueError, match="says of each picture whether it shows a class"):
        read_split(tmp_path / "cat_val.txt")


@pytest.mark.parametrize(
    "ids",
    [
        ("my holiday 1", "my holiday 0"),
        ("cat 1.jpg", "dog 1.jpg"),
        ("cat 1", "dog 1"),
        ("a, b.jpg", "c, d.jpg"),
        ("my dir/pic a", "my dir/pic b"),
        ("a.jpg", "b.jpg c.jpg"),
        ("x|y", "z"),
    ],
)
def test_names_with_spaces_are_no_columns(tmp_path: Path, ids: tuple[str, ...]) -> None:
    if ids == ("a.jpg", "b.jpg c.jpg"):  # the first could be a heading, were it not the name of a picture
        ids = (*ids, "d.jpg")
    (tmp_path / "val.txt").write_text("\n".join(ids))
    assert read_split(tmp_path / "val.txt").ids == ids


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-16-be"])
def test_lists_of_powershell(tmp_path: Path, encoding: str) -> None:
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    (tmp_path / "val.txt").write_bytes(mark + "road\r\nstraße\r\n".encode(encoding))
    assert read_split(tmp_path / "val.txt").ids == ("road", "straße")
    assert read_classes(tmp_path / "val.txt") == ("road", "straße")


def test_half_of_a_wide_letter(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_bytes(b"\xff\xfea\x00b")
    with pytest.raises(ValueError, match="is not UTF-16 text"):
        read_split(tmp_path / "val.txt")


def test_every_command_says_it(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("JPEGImages/a.jpg SegmentationClass/a.png\n")
    (tmp_path / "pictures").mkdir()
    at, split = str(tmp_path / "pictures"), str(tmp_path / "list.txt")
    for arguments in (
        ["preprocess", "--image-folder-path", at, "--bin-folder-path", str(tmp_path / "bins")],
        ["oracle", "--ann-dir", at],
        ["run", "--images", at, "--model", "none.onnx", "--output", str(tmp_path / "out")],
        ["postprocess", "--bin-data-path", at, "--ann-dir", at],
    ):
        done = CliRunner().invoke(main, [*arguments, "--split", split])
        assert done.exit_code == 2 and "a picture and its labels on each line" in done.output, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.txt", "pictures"]


def test_a_list_inside_an_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "voc.tar", "w") as archive:
        for name, text in (
            ("VOC2012/JPEGImages/a.jpg", "x"),
            ("VOC2012/SegmentationClass/a.png", "x"),
            ("VOC2012/ImageSets/Segmentation/val.txt", "a.jpg a.png\n"),
        ):
            add(archive, name, text.encode())
    with pytest.raises(ValueError, match="a picture and its labels on each line"):
        data_set_source(tmp_path / "voc.tar")


# -- archives --


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", *, link: str = "", hard: bool = False) -> None:
    member = tarfile.TarInfo(name)
    if link:
        member.type, member.linkname = (tarfile.LNKTYPE if hard else tarfile.SYMTYPE), link
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def test_hard_links_are_files(tmp_path: Path) -> None:
    """``tar`` stores a file that has two names once."""
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"picture")
    (folder / "b.jpg").hardlink_to(folder / "a.jpg")
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(folder, "set")
    with tarfile.open(tmp_path / "set.tar") as archive:
        assert sum(member.islnk() for member in archive) == 1
    with Archive(tmp_path / "set.tar") as tree:
        assert tree.names("set") == ["a.jpg", "b.jpg"]
        assert tree.read("set/a.jpg") == tree.read("set/b.jpg")
        assert tree.stat("set/b.jpg")[0] == 7


def test_a_hard_link_keeps_what_it_led_to(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        add(archive, "a", b"old")
        add(archive, "b", link="a", hard=True)
        add(archive, "a", b"newer")
        add(archive, "c", link="d", hard=True)  # to what comes after it
        add(archive, "d", b"late")
    with Archive(tmp_path / "set.tar") as tree:
        assert [tree.read(name)[0] for name in "abcd"] == [b"newer", b"old", b"late", b"late"]


def test_symbolic_links_inside_an_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        add(archive, "VOC/JPEGImages", link="../pictures/all")
        add(archive, "pictures/all/a.jpg", b"a")
        add(archive, "pictures/all/b.jpg", link="a.jpg")
        add(archive, "pictures/all/c.jpg", link="/elsewhere/c.jpg")
        add(archive, "pictures/all/d.jpg", link="d.jpg")
        add(archive, "VOC/round", link="round/and")
    with open_tree(tmp_path / "set.tar", "JPEGImages") as tree:
        assert tree.root.endswith("set.tar:VOC")
        assert tree.names("JPEGImages") == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
        assert tree.read("JPEGImages/b.jpg")[0] == b"a"
        assert tree.has("JPEGImages") and tree.has("JPEGImages/a.jpg") and not tree.has("JPEGImages/c.jpg")
        with pytest.raises(PictureError, match=r"no such file in this archive; a link leads to elsewhere/c\.jpg$"):
            tree.read("JPEGImages/c.jpg")
        with pytest.raises(PictureError, match="no such file"):
            tree.stat("JPEGImages/e.jpg")
        for circle in ("JPEGImages/d.jpg", "round"):
            with pytest.raises(PictureError, match="no such file"):
                tree.stat(circle)


@pytest.mark.parametrize("folder", [".data", "set.", "..", "./.data", "a/.data", "...", "data"])
def test_folders_with_dots(tmp_path: Path, folder: str) -> None:
    folder = {"..": ".a."}.get(folder, folder)
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        add(archive, f"{folder}/a.jpg", b"a")
    with Archive(tmp_path / "set.tar") as tree:
        assert tree.names(folder) == tree.names(f"{folder}/") == ["a.jpg"]
        assert tree.names("") == tree.names(".") == [folder.removeprefix("./").split("/")[0]]
        assert tree.has(f"{folder}/a.jpg") and tree.read(f"{folder}/a.jpg")[0] == b"a"


@pytest.mark.parametrize("top", [".data", "set.", "VOC2012."])
def test_a_data_set_below_a_folder_with_dots(tmp_path: Path, top: str) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        add(archive, f"{top}/images/a.jpg", b"a")
        add(archive, f"{top}/labels/a.png", b"a")
    with data_set_source(tmp_path / "set.tar", data_set("folder").with_classes(("x", "y"))) as source:
        assert [item.name for item in source.items] == ["a"]
        assert source.items[0].picture[source.prefix :] == "a.jpg"


# -- labels of another suffix --


def pictures(root: Path, *labels: str) -> Path:
    """Two pictures, ``a.jpg`` and ``b.jpg``, and label pictures with the suffixes given."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for name in "ab":
        Image.new("RGB", (30, 20), (9, 90, 200)).save(root / "images" / f"{name}.jpg")
        for suffix in labels:
            Image.new("L", (30, 20), 1).save(root / "labels" / f"{name}{suffix}")
    (root / "classes.txt").write_text("background\nthing\n")
    return root


FOLDER = data_set("folder").with_classes(("background", "thing"))


@pytest.mark.parametrize(
    ("suffixes", "said"),
    [
        (("_mask.png",), r"\(as a\.png\) in this folder; there is a_mask\.png: give --label-suffix _mask\.png$"),
        ((".bmp",), r"give --label-suffix \.bmp$"),
        (("-seg.tif", "-vis.png"), r"there are a-seg\.tif, a-vis\.png: give --label-suffix -seg\.tif or -vis\.png$"),
        ((".jpg",), "there is a.jpg, but JPEG changes labels: they have to be in a lossless format"),
    ],
)
def test_labels_of_another_suffix_are_named(tmp_path: Path, suffixes: tuple[str, ...], said: str) -> None:
    root = pictures(tmp_path / "set", *suffixes)
    with pytest.raises(ValueError, match=said):
        data_set_source(root, FOLDER)
    with pytest.raises(ValueError, match=said):
        picture_source(root / "images", FOLDER, labels=root / "labels")
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(root, "set")
    with pytest.raises(ValueError, match=said):
        data_set_source(tmp_path / "set.tar", FOLDER)


def test_labels_of_another_suffix_are_taken(tmp_path: Path) -> None:
    root = pictures(tmp_path, "_mask.png", "_vis.png")
    with data_set_source(root, with_label_suffix(FOLDER, "_mask.png")) as source:
        assert [item.labels for item in source.items] == ["labels/a_mask.png", "labels/b_mask.png"]
    args = ["oracle", "--dataset", "folder", "--root", str(root), "--canvas", "32", "48", "--quiet"]
    assert "b_mask" not in CliRunner().invoke(main, args).output
    done = CliRunner().invoke(main, [*args, "--label-suffix", "_mask.png"])
    assert done.exit_code == 0, done.output


def test_other_pictures_names_are_no_suffix(tmp_path: Path) -> None:
    """``a1.png`` belongs to another picture, and some labels that lack are failures, as ever."""
    root = pictures(tmp_path / "other")
    Image.new("L", (30, 20), 1).save(root / "labels" / "a1.png")
    with data_set_source(root, FOLDER) as source:
        assert [name for name, _ in source.missing] == ["a", "b"]
    root = pictures(tmp_path / "one")
    Image.new("L", (30, 20), 1).save(root / "labels" / "a.png")
    Image.new("L", (30, 20), 1).save(root / "labels" / "b_mask.png")
    with data_set_source(root, FOLDER) as source:
        assert [name for name, _ in source.missing] == ["b"]


def test_postprocess_and_oracle_say_it_once(tmp_path: Path) -> None:
    import numpy as np

    root = pictures(tmp_path, "_mask.png")
    (tmp_path / "dumps").mkdir()
    (tmp_path / "val.txt").write_text("a\nb\n")
    for name in "ab":
        np.ones((20, 30), np.uint8).tofile(tmp_path / f"dumps/{name}_0.bin")
    at = ["--dataset", "folder", "--root", str(root), "--split", str(tmp_path / "val.txt")]
    size = ["--net-input-width", "30", "--net-input-height", "20", "--result-file", str(tmp_path / "r.txt")]
    score = ["postprocess", "--bin-data-path", str(tmp_path / "dumps"), *size, *at]
    for arguments in (score, ["oracle", *at]):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 2 and done.output.count("give --label-suffix _mask.png") == 1, done.output
    done = CliRunner().invoke(main, [*score, "--label-suffix", "_mask.png"])
    assert done.exit_code == 0 and "100.0" in done.output, done.output


@pytest.mark.parametrize(
    ("name", "suffix", "said"),
    [
        ("voc", "", "must be the end of a file's name"),
        ("voc", "mask", "must be the end of a file's name"),
        ("voc", "/x.png", "must be the end of a file's name"),
        ("cityscapes", "_gtFine_labelTrainIds.png", "labels of --dataset cityscapes-train-ids, which mean something"),
        ("cityscapes-train-ids", "_gtFine_labelIds.png", "labels of --dataset cityscapes, which mean something else"),
    ],
)
def test_suffixes_that_cannot_be_taken(name: str, suffix: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        with_label_suffix(data_set(name), suffix)
    done = CliRunner().invoke(main, ["oracle", "--ann-dir", ".", "--dataset", name, f"--label-suffix={suffix}"])
    assert done.exit_code == 2 and "Traceback" not in done.output


def test_voc_with_a_suffix() -> None:
    assert with_label_suffix(VOC, "_x.png").classes == VOC.classes
