"""ONNX files: read, checked, simplified, diagnosed, mended."""
