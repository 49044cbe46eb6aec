"""What runs a graph, behind one protocol: ONNX Runtime, TensorRT or a Triton server."""
