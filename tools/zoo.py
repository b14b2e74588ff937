"""One network of each architecture that mmsegmentation packages, exported and compared with PyTorch.

``python -m tools.zoo [ARCHITECTURE ...]``. Weights are random and seeded; statistics of batch normalization and the
spread of scores are those of a trained network, so that labels are of many classes and undecided pixels as frequent as
elsewhere. Each config is exported by ``pspfast export`` at a small size, in a process of its own, and the file compared
with mmsegmentation's own forward pass, as ``pspfast verify`` does.

What was found of a config is kept under ``build/zoo`` until the code that it depends on changes: killed, it goes on
where it was. ``--table docs/export.md`` writes the table there. Status 1 if fewer than ``LEAST`` agree, or one of the
others does not end in one sentence. Needs the extras ``export`` and ``mmseg``; 25 minutes on two cores, 6 GB of memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "build" / "zoo"
LEAST = 38
"""Architectures that must export and agree with PyTorch."""
_SPREAD_OF_PICTURES = 58.0  # of bytes, about
_LAST = ("conv_seg", "cls_seg", "fc_seg")  # what heads call the convolution that makes scores
_MARKS = "<!-- zoo -->", "<!-- end of zoo -->"

# Folder of mmsegmentation's configs -> one of its configs, and the size it is exported at.
ARCHITECTURES: dict[str, tuple[str, tuple[int, int]]] = {
    "ann": ("ann_r50-d8_4xb4-20k_voc12aug-512x512", (128, 160)),
    "apcnet": ("apcnet_r50-d8_4xb4-80k_ade20k-512x512", (128, 160)),
    "beit": ("beit-base_upernet_8xb2-160k_ade20k-640x640", (640, 640)),
    "bisenetv1": ("bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024", (128, 160)),
    "bisenetv2": ("bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024", (128, 160)),
    "ccnet": ("ccnet_r50-d8_4xb4-20k_voc12aug-512x512", (128, 160)),
    "cgnet": ("cgnet_fcn_4xb4-60k_cityscapes-680x680", (128, 160)),
    "convnext": ("convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512", (128, 160)),
    "danet": ("danet_r50-d8_4xb4-20k_voc12aug-512x512", (128, 160)),
    "ddrnet": ("ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024", (128, 192)),
    "deeplabv3": ("deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024", (125, 165)),
    "deeplabv3plus": ("deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024", (125, 165)),
    "dmnet": ("dmnet_r50-d8_4xb4-80k_ade20k-512x512", (128, 160)),
    "dnlnet": ("dnl_r50-d8_4xb4-80k_ade20k-512x512", (128, 160)),
    "dpt": ("dpt_vit-b16_8xb2-160k_ade20k-512x512", (128, 160)),
    "emanet": ("emanet_r50-d8_4xb2-80k_cityscapes-769x769", (128, 160)),
    "encnet": ("encnet_r50-d8_4xb4-20k_voc12aug-512x512", (128, 160)),
    "erfnet": ("erfnet_fcn_4xb4-160k_cityscapes-512x1024", (128, 160)),
    "fastfcn": ("fastfcn_r50-d32_jpu_psp_4xb4-80k_ade20k-512x512", (128, 160)),
    "fastscnn": ("fast_scnn_8xb4-160k_cityscapes-512x1024", (128, 160)),
    "fcn": ("fcn_r18-d8_4xb2-80k_cityscapes-512x1024", (128, 160)),
    "gcnet": ("gcnet_r50-d8_4xb4-20k_voc12aug-512x512", (128, 160)),
    "hrnet": ("fcn_hr18s_4xb4-80k_ade20k-512x512", (128, 160)),
    "icnet": ("icnet_r18-d8_4xb2-80k_cityscapes-832x832", (128, 160)),
    "isanet": ("isanet_r50-d8_4xb4-20k_voc12aug-512x512", (128, 160)),
    "knet": ("knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512", (128, 160)),
    "mae": ("mae-base_upernet_8xb2-amp-160k_ade20k-512x512", (512, 512)),
    "mask2former": ("mask2former_r50_8xb2-160k_ade20k-512x512", (128, 160)),
    "maskformer": ("maskformer_r50-d32_8xb2-160k_ade20k-512x512", (128, 160)),
    "mobilenet_v2": ("mobilenet-v2-d8_pspnet_4xb4-160k_ade20k-512x512", (125, 165)),
    "mobilenet_v3": ("mobilenet-v3-d8-s_lraspp_4xb4-320k_cityscapes-512x1024", (400, 416)),
    "nonlocal_net": ("nonlocal_r50-d8_4xb4-20k_voc12aug-512x512", (128, 160)),
    "ocrnet": ("ocrnet_hr18s_4xb4-80k_ade20k-512x512", (128, 160)),
    "pidnet": ("pidnet-s_2xb6-120k_1024x1024-cityscapes", (128, 192)),
    "point_rend": ("pointrend_r50_4xb4-160k_ade20k-512x512", (128, 160)),
    "poolformer": ("fpn_poolformer_s12_8xb4-40k_ade20k-512x512", (128, 160)),
    "psanet": ("psanet_r50-d8_4xb4-20k_voc12aug-512x512", (128, 160)),
    "pspnet": ("pspnet_r18-d8_4xb2-80k_cityscapes-769x769", (97, 129)),
    "resnest": ("resnest_s101-d8_fcn_4xb4-160k_ade20k-512x512", (128, 160)),
    "san": ("san-vit-b16_voc12aug-640x640", (128, 160)),
    "segformer": ("segformer_mit-b0_8xb2-160k_ade20k-512x512", (128, 160)),
    "segmenter": ("segmenter_vit-t_mask_8xb1-160k_ade20k-512x512", (128, 160)),
    "segnext": ("segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512", (128, 160)),
    "sem_fpn": ("fpn_r50_4xb4-160k_ade20k-512x512", (128, 160)),
    "setr": ("setr_vit-l_pup_8xb2-160k_ade20k-512x512", (128, 160)),
    "stdc": ("stdc1_4xb12-80k_cityscapes-512x1024", (128, 160)),
    "swin": ("swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512", (128, 160)),
    "twins": ("twins_pcpvt-s_fpn_fpnhead_8xb4-80k_ade20k-512x512", (128, 160)),
    "unet": ("unet-s5-d16_fcn_4xb4-40k_stare-128x128", (128, 160)),
    "upernet": ("upernet_r18_4xb4-20k_voc12aug-512x512", (125, 165)),
    "vit": ("vit_deit-s16_upernet_8xb2-160k_ade20k-512x512", (128, 160)),
    "vpd": ("vpd_sd_4xb8-25k_nyu-480x480", (128, 160)),
}


# -- one config, in a process of its own -----------------------------------------------------------------------------


def try_one(name: str, folder: Path) -> dict[str, Any]:
    """Export one architecture's config and compare the file with PyTorch.

    Returns:
        ``opset``, ``operators``, ``equal``, ``margin``, ``classes`` (seen in the labels) and ``remarks`` if it was
        exported; else ``status`` and ``reason``, what ``pspfast export`` said last.
    """
    import numpy as np
    import onnxruntime

    from pspfast.export import verify
    from pspfast.graphs import model_files

    config, (height, width) = ARCHITECTURES[name]
    config = whole(config, folder)
    checkpoint, file = str(folder / "random.pth"), str(folder / "network.onnx")
    if not make_checkpoint(config, checkpoint, (height, width)):
        checkpoint = str(ROOT / "tools" / "demo.pth")  # what is wrong with the config is for the export to say
    arguments = ["--config", config, "--checkpoint", checkpoint, "--shape", str(height), str(width)]
    command = [sys.executable, "-m", "pspfast", "export", *arguments, "--output-file", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if not re.match(r" *\d+\.\d s  ", line)]
    if done.returncode != 0:
        reason = lines[-1].replace(f"{folder}/", "") if lines else ""
        return {"status": done.returncode, "reason": reason, "lines": len(lines), "log": done.stderr[-4000:]}
    found = verify(file, checkpoint=checkpoint, config=config, noise_pictures=2)
    model = model_files.load(file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(1).standard_normal((1, 3, height, width)).astype(np.float32)
    return {
        "opset": model.opset_import[0].version,
        "operators": len(model.graph.node),
        "equal": found.equal,
        "margin": found.margin or 0.0,
        "scores_apart": found.logit_difference,
        "complaints": found.complaints(),
        "classes": len(np.unique(session.run(None, {"input": picture})[0])),
        "remarks": lines,
    }


def whole(config: str, folder: Path) -> str:
    """The config, or a copy of it that is tested on whole pictures where it is on windows."""
    from mmengine import Config

    from pspfast.export.mmseg import find_config

    path = find_config(config)
    try:
        model = Config.fromfile(path).model
    except ImportError:  # of a library that is missing, which is for the export to say
        return config
    if (model.get("test_cfg") or {}).get("mode", "whole") != "slide":
        return config
    copy = folder / f"{config}.py"
    copy.write_text(f"_base_ = [{path!r}]\nmodel = dict(test_cfg=dict(_delete_=True, mode='whole'))\n")
    return str(copy)


def make_checkpoint(config: str, path: str, shape: tuple[int, int]) -> bool:
    """Save random weights of a config's network; false if it cannot be built."""
    import torch

    from pspfast.export.mmseg import build_from_config, facts_of_config

    torch.manual_seed(0)
    try:
        network = build_from_config(config)
    except (RuntimeError, ValueError):
        return False
    try:
        network._network.init_weights()
    except (RuntimeError, ValueError, AttributeError, TypeError, OSError) as error:  # some want their pretraining's
        print(f"as constructed: {error}", file=sys.stderr)
    network.requires_grad_(False)
    facts = facts_of_config(config)
    # Some networks take pictures as they are, without dividing by a standard deviation.
    calibrate(network, shape, scale=_SPREAD_OF_PICTURES / max(facts.std))
    torch.save({"meta": {}, "state_dict": network.state_dict()}, path)
    return True


