"""Writes weights, as PyTorch's zip file or in the safetensors format."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..files import whole_file
from .safe import META, SAFETENSORS, require_safetensors


def write_weights(path: str | Path, weights: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Writes weights and what is said of them, whole or not at all.

    Args:
        path: File to write: safetensors by the suffix ``.safetensors``, else
            ``{'state_dict': ..., 'meta': ...}``, which loads with ``weights_only=True``.
        weights: Tensors by name; each is written with its own memory.
        meta: Plain values, such as those of JSON.

    Raises:
        UserError: If the path is a folder, or the package for safetensors is missing.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise UserError(f'{path} is a folder: name the file to write')
    own = {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
    if path.suffix != SAFETENSORS:
        with whole_file(path, sync=True) as part:
            torch.save(dict(state_dict=own, meta=dict(meta)), part)
        return
    require_safetensors(path)
    from safetensors.torch import save_file

    with whole_file(path, sync=True) as part:
        save_file(own, part, metadata={'format': 'pt', META: json.dumps(meta)})
