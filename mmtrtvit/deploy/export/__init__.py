"""From a model to an ONNX file: images in, boxes or labels out, by standard ops alone."""
