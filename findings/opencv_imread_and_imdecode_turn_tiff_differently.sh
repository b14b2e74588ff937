#!/usr/bin/env bash
# OpenCV 5.0.0.93: cv2.imread of a TIFF whose orientation is 5 to 8 (a quarter turn) is None ("Internal imread issue" in its log), while
# cv2.imdecode of the same bytes turns it. One would expect the two to differ in where the bytes come from, and in nothing else.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q opencv-python-headless==5.0.0.93 pillow==13.0.0
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import sys
import cv2
import numpy as np
from PIL import Image

folder, seen = sys.argv[1], {}
pixels = np.arange(40 * 80 * 3, dtype=np.uint32).reshape(40, 80, 3).astype(np.uint8)
for orientation in range(1, 9):
    path = f"{folder}/{orientation}.tif"
    Image.fromarray(pixels).save(path, tiffinfo={274: orientation})
    read, decoded = cv2.imread(path), cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    seen[orientation] = tuple(None if one is None else one.shape[:2] for one in (read, decoded))
    print(orientation, "imread", seen[orientation][0], "imdecode", seen[orientation][1])
turned = {one: seen[one] for one in range(5, 9)}
sys.exit(not (all(one == ((40, 80), (40, 80)) for key, one in seen.items() if key < 5) and all(a != b and b == (80, 40) for a, b in turned.values())))
PYTHON
echo "as described"
