# ruff: noqa: E501 - what programs print is as long as it is
"""Stand-ins for programs that we do not have: stricter about their arguments, and replaying what the real ones print.

Texts are written from the guide and from what is known of the tools (their sources, manuals and public logs).
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

__all__ = [
    "ATC_START", "ATC_STYLES", "ATC_SUCCESS", "NPU_SMI_310", "NPU_SMI_310P3", "NPU_SMI_910B", "NPU_SMI_A3", "calls",
    "environment", "fake_ais_bench", "fake_atc", "fake_benchmark", "fake_npu_smi", "fake_trtexec", "program",
]  # fmt: skip

ATC_START = "ATC start working now, please wait for a moment.\n...\n"
ATC_SUCCESS = "ATC run success, welcome to the next use.\n"
ATC_FAILURE = "ATC run failed, Please check the detail log, Try 'atc --help' for more information\n"

# Until 7.x, 8.x, and since.
ATC_STYLES = {
    "until 7": ATC_FAILURE
    + textwrap.dedent(
        """\
        E19010: No parser is registered for Op [/decode_head/GridSample, optype [GridSample]].
                Solution: Check the version of the installation package and reinstall the package.
        """
    ),
    "8": ATC_FAILURE
    + textwrap.dedent(
        """\
        E10016: [PID: 4242] 2024-05-06-10:11:12.345.678 Opname [inputs] specified in [--input_shape] is not found in the model.
                Possible Cause: The operator does not exist in the model.
                Solution: Ensure that the operator exists in the model,
                and that its name is spelled right.
                TraceBack (most recent call last):
                E19999: Call InitGraphInfo failed
        """
    ),
    "newest": ATC_FAILURE
    + textwrap.dedent(
        """\
        [PID: 77] 2026-01-02-03:04:05.678.901 Invalid_Argument(E10001): Value [12] for parameter [--framework] is invalid.
                Possible Cause: The value is out of range.
                Solution: Try again with a valid argument.
        """
    ),
}

NPU_SMI_310 = """\
+------------------------------------------------------------------------------+
| npu-smi 21.0.2                       Version: 21.0.2                          |
+-------------------+-----------------+-----------------------------------------+
| NPU     Name      | Health          | Power(W)          Temp(C)               |
| Chip    Device    | Bus-Id          | AICore(%)         Memory-Usage(MB)      |
+===================+=================+=========================================+
| 112     310       | OK              | 15.8              42                    |
| 0       0         | 0000:07:00.0    | 0                 2703 / 8192           |
| 112     310       | OK              | 15.8              43                    |
| 1       1         | 0000:08:00.0    | 37                2621 / 8192           |
| 2       2         | 0000:09:00.0    | 0                 2621 / 8192           |
| 3       3         | NA              | 0                 2621 / 8192           |
+===================+=================+=========================================+
"""

NPU_SMI_310P3 = """\
+--------------------------------------------------------------------------------------------------------+
| npu-smi 23.0.rc1                                 Version: 23.0.rc1                                     |
+-------------------------------+-----------------+------------------------------------------------------+
| NPU     Name                  | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
| Chip    Device                | Bus-Id          | AICore(%)    Memory-Usage(MB)                        |
+===============================+=================+======================================================+
| 1       310P3                 | OK              | NA           42                0     / 0             |
| 0       0                     | 0000:82:00.0    | 0            1074 / 21534                            |
+===============================+=================+======================================================+
| 2       310P3                 | Warning         | 15.4         43                0     / 0             |
| 0       1                     | 0000:89:00.0    | 99           1070 / 21534                            |
+===============================+=================+======================================================+
+-------------------------------+-----------------+------------------------------------------------------+
| NPU     Chip                  | Process id      | Process name             | Process memory(MB)        |
+===============================+=================+======================================================+
| No running processes found in NPU 1                                                                    |
+===============================+=================+======================================================+
| 2       0                     | 4711            | python3                  | 512                       |
+===============================+=================+======================================================+
"""

NPU_SMI_910B = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 24.1.0                   Version: 24.1.0                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B3               | OK            | 93.5        36                0    / 0             |
| 0                         | 0000:C1:00.0  | 5           0    / 0          3363 / 65536         |
+===========================+===============+====================================================+
+---------------------------+---------------+----------------------------------------------------+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
| No running processes found in NPU 0                                                            |
+===========================+===============+====================================================+
"""