def calibrate(network: Any, shape: tuple[int, int], scale: float) -> None:
    """Give batch normalization the statistics of noise, times a scale, and spread the scores of classes."""
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    pictures = 8 if norms else 1
    coarse = torch.randn(pictures, 3, -(-shape[0] // 16), -(-shape[1] // 16))
    noise = torch.nn.functional.interpolate(coarse, size=shape)
    noise += 0.25 * torch.randn(noise.shape)
    # Of other brightness and contrast each: where a channel is one value a picture, statistics of pictures that are all
    # alike magnify roundings.
    noise = scale * (noise * torch.rand(pictures, 1, 1, 1).add(0.5) + 0.7 * torch.randn(pictures, 3, 1, 1))
    with torch.no_grad():
        for module in norms:
            module.momentum = None
            module.reset_running_stats()
            module.train()
        for module in network.modules():
            for part in _LAST:
                last = getattr(module, part, None)
                if isinstance(last, torch.nn.Conv2d):
                    torch.nn.init.normal_(last.weight, std=0.3)
        try:
            network(noise)
            network.eval()
            spread = float(network(noise).std())
        except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
            print(f"not calibrated: {error}", file=sys.stderr)  # the export will say why
            return
        for module in network.modules():
            for part in _LAST:
                last = getattr(module, part, None)
                if isinstance(last, torch.nn.Conv2d):
                    last.weight /= spread
                    last.bias /= spread


# -- all of them -----------------------------------------------------------------------------------------------------


def fingerprint() -> str:
    """Of the code that what is kept depends on."""
    digest = hashlib.sha256()
    for folder in ("export", "graphs"):
        for path in sorted((ROOT / "src" / "pspfast" / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    digest.update(Path(__file__).read_bytes())
    return digest.hexdigest()[:16]


def find(name: str, code: str, *, again: bool) -> dict[str, Any]:
    """What is known of an architecture: as kept, or from a process of its own."""
    kept = KEPT / f"{name}.json"
    if kept.is_file() and not again:
        found: dict[str, Any] = json.loads(kept.read_text())
        if found["code"] == code:
            return found
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="zoo_") as folder:
        command = [sys.executable, "-m", "tools.zoo", "--one", name, "--folder", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode != 0:
        raise SystemExit(f"{name}: {done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1]) | {"code": code, "seconds": round(time.monotonic() - started)}
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(found, indent=1) + "\n")
    return found


def agrees(found: dict[str, Any]) -> bool:
    """Exported, labels equal, whatever flipped undecided, and more than one class to tell apart."""
    return "opset" in found and not found["complaints"] and found["classes"] > 1


def is_one_sentence(found: dict[str, Any]) -> bool:
    """Whether the program ended as it should: a line that is no traceback and no dump."""
    return "reason" in found and found["lines"] == 1 and len(found["reason"]) < 500 and "Traceback" not in found["log"]


def table(all_found: dict[str, dict[str, Any]]) -> str:
    """The table of docs/export.md."""
    rows = ["| config | size | opset | pixels equal | largest margin of a flip |", "| --- | --- | ---: | ---: | ---: |"]
    for name, found in all_found.items():
        config, (height, width) = ARCHITECTURES[name]
        if "opset" in found:
            equal = f"{int(found['equal'] * 1e6) / 1e4:.4f} %"
            margin = f"{found['margin']:.0e}" if found["margin"] else ""
            rows.append(f"| `{config}` | {width}x{height} | {found['opset']} | {equal} | {margin} |")
        else:
            rows.append(f"| `{config}` | {width}x{height} | | no: {found['reason']} | |")
    return "\n".join(rows)


def write_table(document: Path, text: str) -> None:
    """Put the table between its marks in a document."""
    begin, end = _MARKS
    before, rest = document.read_text().split(begin)
    _, after = rest.split(end)
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="architectures; all of them if left out")
    parser.add_argument("--again", action="store_true", help="do not take what is kept")
    parser.add_argument("--table", type=Path, help="document to write the table into")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(try_one(options.one, options.folder)))
        return 0
    code, all_found = fingerprint(), {}
    for name in options.names or ARCHITECTURES:
        found = all_found[name] = find(name, code, again=options.again)
        told = (
            f"opset {found['opset']}, {found['equal']:.4%} equal, margin {found['margin']:.1g}, {found['classes']} "
            f"classes {found['complaints'] or ''}{found['remarks'] or ''}"
            if "opset" in found
            else f"status {found['status']}: {found['reason']}"
        )
        print(f"{name:14} {found['seconds']:4} s  {told}", flush=True)
    good = [name for name, found in all_found.items() if agrees(found)]
    bad = [name for name, found in all_found.items() if not agrees(found) and not is_one_sentence(found)]
    print(f"{len(good)} of {len(all_found)} agree; neither agree nor end in one sentence: {', '.join(bad) or 'none'}")
    if options.table:
        write_table(options.table, table(all_found))
    return int(bool(bad) or (not options.names and len(good) < LEAST))


if __name__ == "__main__":
    sys.exit(main())
