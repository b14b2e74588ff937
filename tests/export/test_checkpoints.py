"""Checkpoints of every kind that people have, and files that are none."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import random
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pspfast.export import checkpoints, known
from pspfast.export.checkpoints import Checkpoint, CheckpointError, load_checkpoint
from pspfast.export.download import DownloadError

torch = pytest.importorskip("torch", reason="torch is not installed")

if TYPE_CHECKING:
    from collections.abc import Callable

    Save = Callable[..., Path]

WEIGHTS = {
    "backbone.stem.0.weight": torch.arange(864, dtype=torch.float32).reshape(32, 3, 3, 3) / 7,
    "backbone.stem.1.num_batches_tracked": torch.tensor(20_000),
    "decode_head.conv_seg.bias": torch.tensor([0.5, -1.0]),
}
META_0X = {
    "mmseg_version": "0.5.0+8e5b5c5",
    "config": "norm_cfg = dict(type='SyncBN')\nwork_dir = './work_dirs/pspnet_r50-d8_512x512_20k_voc12aug'\n",
    "CLASSES": ("background", "aeroplane"),
    "PALETTE": [[0, 0, 0], [128, 0, 0]],
}
META_1X = {
    "cfg": "default_scope = 'mmseg'\nwork_dir = './elsewhere'\n",
    "experiment_name": "pspnet_r50-d8_4xb4-20k_voc12aug-512x512_20230102_030405",
    "dataset_meta": {"classes": ("background", "aeroplane"), "palette": [[0, 0, 0], [128, 0, 0]], "label_map": None},
    "iter": 20_000,
}
FORMATS = [pytest.param({}, id="zip"), pytest.param({"_use_new_zipfile_serialization": False}, id="legacy")]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def run(content: Any, name: str = "x.pth", **options: Any) -> Path:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path, **options)
        return path

    return run


def load(path: Path, **options: Any) -> Checkpoint:
    return load_checkpoint(str(path), **options)


def refusal(path: Path | str, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(str(path), **options)
    assert caught.value.filename == str(path)
    assert str(caught.value) == f"{path}: {caught.value.strerror}"
    assert "\n" not in str(caught.value)
    return str(caught.value.strerror)


def assert_weights(checkpoint: Checkpoint) -> None:
    assert list(checkpoint.state_dict) == list(WEIGHTS)
    for key, value in WEIGHTS.items():
        assert checkpoint.state_dict[key].dtype == value.dtype
        assert torch.equal(checkpoint.state_dict[key], value)


# --- what is accepted -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", FORMATS)
@pytest.mark.parametrize(
    ("meta", "config"),
    [
        (META_0X, "pspnet_r50-d8_512x512_20k_voc12aug"),
        (META_1X, "pspnet_r50-d8_4xb4-20k_voc12aug-512x512"),
    ],
)
def test_openmmlab(save: Save, meta: dict[str, Any], config: str, options: dict[str, Any]) -> None:
    path = save({"meta": meta, "state_dict": OrderedDict(WEIGHTS), "optimizer": {"state": {}}}, **options)
    checkpoint = load(path)
    assert_weights(checkpoint)
    assert (checkpoint.path, checkpoint.source) == (str(path), str(path))
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert checkpoint.classes == ("background", "aeroplane")
    assert checkpoint.palette == ((0, 0, 0), (128, 0, 0))
    assert checkpoint.config_name == config
    assert checkpoint.meta == meta


@pytest.mark.parametrize("options", FORMATS)
def test_plain_state_dict(save: Save, options: dict[str, Any]) -> None:
    checkpoint = load(save(OrderedDict(WEIGHTS), **options))
    assert_weights(checkpoint)
    assert (checkpoint.classes, checkpoint.palette, checkpoint.config_name, checkpoint.meta) == (None, None, None, {})


@pytest.mark.parametrize("wrapper", ["model", "model_state_dict"])
def test_other_wrappers(save: Save, wrapper: str) -> None:
    assert_weights(load(save({"epoch": 3, wrapper: WEIGHTS})))


def test_state_dict_of_a_module(save: Save) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    checkpoint = load(save(module.state_dict()))
    module.load_state_dict(checkpoint.state_dict)
    parameters = dict(module.named_parameters())  # with gradients; a state dict has none
    assert not any(tensor.requires_grad for tensor in load(save(parameters)).state_dict.values())


def test_prefix_stays(save: Save) -> None:
    keys = {f"module.{key}": value for key, value in WEIGHTS.items()}
    assert list(load(save({"state_dict": keys})).state_dict) == list(keys)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_averaged_weights_of_mmcv(save: Save, prefix: str) -> None:
    """Copies under ``ema_`` names go; a weight that only looks like one stays."""
    keys = {prefix + key: value for key, value in WEIGHTS.items()}
    copies = {f"{prefix}ema_{key.replace('.', '_')}": value + 1 for key, value in WEIGHTS.items()}
    own = {f"{prefix}ema_net.weight": torch.ones(2)}
    assert list(load(save({"state_dict": keys | copies | own})).state_dict) == [*keys, *own]


def test_averaged_weights_of_mmengine(save: Save) -> None:
    """MMEngine saves the averaged weights as ``state_dict``."""
    other = {"module." + key: value + 1 for key, value in WEIGHTS.items()} | {"steps": torch.tensor(3)}
    assert_weights(load(save({"state_dict": WEIGHTS, "ema_state_dict": other, "meta": META_1X})))


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64"])
def test_floats(save: Save, kind: str) -> None:
    weights = {
        "a.weight": torch.ones(2, dtype=getattr(torch, kind)),
        "a.table": torch.arange(3),
        "a.on": torch.ones(1) > 0,
    }
    loaded = load(save({"state_dict": weights})).state_dict
    assert all(torch.equal(loaded[key], value) for key, value in weights.items())


def test_old_tar_format_asks_for_trust(save: Save) -> None:
    """What torch wrote before 2017 cannot be loaded as weights only."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            data = pickle.dumps({}, protocol=2)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    assert "--trust-checkpoint" in refusal(save(buffer.getvalue()))


