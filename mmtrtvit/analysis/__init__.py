"""Analysis: times and memory, cost of networks, curves of a training, sheets of images."""
