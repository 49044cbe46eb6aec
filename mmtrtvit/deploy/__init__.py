"""Models as ONNX graphs that compute what ``predict`` computes, out of standard ops alone."""
