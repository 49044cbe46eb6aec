"""What each backend makes of an ONNX file."""
