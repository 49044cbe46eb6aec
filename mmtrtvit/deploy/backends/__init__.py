"""Backends: what each of them makes of an ONNX file."""
