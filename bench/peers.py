"""What people put between JPEG files and a network's input: by library, from paths to tensors.

All are asked for the same thing: (3, 500, 500), RGB, letterboxed, bilinear without antialiasing, ImageNet's constants,
padded with zeros; each by its library's own means, with the decoder that its documentation uses. Where a library
has no such rule, ``Peer.differs`` says what it does instead. ``peers()`` has those that are installed, and says why
others are not.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

import pspfast
from bench import routes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    Route = Callable[[str], NDArray[Any]]
    Files = Callable[[list[str]], Iterable[NDArray[Any]]]

__all__ = ["Peer", "peers", "published"]

MEAN, STD = pspfast.IMAGENET_MEAN, pspfast.IMAGENET_STD
# For libraries that have pixels of 0..1.
UNIT_MEAN, UNIT_STD = [one / 255 for one in MEAN], [one / 255 for one in STD]
HEIGHT, WIDTH = routes.SIZE
_DALI_BATCH = 16
_BLOB = "cv2.dnn.blobFromImageWithParams"


@dataclass(frozen=True)
class Peer:
    """One contender: ``start(threads)`` is a context in which paths become tensors, on so many threads."""

    name: str
    dtype: str
    decoder: str
    start: Callable[[int], AbstractContextManager[Files]]
    differs: str = ""


def in_threads(route: Route) -> Callable[[int], AbstractContextManager[Files]]:
    """For what takes one picture on one thread: as many at a time as there are threads."""

    @contextmanager
    def start(threads: int) -> Iterator[Files]:
        with ThreadPoolExecutor(threads) as pool:
            yield lambda paths: pool.map(route, paths)

    return start


def pspfast_peer(dtype: str) -> Peer:
    """``imread`` and ``letterbox``; one output a thread is not asked for, so that all contenders allocate."""
    kind = np.dtype(dtype)

    def route(path: str) -> NDArray[Any]:
        out = np.empty((3, HEIGHT, WIDTH), kind)
        pspfast.letterbox(pspfast.imread(path), out=out)
        return out

    return Peer("pspfast", dtype, "simplejpeg", in_threads(route))


def published(path: str) -> NDArray[Any]:
    """The published script's calls."""
    return routes.opencv_route(np.asarray(cv2.imread(path), np.uint8))


def blob_parameters() -> Any:
    """OpenCV's one call for a letterboxed blob takes its wishes so."""
    parameters = cv2.dnn.Image2BlobParams()
    parameters.scalefactor = tuple(1 / one for one in STD)
    parameters.size = (WIDTH, HEIGHT)
    parameters.mean = MEAN
    parameters.swapRB = True
    parameters.ddepth = cv2.CV_32F
    parameters.paddingmode = cv2.dnn.DNN_PMODE_LETTERBOX
    parameters.borderValue = tuple(MEAN[::-1])
    return parameters


def opencv_blobs() -> list[Peer]:
    """As it comes; and in halves, which OpenCV cannot write, by NumPy."""
    parameters = blob_parameters()

    def route(path: str) -> NDArray[Any]:
        blob: NDArray[Any] = cv2.dnn.blobFromImageWithParams(np.asarray(cv2.imread(path)), parameters)[0]
        return blob

    return [
        Peer(_BLOB, "float32", "OpenCV", in_threads(route)),
        Peer(f"{_BLOB}, cast by NumPy", "float16", "OpenCV", in_threads(lambda path: route(path).astype(np.float16))),
    ]


def torch_cast_blob() -> list[Peer]:
    """OpenCV's blob in halves by PyTorch, whose cast takes a thirtieth of NumPy's time."""
    torch: Any = import_module("torch")
    torch.set_num_threads(1)
    parameters = blob_parameters()

    def route(path: str) -> NDArray[Any]:
        blob = cv2.dnn.blobFromImageWithParams(np.asarray(cv2.imread(path)), parameters)[0]
        halves: NDArray[Any] = torch.from_numpy(blob).half().numpy()
        return halves

    return [Peer(f"{_BLOB}, cast by PyTorch", "float16", "OpenCV", in_threads(route))]


