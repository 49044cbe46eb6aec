"""Analysis: times and memory, curves of a training, sheets of images."""
