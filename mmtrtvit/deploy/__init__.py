"""Deployment: models as ONNX files of standard ops that compute what ``predict`` computes."""
