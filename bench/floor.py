"""What no preprocessing can undercut: decode every picture, write as many bytes, nothing else.

``python -m bench.floor IMAGES SPLIT OUT WORKERS``: libjpeg-turbo into a reused buffer, one open/write/close a bin.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import numpy as np
import simplejpeg  # type: ignore[import-untyped]


def main(images: str, split: str, out: str, workers: str) -> None:
    Path(out).mkdir(parents=True, exist_ok=True)
    names = iter(Path(split).read_text().split())
    lock = threading.Lock()

    def work() -> None:
        pixels, tensor = np.empty(1 << 22, np.uint8), np.zeros((3, 500, 500), np.float16)
        while True:
            with lock:
                name = next(names, None)
            if name is None:
                return
            with open(f"{images}/{name}.jpg", "rb") as file:
                simplejpeg.decode_jpeg(file.read(), "BGR", buffer=pixels)
            bin_file = os.open(f"{out}/{name}.bin", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.write(bin_file, tensor.data)
            os.close(bin_file)

    threads = [threading.Thread(target=work) for _ in range(int(workers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
