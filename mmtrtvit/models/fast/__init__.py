"""Copies of the networks for inference, and the libraries that compute them."""
