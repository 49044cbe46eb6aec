"""What runs a graph: ONNX Runtime, TensorRT or a Triton server, behind one protocol."""
