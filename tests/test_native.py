"""The kernels without Python in between: every instruction set this machine can run, or can be made to run.

Built here from the sources: optimized, under sanitizers, with AVX-512 emulated by SIMDe, and for AArch64 under qemu.
What a machine lacks is skipped with the Debian package that has it; with PSPFAST_REQUIRE_ALL_TOOLS=1 it fails.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
IS_X86 = platform.machine() in ("x86_64", "AMD64")
CANVAS = 500


def missing(what: str) -> NoReturn:
    if os.environ.get("PSPFAST_REQUIRE_ALL_TOOLS") == "1":
        pytest.fail(f"{what}, and PSPFAST_REQUIRE_ALL_TOOLS=1")
    pytest.skip(what)


def tool(name: str, package: str) -> str:
    return shutil.which(name) or missing(f"no {name}: Debian package {package}")


def call(*command: str | Path, stdin: bytes = b"") -> bytes:
    done = subprocess.run([str(part) for part in command], input=stdin, capture_output=True, check=False, cwd=ROOT)
    text = b"" if done.returncode == 0 else done.stderr + done.stdout[-4000:]
    assert done.returncode == 0, f"{command}: exit status {done.returncode}\n{text.decode(errors='replace')}"
    return done.stdout


@dataclass(frozen=True)
class Driver:
    """A built letterbox_driver, the command that runs it, and the folder with its objects."""

    command: tuple[str | Path, ...]
    folder: Path

    def matrix(self) -> dict[str, str]:
        """Hash of all outputs by ISA; the driver itself compares them byte by byte."""
        output = call(*self.command, "matrix").decode()
        found = re.findall(r"^ISA (\w+) ([0-9a-f]{16}) (\d+)$", output, re.MULTILINE)
        assert len(found) == len(output.splitlines()), output
        assert len({cases for _, _, cases in found}) == 1
        assert int(found[0][2]) > 1000
        return {isa: hash_ for isa, hash_, _ in found}


def cmake(folder: Path, preset: str, *options: str) -> Path:
    tool("g++", "g++")
    program = tool("cmake", "cmake")
    call(program, "--preset", preset, "-B", folder, *options)
    call(program, "--build", folder, "--target", "letterbox_driver", "--parallel", "2")
    return folder / "letterbox_driver"


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    folder = tmp_path_factory.mktemp("release")
    return Driver((cmake(folder, "release"),), folder)


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    folder = tmp_path_factory.mktemp("sanitizers")
    return Driver((cmake(folder, "sanitizers"),), folder)


@pytest.fixture(scope="session")
def aarch64(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Driver:
    if platform.machine() in ("aarch64", "arm64"):
        native: Driver = request.getfixturevalue("release")
        return native
    compiler = tool("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu")
    emulator = tool("qemu-aarch64", "qemu-user")
    folder = tmp_path_factory.mktemp("aarch64")
    driver = cmake(
        folder,
        "release",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_CXX_COMPILER={compiler}",
        "-DCMAKE_EXE_LINKER_FLAGS=-static",
    )
    return Driver((emulator, driver), folder)


@pytest.fixture(scope="session")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    """AVX-512 as portable code, under AddressSanitizer. Not with CMake: no -mavx512* may reach the compiler here."""
    if not IS_X86:
        pytest.skip("the AVX-512 kernels are built for x86-64 only")
    compiler = tool("g++", "g++")
    probe = b"#if !__has_include(<simde/x86/avx512.h>)\n#error none\n#endif\n"
    if subprocess.run([compiler, "-E", "-xc++", "-"], input=probe, capture_output=True, check=False).returncode != 0:
        missing("no SIMDe headers: Debian package libsimde-dev")

    folder = tmp_path_factory.mktemp("emulated")
    flags = ["-std=c++17", "-O2", "-ffp-contract=off", "-fsanitize=address", "-Icsrc", "-DPSPFAST_EMULATE_AVX512"]
    own_flags = {"avx2": ["-mavx2", "-mf16c"], "avx512": ["-isystem", "tests/native/simde", "-Wno-psabi"]}
    sources = [path for path in ROOT.glob("csrc/**/*.cpp") if path.stem != "neon"]
    sources.append(ROOT / "tests/native/letterbox_driver.cpp")

    def compiled(number: int, source: Path) -> Path:
        target = folder / f"{number}_{source.stem}.o"
        call(compiler, *flags, *own_flags.get(source.stem, []), "-c", source, "-o", target)
        return target

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, range(len(sources)), sources))
    call(compiler, "-fsanitize=address", *objects, "-o", folder / "letterbox_driver")
    return Driver((folder / "letterbox_driver",), folder)


# ---- made-up pictures ----


def test_every_instruction_set_writes_the_scalar_bytes(release: Driver) -> None:
    hashes = release.matrix()
    assert len(hashes) > 1, "nothing but scalar was tested"
    assert len(set(hashes.values())) == 1


def test_nothing_undefined_and_nothing_out_of_bounds(sanitized: Driver, release: Driver) -> None:
    assert sanitized.matrix() == release.matrix()


def test_emulated_avx512_writes_the_scalar_bytes(emulated: Driver, release: Driver) -> None:
    hashes = emulated.matrix()
    assert "avx512" in hashes
    assert set(hashes.values()) == {release.matrix()["scalar"]}


def test_aarch64_writes_the_bytes_of_x86(aarch64: Driver, release: Driver) -> None:
    hashes = aarch64.matrix()
    assert hashes.keys() == {"scalar", "neon"}
    assert set(hashes.values()) == {release.matrix()["scalar"]}


def test_half_from_float_is_the_converter_of_the_cpu_for_all_floats(release: Driver) -> None:
    parts = 2
    with ThreadPoolExecutor(parts) as pool:
        list(pool.map(lambda part: call(*release.command, "halves", str(part), str(parts)), range(parts)))


# ---- real pictures ----


def job(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    """The guide's preprocessing: statistics rounded to half, letterbox into 500x500, RGB, float16."""
    height, width = picture.shape[:2]
    ratio = min(CANVAS / width, CANVAS / height)
    resized_height, resized_width = max(int(height * ratio), 1), max(int(width * ratio), 1)
    top, left = (CANVAS - resized_height) // 2, (CANVAS - resized_width) // 2
    mean = np.array([123.675, 116.28, 103.53], np.float16).astype(np.float64)
    inv_std = 1 / np.array([58.395, 57.12, 57.375], np.float16).astype(np.float64)
    geometry = struct.pack("<8i", height, width, CANVAS, CANVAS, resized_height, resized_width, top, left)
    return geometry + struct.pack("<6df3i", *mean.tolist(), *inv_std.tolist(), 0.0, 1, 0, 0) + picture.tobytes()


