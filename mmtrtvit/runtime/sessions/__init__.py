"""Sessions that run a graph, with one protocol: ONNX Runtime, OpenVINO, TensorRT, Triton."""