def test_nothing_is_printed(save: Save, capfd: pytest.CaptureFixture[str]) -> None:
    load(save({"state_dict": WEIGHTS}))
    load(save({"state_dict": WEIGHTS}, _use_new_zipfile_serialization=False))
    assert capfd.readouterr() == ("", "")


def test_mapped_weights_do_not_write_to_the_file(save: Save) -> None:
    path = save({"state_dict": WEIGHTS})
    before = path.read_bytes()
    load(path).state_dict["decode_head.conv_seg.bias"].zero_()
    assert path.read_bytes() == before


# --- classes, palette, config -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meta", "classes", "palette"),
    [
        (None, None, None),
        ("text", None, None),
        ({"CLASSES": None, "PALETTE": None}, None, None),
        ({"CLASSES": ["a", "b"]}, ("a", "b"), None),
        ({"CLASSES": "ab", "PALETTE": "ab"}, None, None),
        ({"CLASSES": ("a", 3), "PALETTE": [[1, 2, 3]]}, None, ((1, 2, 3),)),
        ({"CLASSES": ("a", "b"), "PALETTE": [[1, 2, 3]]}, ("a", "b"), None),
        ({"CLASSES": ("a",), "PALETTE": [[1, 2, 256]]}, ("a",), None),
        ({"CLASSES": ("a",), "PALETTE": [[1, 2]]}, ("a",), None),
        ({"CLASSES": (), "PALETTE": []}, None, None),
        ({"dataset_meta": {"CLASSES": ("a",), "PALETTE": ((1, 2, 3),)}}, ("a",), ((1, 2, 3),)),
        ({"CLASSES": ("old",), "dataset_meta": {"classes": ("new",)}}, ("new",), None),
        ({"dataset_meta": None}, None, None),
    ],
)
def test_classes_and_palette(save: Save, meta: Any, classes: Any, palette: Any) -> None:
    checkpoint = load(save({"state_dict": WEIGHTS, "meta": meta}))
    assert (checkpoint.classes, checkpoint.palette) == (classes, palette)


