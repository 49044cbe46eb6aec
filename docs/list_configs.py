"""Writes configs/README.md: every config with its data, schedule, batch and what it needs.

Example:
  python docs/list_configs.py
"""

from pathlib import Path

from mmengine.config import Config

from mmtrtvit.deploy.backends.registry import find_backend
from mmtrtvit.files import whole_file

CONFIGS = Path(__file__).parents[1] / 'configs'
OUT = CONFIGS / 'README.md'
HEAD = """# Configs

Written by `python docs/list_configs.py`; a test fails when it is out of date. *Batch* is the number
of images for which the learning rate is meant, as GPUs x images on each; with another number, give
`--auto-scale-lr`. EfficientViT's models on COCO and ADE20K start from timm's ImageNet weights,
which are downloaded once; all others train from scratch, or from what `model.backbone.init_cfg`
names ([weights](../docs/weights.md)). What to put into `data/` is told in
[own data](../docs/own_data.md) and [train](../docs/train.md).
"""
TITLES = {
    '.': '## Models on COCO and ADE20K',
    'classification': '## Classifiers',
    'ablations': "## The papers' ablations, and networks that they compare with",
    'demo': '## Demos: generated data, in minutes on a CPU',
    'distributed': '## Models that are too large for one GPU',
    'deploy': '## Deployment, for `tools/deploy.py`',
}
DATA = {
    'data/coco/': 'COCO 2017',
    'data/ade/ADEChallengeData2016/': 'ADE20K',
    'data/shapes/': 'generated shapes',
    'data/imagenet/': 'ImageNet-1k',
    'data/my_images/': 'own folders',
    'data/images/': 'a folder of images',
    'data/shape_folders/': 'generated shapes',
}
HOSTS = {'mmdet': 'MMDetection', 'mmseg': 'MMSegmentation', 'mmpretrain': 'MMPretrain'}
GENERATED = {
    'data/shapes/': '`make_shapes.py`',
    'data/shape_folders/': '`make_shapes.py --folders`',
}
STRATEGIES = {'DeepSpeedStrategy': 'DeepSpeed, several GPUs', 'ShardedStrategy': 'several GPUs'}


def config_list() -> str:
    """Returns the text of configs/README.md."""
    parts = [HEAD]
    for folder, title in TITLES.items():
        row = deploy_row if folder == 'deploy' else model_row
        rows = [row(path) for path in sorted((CONFIGS / folder).glob('*.py'))]
        parts.append('\n'.join([title, '', markdown(rows), '']))
    return '\n'.join(parts)


def model_row(path: Path) -> dict[str, str]:
    """Returns the row of a config that trains a model."""
    config = Config.fromfile(path, import_custom_modules=False)
    root = config.data_root
    needs = [HOSTS[config.default_scope]]
    needs.append(GENERATED.get(root, f'`{root}`'))
    if config.model.backbone.type == 'TIMMBackbone':
        needs.append('timm')
    if 'strategy' in config:
        needs.append(STRATEGIES[config.strategy.type])
    return {
        'config': f'`{path.relative_to(CONFIGS)}`',
        'data': f'{DATA[root]}, {image_size(config)}',
        'schedule': schedule(config),
        'batch': batch(config),
        'needs': ', '.join(needs),
    }


def image_size(config: Config) -> str:
    """Returns the width and the height of training images: of crops, if there are any."""
    steps = {step['type']: step for step in config.train_dataloader.dataset.pipeline}
    if 'RandomResizedCrop' in steps:
        side = steps['RandomResizedCrop']['scale']
        return f'{side}x{side}'
    if not any('Resize' in name or 'Crop' in name for name in steps):
        return 'as they are'
    if 'RandomCrop' in steps:
        height, width = steps['RandomCrop']['crop_size']
        return f'crops of {width}x{height}'
    if 'RandomChoiceResize' in steps:
        (width, least), *_, (_, most) = steps['RandomChoiceResize']['scales']
        return f'{width}x{least} to {width}x{most}'
    width, height = steps['Resize']['scale']
    return f'{width}x{height}'


def schedule(config: Config) -> str:
    """Returns the optimizer, its learning rate and the length of a training."""
    optimizer, loop = config.optim_wrapper.optimizer, config.train_cfg
    length = f'{loop.max_epochs} epochs' if 'max_epochs' in loop else f'{loop.max_iters} iterations'
    rate = f'{optimizer.lr:.1e}'.replace('.0e', 'e').replace('e-0', 'e-')
    return f'{optimizer.type} {rate}, {length}'


def batch(config: Config) -> str:
    """Returns the batch that the learning rate is meant for, as GPUs x images on each."""
    images = config.train_dataloader.batch_size
    return f'{config.auto_scale_lr.base_batch_size // images}x{images}'


def deploy_row(path: Path) -> dict[str, str]:
    """Returns the row of a config that says what a model becomes."""
    backend = Config.fromfile(path).backend_config
    common = backend.common_config
    runtime = find_backend(backend.type)
    suffixes = filter(None, ('.onnx', runtime.suffix, *runtime.companions))
    modes = 'int8', 'fp8', 'fp16', 'bf16'
    precision = next((mode for mode in modes if common.get(f'{mode}_mode')), 'fp32').upper()
    return {
        'config': f'`{path.relative_to(CONFIGS)}`',
        'backend': runtime.title,
        'precision': precision,
        'writes': ', '.join(f'`end2end{suffix}`' for suffix in suffixes),
        'needs': runtime.needs,
    }


def markdown(rows: list[dict[str, str]]) -> str:
    """Returns rows as a table of Markdown."""
    head = list(rows[0])
    cells = [head, ['---'] * len(head), *(list(row.values()) for row in rows)]
    return '\n'.join(f'| {" | ".join(row)} |' for row in cells)


if __name__ == '__main__':
    with whole_file(OUT) as part:
        part.write_text(config_list())
