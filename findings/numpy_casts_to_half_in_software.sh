#!/usr/bin/env bash
# NumPy 2.4.6 on x86-64 with F16C and AVX-512: ndarray.astype(float16) of float32 is done bit by bit in software, 20 to 50 times
# slower than the processor's own instruction, which torch's .half() uses; so for half-precision models a cast by NumPy costs
# more than decoding the picture did. One would expect a cast between two types of the CPU to run at the speed of memory.
# Exits with 1 once the ratio is below 5, with 2 where the CPU has no F16C.
set -euo pipefail
grep -qw f16c /proc/cpuinfo || { echo "this CPU has no F16C"; exit 2; }
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import statistics
import sys
import time
import numpy as np
import torch

torch.set_num_threads(1)
x = np.random.default_rng(0).standard_normal((3, 500, 500)).astype(np.float32)
routes = {"numpy": lambda: x.astype(np.float16), "torch": lambda: torch.from_numpy(x).half().numpy()}
assert routes["numpy"]().tobytes() == routes["torch"]().tobytes()
taken = {name: [] for name in routes}
for _ in range(60):
    for name, route in routes.items():
        start = time.perf_counter()
        route()
        taken[name].append(time.perf_counter() - start)
ms = {name: 1000 * statistics.median(one) for name, one in taken.items()}
print({name: f"{one:.3f} ms" for name, one in ms.items()}, f"ratio {ms['numpy'] / ms['torch']:.1f}")
sys.exit(ms["numpy"] / ms["torch"] < 5)
PYTHON
echo "as described: the same bits, 5 times slower at least"