def albumentationsx() -> list[Peer]:
    """AlbumentationsX: longest side, normalized, padded after that, so that the padding is zero."""
    a: Any = import_module("albumentations")
    steps = a.Compose(
        [
            a.LongestMaxSize(max_size=max(HEIGHT, WIDTH)),
            a.Normalize(mean=MEAN, std=STD, max_pixel_value=1.0),
            a.PadIfNeeded(HEIGHT, WIDTH, border_mode=cv2.BORDER_CONSTANT, fill=0),
        ]
    )

    def route(path: str) -> NDArray[Any]:
        picture = np.asarray(cv2.imread(path, cv2.IMREAD_COLOR_RGB))
        return np.ascontiguousarray(steps(image=picture)["image"].transpose(2, 0, 1))

    return [Peer("AlbumentationsX", "float32", "OpenCV", in_threads(route))]


def kornia() -> list[Peer]:
    """kornia-rs: letterbox and normalization in one pass, and a cast where halves are wanted of a CPU."""
    # It resizes on a pool of as many threads as there are cores, whoever calls; read when the pool is first used.
    os.environ["RAYON_NUM_THREADS"] = "1"
    library: Any = import_module("kornia_rs")

    def peer(dtype: str) -> Peer:
        halves = dtype == "float16"
        steps = library.Preprocessor(mode="letterbox", format="rgb", mean=UNIT_MEAN, std=UNIT_STD, f16=halves)

        def route(path: str) -> NDArray[Any]:
            picture = np.asarray(library.io.read_image_jpegturbo(path))
            height, width = picture.shape[:2]
            tensor = np.from_dlpack(steps.run(picture.reshape(-1), width, height, HEIGHT, WIDTH))
            return tensor.reshape(3, HEIGHT, WIDTH)

        return Peer("kornia-rs", dtype, "kornia-rs", in_threads(route), "pads with 114 before it normalizes")

    return [peer("float32"), peer("float16")]


def torchvision() -> list[Peer]:
    """Transforms v2 in the documented order; a centre crop that is larger than the picture pads with zeros."""
    torch: Any = import_module("torch")
    io: Any = import_module("torchvision.io")
    v2: Any = import_module("torchvision.transforms.v2")
    torch.set_num_threads(1)
    steps = v2.Compose(
        [
            v2.Resize(size=None, max_size=max(HEIGHT, WIDTH), antialias=False),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=UNIT_MEAN, std=UNIT_STD),
            v2.CenterCrop((HEIGHT, WIDTH)),
        ]
    )

    def route(path: str) -> NDArray[Any]:
        tensor: NDArray[Any] = steps(io.decode_image(path, mode="RGB")).numpy()
        return tensor

    return [Peer("torchvision v2", "float32", "torchvision", in_threads(route))]


def segformer() -> list[Peer]:
    """Hugging Face's SegFormer processor, which is torchvision's calls; nothing is downloaded for its defaults."""
    torch: Any = import_module("torch")
    io: Any = import_module("torchvision.io")
    library: Any = import_module("transformers")
    torch.set_num_threads(1)
    processor = library.SegformerImageProcessor(size={"height": HEIGHT, "width": WIDTH})

    def route(path: str) -> NDArray[Any]:
        made = processor(io.decode_image(path, mode="RGB"), return_tensors="pt")
        tensor: NDArray[Any] = made["pixel_values"][0].numpy()
        return tensor

    return [Peer("SegFormer processor", "float32", "torchvision", in_threads(route), "stretches, antialiased")]


