"""ONNX Runtime: it runs the ONNX file itself."""
