"""Weights from the Hugging Face Hub: ``timm://NAME`` and ``hf://OWNER/REPO`` as addresses.

A file is downloaded once into the Hub's own cache (``HF_HOME``). ``HF_HUB_OFFLINE=1`` uses only the
cache. After ``hf://OWNER/REPO`` may come ``@REVISION``, ``/FILE`` and ``#sha256=<64 digits>``.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import UserError, did_you_mean
from . import safe
from .download import Unavailable, require_hash, sha256_of, split_hash

TIMM = 'timm://'
HUB = 'hf://'
SCHEMES = TIMM, HUB
FILE = 'model.safetensors'
HUB_ADDRESS = re.compile(r'hf://([\w.-]+/[\w.-]+)(?:@([^/]+))?(?:/(.+))?')


def load_from_hub(filename: str, map_location: Any = None) -> Any:
    """Loads weights of timm or of any repository of the Hub.

    Args:
        filename: The address, e.g. ``'timm://efficientvit_m4.r224_in1k'`` or
            ``'hf://me/detectors/trtvit_b.safetensors'``; without a file it is model.safetensors.
        map_location: Ignored: the weights are loaded to the CPU, a model's own stay where they are.

    Returns:
        What the file holds: weights by name, or a checkpoint with them.

    Raises:
        UserError: If the package for it is not installed, if there are no such weights, or if they
            are not in the cache and cannot be downloaded, damaged, or not safe to load.
    """
    return safe.load(hub_file(filename))


def hub_file(address: str) -> Path:
    """Returns the file at an address of :data:`SCHEMES`, from the cache or downloaded into it.

    Raises:
        UserError: As :func:`load_from_hub`.
    """
    package = 'timm' if address.startswith(TIMM) else 'huggingface_hub'
    if find_spec(package) is None:
        raise UserError(f'{address} needs {package}, which is not installed: pip install {package}')
    if address.startswith(TIMM):
        return _cached(address, repository_of_timm(address), FILE, None)
    place, digest = split_hash(address) if '#' in address else (address, None)
    match = HUB_ADDRESS.fullmatch(place)
    if not match:
        raise UserError(
            f'{address}: expected hf://OWNER/REPO, then, if needed, @REVISION, /FILE and '
            '#sha256=<64 digits>'
        )
    path = _cached(address, match[1], match[3] or FILE, match[2])
    require_hash(path, digest, address)
    return path


def repository_of_timm(address: str) -> str:
    """Returns the repository of the weights at an address ``timm://NAME``.

    Raises:
        UserError: If timm has no weights of that name.
    """
    import timm

    name = address.removeprefix(TIMM)
    try:
        repository = getattr(timm.get_pretrained_cfg(name), 'hf_hub_id', None)
    except RuntimeError:  # the architecture does not have this tag
        repository = None
    if not repository:
        hint = did_you_mean(name, timm.list_pretrained())
        raise UserError(f'{address}: timm {timm.__version__} has no weights of that name.{hint}')
    return repository


def _cached(address: str, repository: str, file: str, revision: str | None) -> Path:
    from huggingface_hub import constants, errors, hf_hub_download

    try:
        path = Path(hf_hub_download(repository, file, revision=revision))
    except errors.HFValidationError as error:
        raise UserError(f'{address} is no address of the Hub: {error}') from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise UserError(
            f'{address}: the Hub shows you no repository {repository} with '
            f'{f"the revision {revision}" if revision else "that name"}. Correct the name; a '
            'private one needs: hf auth login'
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise UserError(
            f'{address}: {repository} has no file {file}. Name one that it has: '
            f'hf://{repository}/FILE'
        ) from error
    except OSError as error:
        reason = (
            'HF_HUB_OFFLINE forbids to download it'
            if constants.HF_HUB_OFFLINE
            else f'it cannot be downloaded: {error}'
        )
        raise Unavailable(
            f'{address} is not in the cache {constants.HF_HUB_CACHE}, and {reason}\n'
            f'On a machine with a connection: hf download {repository} {file}\n'
            'Bring that file here and name its path instead of the address.'
        ) from error
    _check_name(path)
    return path


def _check_name(path: Path) -> None:
    """Refuses a file of the cache that is not what the Hub has.

    The cache names a large file by its SHA-256; of a plain download only the size is checked.
    """
    file = path.resolve()
    if re.fullmatch('[0-9a-f]{64}', file.name) and sha256_of(file) != file.name:
        raise UserError(
            f'{file} is damaged: its SHA-256 is not its name. Delete it and load it again.'
        )