@pytest.mark.parametrize(
    ("meta", "name"),
    [
        ({"exp_name": "pspnet_r50.py", "config": "work_dir = 'x/other'"}, "pspnet_r50"),
        ({"experiment_name": "pspnet_20230102_030405"}, "pspnet"),
        ({"config": "/home/a/configs/fcn_r18.py\nmodel = dict()\n"}, "fcn_r18"),
        ({"cfg": 'model = dict()\nwork_dir = "./work_dirs/mine/"\n'}, "mine"),
        ({"config": "model = dict(work_dir='no')\n"}, None),
        ({"config": None, "exp_name": ""}, None),
        ({}, None),
    ],
)
def test_config_name(save: Save, meta: dict[str, Any], name: str | None) -> None:
    assert load(save({"state_dict": WEIGHTS, "meta": meta})).config_name == name


# --- what needs trust -------------------------------------------------------------------------------------------------


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


class Custom:
    """Stands for the classes that trainings keep in their checkpoints."""


@pytest.mark.parametrize("options", FORMATS)
def test_code_does_not_run_without_trust(save: Save, tmp_path: Path, options: dict[str, Any]) -> None:
    trap = tmp_path / "ran"
    path = save({"state_dict": WEIGHTS, "extra": Malicious(trap)}, **options)
    reason = refusal(path)
    assert "posix.mkdir" in reason
    assert "--trust-checkpoint" in reason
    assert not trap.exists()
    assert_weights(load(path, trust=True))
    assert trap.exists()


@pytest.mark.parametrize("trust", [False, True])
def test_code_of_what_is_no_checkpoint_never_runs(save: Save, tmp_path: Path, trust: bool) -> None:
    trap = tmp_path / "ran"
    assert "is a pickle, but not one of torch.save" in refusal(save(pickle.dumps(Malicious(trap))), trust=trust)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(Malicious(trap)))
        archive.writestr("x/constants.pkl", b"")
    assert "TorchScript" in refusal(save(buffer.getvalue()), trust=trust)
    assert not trap.exists()


@pytest.mark.parametrize("options", FORMATS)
def test_code_does_not_run_if_the_hash_is_wrong(save: Save, tmp_path: Path, options: dict[str, Any]) -> None:
    trap = tmp_path / "ran"
    path = save({"state_dict": WEIGHTS, "extra": Malicious(trap)}, **options)
    assert "expected 00000000" in refusal(path, trust=True, sha256="00000000")
    assert not trap.exists()


@pytest.mark.parametrize("options", FORMATS)
@pytest.mark.parametrize(
    ("extra", "wanted"),
    [
        (np.arange(3), "multiarray._reconstruct"),
        (np.float64(76.78), "multiarray.scalar"),
        (Custom(), "test_checkpoints.Custom"),
        (torch.nn.Conv2d(1, 1, 1), "torch.nn.modules.conv.Conv2d"),
    ],
)
def test_more_than_weights(save: Save, extra: Any, wanted: str, options: dict[str, Any]) -> None:
    path = save({"state_dict": WEIGHTS, "meta": META_0X | {"more": extra}}, **options)
    assert wanted in refusal(path)
    checkpoint = load(path, trust=True)
    assert_weights(checkpoint)
    assert checkpoint.classes == META_0X["CLASSES"]
    assert isinstance(checkpoint.meta["more"], type(extra))


def test_numpy_palette_with_trust(save: Save) -> None:
    meta = {"CLASSES": ("a",), "PALETTE": np.array([[1, 2, 3]], np.uint8)}
    checkpoint = load(save({"state_dict": WEIGHTS, "meta": meta}), trust=True)
    assert checkpoint.palette == ((1, 2, 3),)
    assert checkpoint.palette is not None
    assert type(checkpoint.palette[0][0]) is int


