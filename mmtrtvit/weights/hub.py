"""Weights of timm from the Hugging Face Hub: ``timm://NAME`` as the address of a checkpoint.

The file is downloaded once from the Hugging Face Hub into timm's own cache (``HF_HOME``).
``HF_HUB_OFFLINE=1`` uses only the cache.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import UserError, did_you_mean
from . import safe
from .download import sha256_of

SCHEME = 'timm://'
FILE = 'model.safetensors'


def load_from_timm(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Loads pre-trained weights of timm.

    Args:
        filename: ``'timm://'`` and a name of timm, e.g. ``'timm://efficientvit_m4.r224_in1k'``.
        map_location: Ignored: the weights are loaded to the CPU, a model's own stay where they are.

    Returns:
        A checkpoint with timm's names: ``{'state_dict': ...}``.

    Raises:
        UserError: If timm is not installed or has no such weights, or if they are not in the cache
            and cannot be downloaded, or damaged.
    """
    if find_spec('timm') is None:
        raise UserError(f'{filename} needs timm, which is not installed: pip install timm')
    return dict(state_dict=safe.load(_cached_file(filename)))


def _cached_file(address: str) -> Path:
    import timm
    from huggingface_hub import constants, hf_hub_download

    name = address.removeprefix(SCHEME)
    try:
        repository = getattr(timm.get_pretrained_cfg(name), 'hf_hub_id', None)
    except RuntimeError:  # the architecture does not have this tag
        repository = None
    if not repository:
        hint = did_you_mean(name, timm.list_pretrained())
        raise UserError(f'{address}: timm {timm.__version__} has no weights of that name.{hint}')
    try:
        path = Path(hf_hub_download(repository, FILE))
    except OSError as error:
        reason = (
            'HF_HUB_OFFLINE forbids to download it'
            if constants.HF_HUB_OFFLINE
            else f'it cannot be downloaded: {error}'
        )
        raise UserError(
            f'{address} is not in the cache {constants.HF_HUB_CACHE}, and {reason}\n'
            f'On a machine with a connection: hf download {repository} {FILE}\n'
            'Bring that file here and convert it with tools/convert_weights.py.'
        ) from error
    _check_hash(path)
    return path


def _check_hash(path: Path) -> None:
    """Refuses a file of the cache that is not what the Hub has.

    The cache names a large file by its SHA-256; of a plain download only the size is checked.
    """
    file = path.resolve()
    if re.fullmatch('[0-9a-f]{64}', file.name) and sha256_of(file) != file.name:
        raise UserError(
            f'{file} is damaged: its SHA-256 is not its name. Delete it and load it again.'
        )
