"""Copies of the networks made for inference, and what computes them."""