NPU_SMI_A3 = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 25.2.1                   Version: 25.2.1                                               |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip  Phy-ID              | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 2     Ascend910           | OK            | 165.3       36                0    / 0             |
| 0     4                   | 0000:9D:00.0  | 0           0    / 0          62449/ 65536         |
+------------------------------------------------------------------------------------------------+
| 2     Ascend910           | OK            | -           36                0    / 0             |
| 1     5                   | 0000:9F:00.0  | 0           0    / 0          2887 / 65536         |
+===========================+===============+====================================================+
"""

_HEAD = """\
#!{python} -IS
import json, os, sys, time
HERE = os.path.dirname(os.path.abspath(__file__))
FACTS = json.loads({facts!r})
def refuse(text):
    print("FAKE REFUSES:", text)
    sys.exit(99)
with open(os.path.join(HERE, "calls"), "a") as file:
    file.write(json.dumps([os.path.basename(__file__), *sys.argv[1:]]) + chr(10))
if sys.stdin.read(1):
    refuse("something on standard input")
"""


def program(folder: Path, name: str, body: str, **facts: Any) -> Path:
    """Write a program; ``FACTS`` are what it is told, ``refuse`` ends it over a call that is wrong."""
    path = folder / name
    path.write_text(_HEAD.format(python=sys.executable, facts=json.dumps(facts)) + textwrap.dedent(body))
    path.chmod(0o755)
    return path


def calls(folder: Path) -> list[list[str]]:
    """What the programs of a folder were called with."""
    path = folder / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def environment(folder: Path, **others: str) -> dict[str, str]:
    """An environment whose PATH is this folder alone."""
    return {"PATH": str(folder), "HOME": str(folder), "LANG": "C.UTF-8", **others}


def fake_atc(
    folder: Path,
    *,
    output: str = ATC_START + ATC_SUCCESS,
    status: int = 0,
    suffix: str | None = ".om",
    om: str = "an om",
    then: str = "",
) -> Path:
    """ATC: checks its flags, leaves files where it runs, prints, writes the .om, ends.

    Args:
        folder: to write it to.
        output: what it prints.
        status: its exit status.
        suffix: of the file that it makes; none is made without.
        om: what is in that.
        then: Python to run before it ends.
    """
    body = """
        import re
        KNOWN = set('''framework model output input_format input_shape soc_version input_fp16_nodes output_type out_nodes
            insert_op_conf dynamic_batch_size dynamic_image_size dynamic_dims precision_mode precision_mode_v2
            op_precision_mode op_select_implmode optypelist_for_implmode enable_small_channel fusion_switch_file log
            buffer_optimize disable_reuse_memory keep_dtype modify_mixlist display_model_info mode'''.split())
        flags = {}
        for word in sys.argv[1:]:
            found = re.fullmatch(r"--([a-z0-9_]+)=(.+)", word)
            if not found or found[1] not in KNOWN or found[1] in flags:
                refuse(word)
            flags[found[1]] = found[2]
        for name in ("framework", "model", "output", "soc_version"):
            if name not in flags:
                refuse("no --" + name)
        wanted = "1" if flags["model"].endswith(".air") else "5"
        if flags["framework"] != wanted or flags.get("log", "null") not in ("debug", "info", "warning", "error", "null"):
            refuse("a value")
        for name in ("model", "output"):
            if not os.path.isabs(flags[name]) or not re.fullmatch(r"[A-Za-z0-9_./-]+", flags[name]):
                refuse("--" + name)
        data = open(flags["model"], "rb").read()
        for part in flags.get("input_shape", "").split(";"):
            name, _, dims = part.rpartition(":")
            if part and (name != name.strip() or name.encode() not in data or not re.fullmatch(r"(-1|[1-9]\\d*)(,(-1|[1-9]\\d*))*", dims)):
                refuse(part)
        for name in flags.get("input_fp16_nodes", "").split(";"):
            if name.encode() not in data:
                refuse(name)
        if "-1" in flags.get("input_shape", "") and not any(name.startswith("dynamic_") for name in flags):
            refuse("-1 without gears")
        if "insert_op_conf" in flags and "aipp_op" not in open(flags["insert_op_conf"]).read():
            refuse("--insert_op_conf")
        if os.listdir():
            refuse("not run in a folder of its own")
        open("fusion_result.json", "w").write("[]")
        os.makedirs("kernel_meta")
        sys.stdout.write(FACTS["output"])
        sys.stdout.flush()
        if FACTS["suffix"] is not None:
            os.makedirs(os.path.dirname(flags["output"]), exist_ok=True)
            open(flags["output"] + FACTS["suffix"], "w").write(FACTS["om"])
        exec(FACTS["then"])
        sys.exit(FACTS["status"])
    """
    return program(folder, "atc", body, output=output, status=status, suffix=suffix, om=om, then=then)


def fake_npu_smi(folder: Path, table: str, board: str = "") -> Path:
    """npu-smi: ``info``, and ``info -t board -i ID -c CHIP``."""
    body = """
        if sys.argv[1:] == ["info"]:
            print(FACTS["table"], end="")
        elif sys.argv[1:4] == ["info", "-t", "board"] and sys.argv[4] == "-i" and sys.argv[6] == "-c" and FACTS["board"]:
            print(FACTS["board"], end="")
        else:
            refuse(sys.argv)
    """
    return program(folder, "npu-smi", body, table=table, board=board)


def fake_benchmark(folder: Path, *, lose: int = 0, write_perf: bool = True, status: int = 0, output: str = "") -> Path:
    """benchmark.<machine>: both of its modes. ``lose``: outputs that it does not write."""
    body = """
        pairs = dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:])
        if any(not word.startswith("-") or word.startswith("--") for word in sys.argv[1:]):
            refuse(sys.argv)
        device, batch = int(pairs["device_id"]), int(pairs["batch_size"])
        os.path.getsize(pairs["om_path"])
        print(FACTS["output"], end="")
        os.makedirs("result", exist_ok=True)
        if "round" in pairs:
            if list(pairs) != ["round", "om_path", "device_id", "batch_size"]:
                refuse(pairs)
            stem = os.path.basename(pairs["om_path"])[:-3]
            name = f"./result/PureInfer_perf_of_{stem}_in_device_{device}.txt"
            for number in range(int(pairs["round"])):
                print(f"[INFO] Dataset number: {number} finished cost 123.1ms")
            print(f"[INFO] PureInfer result saved in {name}")
            print("-----------------PureInfer Performance Summary------------------")
            print("[INFO] ave_throughputRate: 8.12674samples/s, ave_latency: 123.129ms")
            if FACTS["write_perf"]:
                open(name, "w").write("ave_throughputRate = 8.12674samples/s, ave_latency = 123.129ms\\n")
            sys.exit(FACTS["status"])
        if pairs["model_type"] != "vision" or pairs["useDvpp"] != "false" or pairs["output_binary"] != "true":
            refuse(pairs)
        folder = f"result/dumpOutput_device{device}"
        os.makedirs(folder, exist_ok=True)
        lines = open(pairs["input_text_path"]).read().splitlines()
        for number, line in enumerate(lines[: len(lines) - FACTS["lose"]]):
            index, path, width, height = line.split()
            if (int(index), width, height) != (number, pairs["input_width"], pairs["input_height"]):
                refuse(line)
            stem = os.path.basename(path).split(".")[0]
            open(f"{folder}/{stem}_1.bin", "wb").write(bytes(int(width) * int(height) * 4))
        if FACTS["write_perf"]:
            open(f"result/perf_vision_batchsize_{batch}_device_{device}.txt", "w").write(
                "[e2e] throughputRate: 7.85666, latency: 184430\\n"
                "[data read] throughputRate: 37.4296, moduleLatency: 26.7168\\n"
                "[preprocess] throughputRate: 28.1654, moduleLatency: 35.5045\\n"
                "[infer] throughputRate: 7.91227, Interface throughputRate: 8.19018, moduleLatency: 126.139\\n"
                "[post] throughputRate: 7.91221, moduleLatency: 126.387\\n"
            )
        sys.exit(FACTS["status"])
    """
    name = f"benchmark.{os.uname().machine}"
    return program(folder, name, body, lose=lose, write_perf=write_perf, status=status, output=output)


def fake_ais_bench(folder: Path, *, mode: str = "new") -> Path:
    """A ``python3`` that has ais_bench. ``mode``: "new" and "old" by where the summary is; else how it fails."""
    body = """
        mode = FACTS["mode"]
        if sys.argv[1:3] != ["-m", "ais_bench"]:
            refuse(sys.argv)
        if mode == "no module":
            print(f"{sys.executable}: No module named ais_bench", file=sys.stderr)
            sys.exit(1)
        if mode == "other package":
            print(f"{sys.executable}: No module named ais_bench.__main__; 'ais_bench' is a package and cannot be directly "
                  "executed", file=sys.stderr)
            sys.exit(1)
        words = sys.argv[3:]
        if len(words) % 2:
            refuse("a flag without a value")
        pairs = dict(zip(words[::2], words[1::2]))
        known = set('''--model --input --output --output_dirname --outfmt --device --batchsize --loop --warmup_count
            --pure_data_type'''.split())
        if set(pairs) - known or ("--output_dirname" in pairs and "--output" not in pairs):
            refuse(words)
        os.path.getsize(pairs["--model"])
        if mode == "device":
            print("[ERROR] acl open device 0 failed")
            sys.exit(1)
        if mode == "mismatch":
            print("[ERROR] arg0 tensorsize: 1500000 filesize: 750000 not match", flush=True)
            raise RuntimeError("not match")
        if mode == "nothing":
            sys.exit(0)
        folder = os.path.join(pairs["--output"], pairs["--output_dirname"])
        os.makedirs(folder)
        summary = {"throughput": 66.0, "NPU_compute_time": {"mean": 15.1, "count": 20}, "filesinfo": {}}
        if "--input" in pairs:
            for name in sorted(os.listdir(pairs["--input"])):
                open(os.path.join(folder, name.split(".")[0] + "_0.bin"), "wb").write(bytes(16))
        else:
            open(os.path.join(folder, "pure_infer_data_0.bin"), "wb").write(bytes(16))
        place = folder + "_summary.json" if mode == "new" else os.path.join(folder, "sumary.json")
        json.dump(summary, open(place, "w"))
        print("[INFO] -----------------Performance Summary------------------")
        print("[INFO] throughput 1000*batchsize.mean(1)/NPU_compute_time.mean(15.1): 66.2")
    """
    return program(folder, "python3", body, mode=mode)


def fake_trtexec(folder: Path, *, version: str = "8.6", mode: str = "passes") -> Path:
    """trtexec of "7.2", "8.6" or "11": knows its flags, fails a static network with shapes from 8 on."""
    body = """
        import re
        major = int(FACTS["version"].split(".")[0])
        tag = "" if major == 7 else {8: " [TensorRT v8601]", 11: " [TensorRT v110100]"}[major]
        line = f"TensorRT.trtexec{tag} # " + " ".join(["trtexec", *sys.argv[1:]])
        print("&&&& RUNNING", line)
        flags = ["--onnx", "--shapes", "--exportTimes"] + (["--fp16", "--explicitBatch"] if major < 11 else [])
        if sys.argv[1:] == ["--help"]:
            for flag in flags:
                print(f"  {flag}=<spec>   something")
            print("&&&& PASSED", line)
            sys.exit(0)
        pairs = {}
        for word in sys.argv[1:]:
            name, _, value = word.partition("=")
            if name not in flags or name in pairs:
                print("&&&& FAILED", line)
                sys.exit(1)
            pairs[name] = value
        data = open(pairs["--onnx"], "rb").read()
        is_open = b"batch" in data
        shapes = pairs.get("--shapes")
        if shapes is not None and not re.fullmatch(r"[a-z_]+:\\d+(x\\d+)+(,[a-z_]+:\\d+(x\\d+)+)*", shapes):
            refuse(shapes)
        if shapes is not None and not is_open and major >= 8:
            print("[E] Static model does not take explicit shapes since the shape of inference tensors will be determined")
            print("&&&& FAILED", line)
            sys.exit(1)
        if is_open and major == 7 and "--explicitBatch" not in pairs:
            refuse("no --explicitBatch")
        if FACTS["mode"] == "fails":
            print("[E] Parsing model failed")
            print("&&&& FAILED", line)
            sys.exit(1)
        if FACTS["mode"] == "half":
            print("[I] GPU Compute Time: min = 1 ms")
            sys.exit(0)
        if "--exportTimes" in pairs:
            json.dump([{"computeMs": 16.2, "latencyMs": 17.0}], open(pairs["--exportTimes"], "w"))
        print("[I] GPU Compute Time: min = 15.8 ms, max = 20.5 ms, mean = 16.2649 ms, median = 16.1 ms")
        print("&&&& PASSED", line)
    """
    return program(folder, "trtexec", body, version=version, mode=mode)
