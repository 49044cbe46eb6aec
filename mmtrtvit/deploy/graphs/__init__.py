"""ONNX graphs: their parts, what TensorRT can read of them, and their INT8 form."""
