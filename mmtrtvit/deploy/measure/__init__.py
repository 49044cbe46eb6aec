"""Measurements: times of models, of exported ones' layers, and of blocks."""
