"""Measuring and looking: curves of a training, images of results."""
