#!/usr/bin/env bash
# ONNX Runtime 1.32.0, CPU: ArgMax skips NaN by comparing with it. Where the first value is NaN nothing is larger, and the index
# is 0; where a later one is, it is passed over. NumPy gives the index of the first NaN, and so does PyTorch. A network that
# overflowed to NaN labels every pixel as class 0, which in most data sets is background, and looks well-behaved.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q onnxruntime==1.32.0 onnx==1.23.2 'numpy==2.4.*'
"$folder/env/bin/python" - <<'PYTHON'
import sys
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 5]), helper.make_tensor_value_info("y", TensorProto.INT64, [1, 5])]
node = helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)
model = helper.make_model(helper.make_graph([node], "g", values[:1], values[1:]), opset_imports=[helper.make_opsetid("", 13)])
model.ir_version = 8
onnx.checker.check_model(model)
nan = np.nan
#            all NaN  first    second   last   none
scores = np.array([[[nan, nan, 1, 1, 1], [nan, 5, nan, 2, 2], [nan, 3, 3, 3, 3], [nan, 4, 4, nan, 4]]], np.float32)
found = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": scores})[0]
print("onnxruntime", found.tolist(), "NumPy", scores.argmax(1).tolist())
sys.exit(not (scores.argmax(1).tolist() == [[0, 0, 1, 3, 3]] and found.tolist() == [[0, 0, 3, 2, 3]]))
PYTHON
echo "as described"
