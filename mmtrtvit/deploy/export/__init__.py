"""Export of a model to ONNX: images in, boxes or labels out, by standard ops alone."""
