"""The process that :mod:`.trusted` runs a file's code in: run_file.py FILE OUT.

Not to be imported. It needs PyTorch alone; what the file itself imports has to be installed.
"""

import pickle
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def load(path: str) -> Any:
    """Loads a file of any PyTorch, or else a pickle, also one of Python 2."""
    try:
        return torch.load(path, map_location='cpu', weights_only=False)
    except (pickle.UnpicklingError, RuntimeError):
        with open(path, 'rb') as file:
            return pickle.load(file, encoding='latin1')


def tensors_in(value: Any) -> Any:
    """Returns the tensors in dicts, modules and arrays, as nested as they were; None for others."""
    if isinstance(value, nn.Module):
        value = value.state_dict()
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biuf':
        value = torch.from_numpy(value)
    if isinstance(value, Tensor):
        return value.detach().clone()
    if not isinstance(value, Mapping):
        return None
    inner = {str(key): tensors_in(each) for key, each in value.items()}
    return {key: each for key, each in inner.items() if each is not None}


if __name__ == '__main__':
    sys.path[0] = ''  # the user's folder, instead of this file's
    torch.save(tensors_in(load(sys.argv[1])), sys.argv[2])