def test_training_checkpoint_of_mmengine(save: Save) -> None:
    logging = pytest.importorskip("mmengine.logging", reason="mmengine is not installed")
    hub = {"log_scalars": {"train/loss": logging.HistoryBuffer([0.5], [1])}, "runtime_info": {"iter": 1}}
    path = save({"meta": META_1X, "state_dict": WEIGHTS, "message_hub": hub, "param_schedulers": []})
    assert "mmengine.logging.history_buffer.HistoryBuffer" in refusal(path)
    assert_weights(load(path, trust=True))


def test_trusted_but_not_installed(save: Save) -> None:
    path = save({"state_dict": WEIGHTS, "extra": Custom()}, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    name = Custom.__module__.encode()
    for other, advice in ((b"mmengine" + b"_" * (len(name) - 8), False), (b"mmcv." + b"_" * (len(name) - 5), True)):
        path.write_bytes(data.replace(b"c" + name + b"\n", b"c" + other + b"\n"))
        reason = refusal(path, trust=True)
        assert "cannot be imported" in reason
        assert ("pspfast[mmseg]" in reason) == advice


class Breaking:
    def __reduce__(self) -> Any:
        return (divmod, (1, 0))


def test_trusted_but_its_code_fails(save: Save) -> None:
    reason = refusal(save({"state_dict": WEIGHTS, "extra": Breaking()}), trust=True)
    assert "trusted, but loading it fails" in reason
    assert "zero" in reason


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"just some words\nand more\n", "is a text file"),
        ("ein Text mit Umläuten: äöü\n".encode() * 300, "is a text file"),
        (b"<!DOCTYPE html><html></html>", "is a web page"),
        (b"\xef\xbb\xbf\n <?xml version='1.0'?><Error/>", "is a web page or XML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "pointer of Git LFS"),
        (struct.pack("<Q", 14) + b'{"a":{"x":[]}}' + bytes(8), "is a safetensors file"),
        (gzip.compress(b"x" * 100, mtime=0), "compressed with gzip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file"),
        (b"\x93NUMPY\x01\x00" + bytes(100), "is not a checkpoint of PyTorch .it begins with the bytes 93 4e"),
        (random.Random(1).randbytes(5000), "is not a checkpoint of PyTorch"),
        (pickle.dumps({"state_dict": {}}), "is a pickle, but not one of torch.save"),
        (b"\x80\x02}q\x00.", "is a pickle, but not one of torch.save"),
        (b"PK\x03\x04" + bytes(100), "is a damaged or cut off checkpoint"),
    ],
)
@pytest.mark.parametrize("trust", [False, True])
def test_files_that_are_none(save: Save, content: bytes, reason: str, trust: bool) -> None:
    assert re.search(reason, refusal(save(content), trust=trust))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_torchscript(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.jit.script(torch.nn.Conv2d(1, 1, 1)).save(str(path))
    assert "is a TorchScript program" in refusal(path)
    assert "is a TorchScript program" in refusal(path, trust=True)


def test_archives_of_others(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    assert "is an archive of NumPy arrays" in refusal(tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("x.pth", b"")
    assert "is a zip archive without" in refusal(tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "x.pt2", "w") as archive:
        archive.writestr("x/archive_format", b"pt2")
    assert "is a program of torch.export" in refusal(tmp_path / "x.pt2")


def test_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    graph = onnx.helper.make_graph([], "g", [], [])
    for name, options in (("a", {"producer_name": "p"}), ("b", {})):
        path = tmp_path / f"{name}.onnx"
        onnx.save(onnx.helper.make_model(graph, **options), str(path))
        assert "is an ONNX model" in refusal(path)


def test_places(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refusal(tmp_path / "pipe")
    path = tmp_path / "locked.pth"
    path.write_bytes(b"x")
    path.chmod(0)
    if os.geteuid() != 0:
        assert "Permission denied" in refusal(path)
    assert "Not a directory" in refusal(path / "x.pth")
    assert "null" in refusal("a\0b")


@pytest.mark.parametrize("options", FORMATS)
def test_cut_anywhere(save: Save, options: dict[str, Any]) -> None:
    """Also with trust, where it would be no use."""
    data = save({"state_dict": {"a.weight": torch.ones(40)}, "meta": {"CLASSES": ("a", "b")}}, **options).read_bytes()
    lengths = range(1, len(data), 7 if options else 23)
    for length in [*lengths, len(data) - 1]:
        for trust in (False, True):
            assert re.match("is a damaged or cut off|is a pickle, but|is not a checkpoint|is a text file",
                            refusal(save(data[:length]), trust=trust)), length  # fmt: skip


def test_flipped_bits_of_an_archive(save: Save) -> None:
    """Torch itself would not notice those in the values."""
    path = save({"state_dict": WEIGHTS})
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        starts = [(info.filename, info.header_offset) for info in archive.infolist() if "/data/" in info.filename]
        stored = archive.read(starts[0][0])
    at = data.index(stored) + 5
    path.write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
    torch.load(path)
    assert f"the record {starts[0][0]} is not what was written" in refusal(path)


def test_archive_without_checksums(save: Save) -> None:
    serialization = torch.serialization
    if not hasattr(serialization, "set_crc32_options"):
        pytest.skip("this torch always writes checksums")
    serialization.set_crc32_options(False)
    try:
        path = save({"state_dict": WEIGHTS})
    finally:
        serialization.set_crc32_options(True)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is not None
    assert_weights(load(path))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (torch.ones(3), "holds an object of type torch.Tensor, expected a dictionary"),
        ([1, 2], "holds an object of type builtins.list"),
        ({}, "holds no weights: it is empty"),
        ({"state_dict": {}}, "holds no weights: its 'state_dict' is empty"),
        ({"epoch": 3, "optimizer": {}}, "has no 'state_dict' and is none itself; its keys are 'epoch', 'optimizer'"),
        ({str(i): i for i in range(20)}, "its keys are '0', '1', '2', '3', '4', '5', '6', '7', ..."),
        ({3: torch.ones(1)}, "its keys are 3"),
        ({"state_dict": {"a": [1.0]}}, "its 'state_dict' has an object of type builtins.list under 'a'"),
        ({"state_dict": {3: torch.ones(1)}}, "under 3, expected a tensor"),
        ({"state_dict": {"a.weight": torch.ones(2, dtype=torch.int8)}}, r"a.weight is quantised \(int8\)"),
        ({"state_dict": {"a.zero": torch.ones(2, dtype=torch.uint8)}}, r"a.zero is quantised \(uint8\)"),
        ({"state_dict": {"a.weight": torch.ones(2, dtype=torch.int64)}}, "a.weight is of type int64; expected floats"),
        ({"state_dict": {"a.x": torch.ones(2, dtype=torch.complex64)}}, "a.x is of type complex64"),
        ({"state_dict": {"a.x": torch.ones(2, dtype=torch.float8_e4m3fn)}}, "a.x is of type float8_e4m3fn"),
        ({"state_dict": {"a.x": torch.ones(2, device="meta")}}, "has no plain values .*device meta"),
        ({"state_dict": {"a.x": torch.eye(2).to_sparse()}}, "has no plain values .*sparse"),
    ],
)
def test_contents_that_are_no_weights(save: Save, content: Any, reason: str) -> None:
    assert re.search(reason, refusal(save(content)))


@pytest.mark.filterwarnings("ignore:.*quantize.*:UserWarning", "ignore:.*Typed.*:UserWarning")
def test_quantised(save: Save) -> None:
    tensor = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    assert "a.weight is quantised (qint8)" in refusal(save({"state_dict": {"a.weight": tensor}}))


# --- names, URLs, hashes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("pspnet_r50-d8_512x512_20k_voc12", "did you mean pspnet_r50-d8_512x512_20k_voc12aug"),
        ("pspnet_r50-d8_4xb4-20k_voc12aug", "pspnet_r50-d8_4xb4-20k_voc12aug-512x512"),
        ("nowhere.pth", "(known are pspnet_r50-d8_512x512_20k_voc12aug, "),
        ("", "no such file"),
    ],
)
def test_unknown_names(typed: str, meant: str) -> None:
    reason = refusal(typed)
    assert reason.startswith("no such file, and not a known checkpoint")
    assert meant in reason
    assert all(name in reason for name in known.names())
    assert ("did you mean" in reason) == typed.startswith("pspnet")


