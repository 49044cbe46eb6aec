"""One reader of weights for every address that MMEngine knows, in place of MMEngine's own ones.

MMEngine's fall back to running the code in a file. With these, ``init_cfg``, ``load_from``,
``resume`` and all else that goes through MMEngine's ``CheckpointLoader``, in this package's tools
and in those of other projects, reads weights only (:mod:`.safe`), and what comes by HTTP is
checked (:mod:`.download`).
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.dist import barrier, get_dist_info
from mmengine.fileio import get_file_backend
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader

from ..errors import UserError, did_you_mean
from . import hub, safe
from .checkpoints import read_weights, require_weights, state_dict_of
from .download import cached_file, require_hash, split_hash
from .finite import require_finite

# Where a checkpoint of MMEngine has the code of the config that it was trained with.
SAVED_CONFIGS = (
    (('meta',), 'config'),
    (('meta',), 'cfg'),
    (('message_hub', 'runtime_info'), 'cfg'),
)


def is_address(source: str | Path) -> bool:
    """Returns whether MMEngine takes ``source`` for an address, and not for a local file."""
    return '://' in str(source)


def fetch_weights(source: str | Path) -> dict[str, Any]:
    """Reads a checkpoint from a file or an address to the CPU.

    Args:
        source: A file, or an address of any kind that MMEngine knows.

    Raises:
        UserError: If it cannot be read or downloaded, or holds no weights, NaN or infinity.
    """
    if not is_address(source):
        return read_weights(source)
    checkpoint = require_weights(CheckpointLoader.load_checkpoint(str(source), 'cpu'), source)
    require_finite(state_dict_of(checkpoint), str(source))
    return checkpoint


def _load(file: str | Path, map_location: Any) -> Any:
    """Loads a file as a run may use it: with finite weights, and without anything to execute.

    MMEngine runs the config that is saved beside the weights: ``Runner.resume`` that of ``config``,
    an inferencer without a model of its own the others.
    """
    return _usable(safe.load(file, map_location), file)


def _usable(checkpoint: Any, source: str | Path) -> Any:
    require_finite(state_dict_of(checkpoint), str(source))
    for places, name in SAVED_CONFIGS:
        place = checkpoint
        for key in places:
            place = place.get(key) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place.pop(name, None)
    return checkpoint


def _register(*prefixes: str) -> Any:
    return CheckpointLoader.register_scheme(prefixes=list(prefixes), force=True)


@_register('')
def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Loads a local file; addresses of no other kind come here as well."""
    if is_address(filename):
        known = sorted(prefix.rpartition('?')[2] for prefix in CheckpointLoader._schemes if prefix)
        raise UserError(f'{filename}: of addresses, only these are known: {", ".join(known)}')
    return _load(filename, map_location)


@_register('http://', 'https://')
def load_from_http(filename: str, map_location: Any = None) -> Any:
    """Loads what :func:`~.download.cached_file` gives, in the first process before the others."""
    rank, _ = get_dist_info()
    try:
        if rank == 0:
            cached_file(filename)
    finally:
        barrier()
    return _load(cached_file(filename), map_location)


@_register('pavi://')
def load_from_pavi(filename: str, map_location: Any = None) -> Any:
    """Loads from SenseTime's PAVI; a hash is checked if the address has one."""
    try:
        from pavi import modelcloud
    except ImportError as error:
        raise UserError(f'{filename} needs the package pavi, which is not installed') from error
    address, digest = split_hash(filename)
    model = modelcloud.get(address.removeprefix('pavi://'))
    with TemporaryDirectory() as folder:
        file = Path(folder, 'weights')
        model.download(str(file))
        return _load_checked(file, digest, map_location, filename)


@_register(r'(\S+\:)?s3://', r'(\S+\:)?petrel://')
def load_from_ceph(filename: str, map_location: Any = None, backend: str = 'petrel') -> Any:
    """Loads from a bucket; a hash is checked if the address ends with ``#sha256=``."""
    address, digest = split_hash(filename) if '#' in filename else (filename, None)
    storage = get_file_backend(address, backend_args=dict(backend=backend))
    with storage.get_local_path(address) as file:
        return _load_checked(Path(file), digest, map_location, filename)


def _load_checked(file: Path, digest: str | None, map_location: Any, address: str) -> Any:
    require_hash(file, digest, address)
    return _load(file, map_location)


@_register('modelzoo://', 'torchvision://')
def load_from_torchvision(filename: str, map_location: Any = None) -> Any:
    """Loads weights of torchvision by their name."""
    return load_from_http(
        _named(filename, mmengine_checkpoint.get_torchvision_models()), map_location
    )


@_register('open-mmlab://', 'openmmlab://')
def load_from_openmmlab(filename: str, map_location: Any = None) -> Any:
    """Loads weights of OpenMMLab by their name, also those of ``open_mmlab.json`` in its home."""
    models = mmengine_checkpoint.get_external_models()
    for old, new in mmengine_checkpoint.get_deprecated_model_names().items():
        models.setdefault(old, models.get(new))
    place = _named(filename, models)
    if is_address(place):
        return load_from_http(place, map_location)
    return _load(Path(mmengine_checkpoint._get_mmengine_home(), place), map_location)


@_register('mmcls://')
def load_from_mmcls(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Loads the backbone of a classifier of MMClassification by its name."""
    loaded = load_from_http(_named(filename, mmengine_checkpoint.get_mmcls_models()), map_location)
    weights = loaded.get('state_dict', loaded)
    prefix = 'backbone.'
    return dict(
        state_dict={
            name.removeprefix(prefix): value
            for name, value in weights.items()
            if name.startswith(prefix)
        }
    )


def _named(address: str, models: dict[str, str]) -> str:
    name = address.partition('://')[2]
    if not models.get(name):
        raise UserError(f'{address}: no weights have that name.{did_you_mean(name, models)}')
    return models[name]


@_register(*hub.SCHEMES)
def load_from_hub(filename: str, map_location: Any = None) -> Any:
    """Loads what :func:`~.hub.load_from_hub` does, as a run may use it."""
    return _usable(hub.load_from_hub(filename), filename)
