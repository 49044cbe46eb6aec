"""Generated data for demos, tests and pre-training."""
