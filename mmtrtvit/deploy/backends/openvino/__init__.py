"""OpenVINO: its models (IR, .xml and .bin) from ONNX files."""
