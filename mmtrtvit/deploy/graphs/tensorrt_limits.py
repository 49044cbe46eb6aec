"""Limits of TensorRT's operators, whatever the file says."""

MAX_TOP_K = 3840  # K of TopK: how many pairs of box and class a level or an image may hand on
MAX_NMS_CANDIDATES = 5000  # pairs of box and class of an image that NonMaxSuppression looks at
