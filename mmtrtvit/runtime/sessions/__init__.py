"""Sessions that run a graph, with one protocol: ONNX Runtime, TensorRT or a Triton server."""
