"""Puts a checkpoint with its config, curves and card into a folder or onto the Hugging Face Hub."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor

from ..analysis.curves import draw_curves, read_scalars
from ..engine.config import config_in, read_config
from ..engine.hosts import import_host
from ..errors import UserError
from ..files import write_whole
from ..weights.checkpoints import checkpoint_file, read_weights, state_dict_of
from ..weights.hub import FILE, HUB, HUB_ADDRESS
from ..weights.matching import compare_weights, require_match
from ..weights.writing import write_weights
from .card import Facts, card_text, plain_meta

CONFIG, CARD, CURVES = 'config.py', 'README.md', 'curves.png'
OF_THIS_RUN = 'work_dir', 'load_from', 'resume', 'launcher', 'filename'


@dataclass
class Pushed:
    """Where a model was put, and as which files."""

    place: str
    files: list[str]


def push(
    checkpoint: str | Path,
    target: str,
    *,
    license: str,
    config: str | Path | None = None,
    data: str | None = None,
    private: bool = False,
) -> Pushed:
    """Puts a model where others find it.

    Args:
        checkpoint: A file, or the work dir of a run, for its best one.
        target: A folder, or ``hf://OWNER/REPO``, which is made if need be.
        license: Of the weights, by its name on the Hub, e.g. ``'apache-2.0'``.
        config: The training's config; default: the one in the work dir.
        data: Words on the data for the card; default: what the config says.
        private: Make a new repository of the Hub a private one.

    Raises:
        UserError: If the checkpoint, the config or the target cannot be used; nothing is written
            or sent then.
    """
    _check_target(target)
    file = checkpoint_file(checkpoint)
    content = read_weights(file)
    weights = state_dict_of(content)
    meta = dict(content.get('meta') or {}) if 'state_dict' in content else {}
    settings = _config(config, file.parent, weights)
    if settings is not None:
        _require_fit(settings, weights, file, meta)
    with TemporaryDirectory() as folder:
        files = _write(Path(folder), target, file, weights, meta, settings, data, license)
        if target.startswith(HUB):
            _upload(target, folder, private)
        else:
            for name in files:
                write_whole(Path(target, name), Path(folder, name).read_bytes(), sync=True)
    return Pushed(target, files)


def _check_target(target: str) -> None:
    if target.startswith(HUB):
        match = HUB_ADDRESS.fullmatch(target)
        if not match or match[2] or match[3]:
            raise UserError(f'{target}: expected hf://OWNER/REPO')
        if find_spec('huggingface_hub') is None:
            raise UserError(f'{target} needs huggingface_hub: pip install huggingface_hub')
    elif '://' in target:
        raise UserError(f'{target}: expected a folder or hf://OWNER/REPO')
    elif Path(target).exists() and not Path(target).is_dir():
        raise UserError(f'{target} is a file: name a folder')


def _config(path: str | Path | None, run: Path, weights: Mapping[str, Tensor]) -> Config | None:
    if path is None:
        try:
            path = config_in(run)
        except UserError:
            if any(name.startswith('backbone.') for name in weights):
                raise
            return None
    return read_config(path)


def _require_fit(
    config: Config, weights: Mapping[str, Tensor], file: Path, meta: Mapping[str, Any]
) -> None:
    scope = config.get('default_scope')
    import_host(scope)
    with DefaultScope.overwrite_default_scope(scope or 'mmengine'), torch.device('meta'):
        state = MODELS.build(config.model).state_dict()
    require_match(compare_weights(state, weights), str(file), meta=meta)


def _write(
    folder: Path,
    target: str,
    file: Path,
    weights: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    config: Config | None,
    data: str | None,
    license: str,
) -> list[str]:
    kept = plain_meta(meta)
    write_weights(folder / FILE, weights, kept)
    files = [FILE]
    if config is not None:
        others = {key: value for key, value in config.items() if key not in OF_THIS_RUN}
        (folder / CONFIG).write_text(Config(others).pretty_text, encoding='utf-8')
        files.append(CONFIG)
    metrics: dict[str, float] = {}
    if any(file.parent.glob('*/vis_data/scalars.json')):
        draw_curves(file.parent, folder / CURVES)
        files.append(CURVES)
        metrics = _metrics(file.parent, kept.get('iter'))
    facts = Facts(
        name=Path(config.filename or file).stem if config is not None else file.stem,
        license=license,
        parameters=sum(value.numel() for value in weights.values() if value.is_floating_point()),
        config=config,
        data=data or _data(config),
        classes=kept.get('dataset_meta', {}).get('classes', ()),
        metrics=metrics,
        iteration=kept.get('iter'),
        start=_start(config),
        files=files,
    )
    (folder / CARD).write_text(card_text(facts, target), encoding='utf-8')
    return [*files, CARD]


def _metrics(run: Path, iteration: int | None) -> dict[str, float]:
    """Returns the validation metrics that were last measured up to an iteration."""
    _, series = read_scalars(run)
    last: dict[str, float] = {}
    for name, points in series.items():
        for step, value in points:
            if iteration is None or step <= iteration:
                last[name] = value
    return last


def _data(config: Config | None) -> str | None:
    dataset = ((config or {}).get('train_dataloader') or {}).get('dataset') or {}
    return str(dataset['type']) if dataset.get('type') else None


def _start(config: Config | None) -> str | None:
    if config is None:
        return None
    init = config.model.backbone.get('init_cfg')
    sources = [config.get('load_from'), init.get('checkpoint') if isinstance(init, dict) else None]
    return next((str(source) for source in sources if source), None)


def _upload(target: str, folder: str, private: bool) -> None:
    from huggingface_hub import HfApi, errors

    repository = target.removeprefix(HUB)
    try:
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message='Weights, config and card'
        )
    except (OSError, ValueError, errors.HTTPError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f'{target}: the Hub took nothing: {reason}\nWith a token that may write (hf auth '
            'login) try again, or push into a folder now and later: '
            f'hf upload {repository} FOLDER'
        ) from error
