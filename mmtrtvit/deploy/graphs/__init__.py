"""What an ONNX file is made of, what TensorRT takes of it, and its INT8 form."""
