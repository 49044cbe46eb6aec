"""What classifiers need beside MMPretrain: exact resuming, AGC, readers of data."""