def openvino() -> list[Peer]:
    """OpenVINO's PrePostProcessor before a network that does nothing; it cannot resize by a picture's own ratio."""
    library: Any = import_module("openvino")
    opset: Any = import_module("openvino.opset13")
    preprocess: Any = import_module("openvino.preprocess")
    parameter = opset.parameter([1, 3, HEIGHT, WIDTH], library.Type.f32)
    steps = preprocess.PrePostProcessor(library.Model([opset.result(parameter)], [parameter], "nothing"))
    tensor = steps.input().tensor()
    tensor.set_element_type(library.Type.u8).set_layout(library.Layout("NHWC")).set_spatial_dynamic_shape()
    steps.input().model().set_layout(library.Layout("NCHW"))
    # The fastest order of those that give the same; for large pictures the documentation's takes twice as long.
    chain = steps.input().preprocess().convert_layout("NCHW").resize(preprocess.ResizeAlgorithm.RESIZE_LINEAR)
    chain.convert_element_type(library.Type.f32).reverse_channels().mean(list(MEAN)).scale(list(STD))
    model = steps.build()

    @contextmanager
    def start(threads: int) -> Iterator[Files]:
        # Where the processor has bfloat16, OpenVINO would calculate in that.
        hints = {"NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = library.Core().compile_model(model, "CPU", hints)
        own = threading.local()

        def route(path: str) -> NDArray[Any]:
            if not hasattr(own, "request"):
                own.request = compiled.create_infer_request()
            # The output is copied, as is the default: a request's next picture would overwrite it.
            made: NDArray[Any] = own.request.infer([np.asarray(cv2.imread(path))[None]], share_inputs=True)[0][0]
            return made

        with in_threads(route)(threads) as over:
            yield over

    return [Peer("OpenVINO PrePostProcessor", "float32", "OpenCV", start, "stretches")]


def dali() -> list[Peer]:
    """DALI's pipeline without a GPU, one batch at a time: with a queue it would work on during the others' turns."""
    library: Any = import_module("nvidia.dali")
    fn: Any = import_module("nvidia.dali.fn")
    types: Any = import_module("nvidia.dali.types")

    def peer(dtype: str, kind: Any) -> Peer:
        @contextmanager
        def start(threads: int) -> Iterator[Files]:
            pipe = library.Pipeline(
                batch_size=_DALI_BATCH,
                num_threads=threads,
                device_id=None,
                prefetch_queue_depth=1,
                exec_async=False,
                exec_pipelined=False,
            )
            with pipe:
                files = fn.external_source(name="files", device="cpu", ndim=1, dtype=types.UINT8)
                pictures = fn.decoders.image(files, device="cpu", output_type=types.RGB)
                small = fn.resize(pictures, size=(HEIGHT, WIDTH), mode="not_larger", antialias=False)
                # Truncated, the offset is the published one: half of the padding, rounded down.
                window = {"crop": (HEIGHT, WIDTH), "out_of_bounds_policy": "pad", "rounding": "truncate"}
                normalized = {"mean": list(MEAN), "std": list(STD), "dtype": kind, "output_layout": "CHW"}
                pipe.set_outputs(fn.crop_mirror_normalize(small, **window, **normalized))
            pipe.build()

            def over(paths: list[str]) -> Iterator[NDArray[Any]]:
                for first in range(0, len(paths), _DALI_BATCH):
                    batch = [np.fromfile(path, np.uint8) for path in paths[first : first + _DALI_BATCH]]
                    (tensors,) = pipe.run(files=batch)
                    for index in range(len(batch)):
                        yield np.asarray(tensors[index])

            yield over

        return Peer(f"DALI, CPU, batches of {_DALI_BATCH}", dtype, "nvImageCodec", start)

    return [peer("float32", types.FLOAT), peer("float16", types.FLOAT16)]


# By distribution: what makes its peers, and what pip is asked for. PyTorch's own index has the builds without CUDA.
_TORCH = "--index-url https://download.pytorch.org/whl/cpu torch torchvision"
_LIBRARIES: dict[str, tuple[Callable[[], list[Peer]], str]] = {
    "torch": (torch_cast_blob, _TORCH),
    "albumentationsx": (albumentationsx, "albumentationsx"),
    "kornia-rs": (kornia, "kornia-rs"),
    "torchvision": (torchvision, _TORCH),
    "transformers": (segformer, f"{_TORCH}, then transformers"),
    "openvino": (openvino, "openvino"),
    "nvidia-dali-cuda120": (dali, "nvidia-dali-cuda120"),
}


def peers() -> tuple[list[Peer], list[str], dict[str, str]]:
    """Contenders, pspfast's first; the distributions that others are from; why those that are missing are."""
    found = [
        pspfast_peer("float16"),
        pspfast_peer("float32"),
        *opencv_blobs(),
        Peer("published calls", "float16", "OpenCV", in_threads(published)),
    ]
    used, missing = [], {}
    for distribution, (make, pip) in _LIBRARIES.items():
        try:
            found += make()
            used.append(distribution)
        # A build of torchvision for another torch raises RuntimeError, a missing system library OSError.
        except (ImportError, OSError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            missing[distribution] = f"cannot be imported ({reason}); pip install {pip}"
    return found, used, missing