@pytest.fixture(scope="session")
def voc(shared_data: Path) -> tuple[list[str], bytes]:
    """The golden sums of the VOC pictures, and one stream of jobs in the same order."""
    lines = [line.split() for line in (shared_data / "golden/bins.sha256").read_text().splitlines()]
    jobs = bytearray()
    for _, name in lines:
        path = shared_data / "voc/VOC2012/JPEGImages" / Path(name).with_suffix(".jpg")
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        assert picture is not None, path
        jobs += job(picture.astype(np.uint8, copy=False))
    assert len(lines) == 73
    return [sha for sha, _ in lines], bytes(jobs)


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512", "neon"])
def test_voc_pictures_give_the_published_bins(
    isa: str, voc: tuple[list[str], bytes], request: pytest.FixtureRequest
) -> None:
    driver: Driver = request.getfixturevalue({"neon": "aarch64", "avx512": "emulated"}.get(isa, "release"))
    if isa == "avx2" and isa not in driver.matrix():
        pytest.skip("this CPU has no AVX2")
    golden, jobs = voc
    bins = call(*driver.command, "pictures", isa, stdin=jobs)
    size = 3 * CANVAS * CANVAS * 2
    assert len(bins) == size * len(golden)
    assert [hashlib.sha256(bins[i * size : (i + 1) * size]).hexdigest() for i in range(len(golden))] == golden


@pytest.mark.parametrize(
    "arguments", [[], ["pictures"], ["pictures", "sse9"], ["matrix", "more"], ["halves", "2", "2"]]
)
def test_the_driver_refuses_what_it_does_not_know(release: Driver, arguments: list[str]) -> None:
    command = [*map(str, release.command), *arguments]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 2


# ---- objects ----


@pytest.mark.parametrize("isa", ["avx2", "avx512", "neon"])
def test_objects_share_nothing_but_their_table(isa: str, request: pytest.FixtureRequest) -> None:
    """A weak symbol compiled for AVX-512 may be the copy the linker keeps for everyone: illegal elsewhere."""
    if isa != "neon" and not IS_X86:
        pytest.skip("x86-64 only")
    driver: Driver = request.getfixturevalue("aarch64" if isa == "neon" else "release")
    prefix = "aarch64-linux-gnu-" if isa == "neon" and IS_X86 else ""
    nm = tool(f"{prefix}nm", "binutils")
    objects = sorted(driver.folder.glob(f"**/{isa}.cpp.o"))
    sources = sorted(ROOT.glob(f"csrc/**/{isa}.cpp"))
    assert len(objects) == len(sources) > 0

    table = re.compile(rf"_ZN7pspfast\d+\w+_{isa}E")
    wanted = re.compile(r"_ZN7pspfast\d+\w+_scalarE|mem(cpy|move|set|cmp)|_GLOBAL_OFFSET_TABLE_")
    for path in objects:
        symbols = [line.split()[:2] for line in call(nm, "--format=posix", path).decode().splitlines()]
        for name, kind in symbols:
            assert kind not in "WwVvu", f"{path.parent.name}/{path.name}: weak {name}"
            if kind == "U":
                assert wanted.fullmatch(name), f"{path.parent.name}/{path.name} needs {name}"
            elif kind.isupper():
                assert table.fullmatch(name), f"{path.parent.name}/{path.name} shows {name}"
        assert any(table.fullmatch(name) for name, _ in symbols)
