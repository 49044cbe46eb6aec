"""Verification of an exported model: running, evaluating and comparing it with PyTorch."""
