"""An exported model beside PyTorch: running, evaluating and comparing it."""