def test_known_name(save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name and its alias; with its hash; a file of that name comes first, a folder does not."""
    published = save({"state_dict": WEIGHTS, "meta": {}}, "published.pth")
    md5 = hashlib.md5(published.read_bytes()).hexdigest()
    entry = known.KnownCheckpoint("net_20k", "net_4xb4-20k", published.as_uri(), 76.78, md5)
    monkeypatch.setattr(known, "KNOWN", (entry,))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net_20k").mkdir()
    for name in ("net_20k", "net_4xb4-20k"):
        checkpoint = load_checkpoint(name)
        assert_weights(checkpoint)
        assert (checkpoint.source, checkpoint.path) == (name, str(published))
        assert checkpoint.config_name == "net_4xb4-20k"
    with pytest.raises(DownloadError, match="expected 01234567"):
        load_checkpoint("net_20k", md5="01234567")
    own = save({"state_dict": {"own.weight": torch.ones(1)}}, "net_4xb4-20k")
    assert list(load_checkpoint(own.name).state_dict) == ["own.weight"]
    save({"state_dict": WEIGHTS, "meta": {"epoch": 1}}, "published.pth")
    with pytest.raises(DownloadError, match=f"expected {md5}"):
        load_checkpoint("net_20k")


def test_url(save: Save) -> None:
    path = save({"state_dict": WEIGHTS})
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    checkpoint = load_checkpoint(path.as_uri(), sha256=sha256[:12])
    assert_weights(checkpoint)
    assert (checkpoint.path, checkpoint.source, checkpoint.sha256) == (str(path), path.as_uri(), sha256)
    with pytest.raises(DownloadError, match="expected http, https or file"):
        load_checkpoint("s3://bucket/x.pth")


def test_hashes_of_a_path(save: Save) -> None:
    path = save({"state_dict": WEIGHTS})
    data = path.read_bytes()
    load(path, sha256=hashlib.sha256(data).hexdigest().upper(), md5=hashlib.md5(data).hexdigest())
    md5 = hashlib.md5(data).hexdigest()
    assert f"its md5 is {md5}, expected ffffffff..." in refusal(path, md5="ffffffff")
    with pytest.raises(ValueError, match="sha256 'nonsense' is not 64 hex digits"):
        load(path, sha256="nonsense")


def test_torch_is_not_imported_with_the_module() -> None:
    code = "import sys, pspfast.export.checkpoints; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_torch(save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    from pspfast.system.libraries import MissingExtra

    path = save({"state_dict": WEIGHTS})
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"pspfast\[export\]"):
        load(path)


def test_error_for_other_modules() -> None:
    """The models raise it, too."""
    error = checkpoints.CheckpointError("x.pth", "lacks backbone.stem.0.weight")
    assert isinstance(error, OSError)
    assert (error.filename, error.strerror) == ("x.pth", "lacks backbone.stem.0.weight")


def test_a_name_that_is_not_utf_8(save: Save, tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.pth")
    os.rename(save({"state_dict": WEIGHTS}), path)
    with pytest.raises(checkpoints.CheckpointError, match="not UTF-8"):
        load_checkpoint(path)
