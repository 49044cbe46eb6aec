"""The model card of a checkpoint: what it is, what it was trained on and how to load it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from ..errors import listed
from ..version import __version__

TASKS = {'mmdet': 'object-detection', 'mmseg': 'image-segmentation'}
CLASSIFICATION = 'image-classification'
MASKS = 'instance-segmentation'


@dataclass
class Facts:
    """What a card says of weights; what is not known is None or empty, and left out.

    Attributes:
        name: Title of the card.
        license: Name of the licence, as the Hub has it.
        parameters: Number of parameters.
        config: The training's config, None for a bare backbone.
        data: Words on the data.
        classes: Names of the classes.
        metrics: Validation metrics of these weights by name.
        iteration: How many iterations the training had done.
        start: What the training started from.
        files: The files beside the card.
    """

    name: str
    license: str
    parameters: int
    config: Config | None
    data: str | None
    classes: Sequence[str]
    metrics: Mapping[str, float]
    iteration: int | None
    start: str | None
    files: Sequence[str]


def card_text(facts: Facts, place: str) -> str:
    """Returns the card in Markdown, with the head that the Hub reads.

    Args:
        facts: What it says.
        place: Where the files go: a folder, or ``hf://OWNER/REPO``.
    """
    head = [
        '---',
        f'license: {facts.license}',
        'library_name: mmtrtvit',
        f'pipeline_tag: {task_of(facts.config)}',
        f'tags: [{", ".join(_tags(facts.config))}]',
        '---',
    ]
    parts = [
        '\n'.join(head),
        f'# {facts.name}',
        '\n'.join(f'* {name}: {value}' for name, value in _lines(facts).items() if value),
        _metrics(facts.metrics),
    ]
    if 'curves.png' in facts.files:
        parts.append('![Training loss and validation metrics](curves.png)')
    return '\n\n'.join([*parts, _loading(facts, place)]) + '\n'


def task_of(config: Config | None) -> str:
    """Returns the Hub's name of what a model does; of a backbone, that of feature extraction."""
    if config is None:
        return 'image-feature-extraction'
    if 'mask_head' in (config.model.get('roi_head') or {}):
        return MASKS
    return TASKS.get(config.get('default_scope'), CLASSIFICATION)


def _tags(config: Config | None) -> list[str]:
    if config is None:
        return ['mmtrtvit']
    model = config.model
    return ['mmtrtvit', *(str(part.type).rsplit('.')[-1] for part in (model, model.backbone))]


def _lines(facts: Facts) -> dict[str, str]:
    lines = {'parameters': f'{facts.parameters / 1e6:.2f} M'}
    config = facts.config
    if config is not None:
        backbone = config.model.backbone
        arch = f' {backbone.arch}' if 'arch' in backbone else ''
        lines = {'model': f'{config.model.type} with {backbone.type}{arch}', **lines}
        optimizer = (config.get('optim_wrapper') or {}).get('optimizer') or {}
        batch = (config.get('train_dataloader') or {}).get('batch_size')
        if optimizer.get('lr'):
            lines['training'] = (
                f'{optimizer["type"]} at {optimizer["lr"]:g}, batches of {batch} images on each '
                f'device, {facts.iteration or "unknown"} iterations'
            )
        lines['started from'] = facts.start or 'scratch'
    lines['data'] = facts.data or ''
    lines['classes'] = f'{len(facts.classes)}: {listed(facts.classes, 20)}' if facts.classes else ''
    lines['licence'] = facts.license
    lines['written by'] = f'mmtrtvit {__version__}'
    return lines


def _metrics(metrics: Mapping[str, float]) -> str:
    if not metrics:
        return 'No metrics of these weights were recorded.'
    rows = [f'| {name} | {value:.4g} |' for name, value in metrics.items()]
    return '\n'.join(['| validation metric | value |', '|---|---|', *rows])


def _loading(facts: Facts, place: str) -> str:
    on_hub = place.startswith('hf://')
    weights = place if on_hub else f'{place}/model.safetensors'
    steps = ['## How to load it', '```bash\npip install "mmtrtvit[onedl,timm]"\n```']
    prefix = ''
    if facts.config is not None:
        config = f'{place}/config.py'
        if on_hub:
            config = 'model/config.py'
            repository = place.removeprefix('hf://')
            steps.append(
                'The config is a program: read it before you run it.\n\n```bash\n'
                f'hf download {repository} config.py --local-dir model\n```'
            )
        steps.append(
            '```python\nfrom mmtrtvit.engine import load\n\n'
            f"model = load('{config}', '{weights}')\nresult = model(['image.jpg'])[0]\n```"
        )
        prefix = ", prefix='backbone.'"
    steps.append(
        "The backbone alone, in another model's config:\n\n```python\n"
        f"init_cfg = dict(type='Pretrained', checkpoint='{weights}'{prefix})\n```"
    )
    return '\n\n'.join(steps)


def plain_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what of a checkpoint's ``meta`` is worth giving to others, as values of JSON."""
    data = meta.get('dataset_meta') or {}
    kept: dict[str, Any] = {key: meta[key] for key in ('epoch', 'iter') if key in meta}
    if data.get('classes'):
        kept['dataset_meta'] = dict(classes=[str(name) for name in data['classes']])
        palette = data.get('palette')
        if isinstance(palette, list | tuple):
            colours = [[int(value) for value in colour] for colour in palette]
            kept['dataset_meta']['palette'] = colours
    return kept
