"""Augmentations that a config has in one key each: ``configs/_base_/augment``.

What they do are transforms and data sets of the hosts. Here they get their places in the pipeline
of the training data, and the size of an image, which a file for all models cannot know.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from mmengine.config import Config

from ..errors import UserError

PREFIX = 'augment_'
CACHED_IMAGES = 20  # that each worker keeps to mix with, of MMDetection's 40
RESIZES = 'Resize', 'RandomResize', 'RandomChoiceResize'


def use_augmentations(config: Config) -> None:
    """Puts the augmentations of a config into its training data.

    Their keys go, so that what is left is complete and runs with every tool.

    Args:
        config: Changed in place; left as it is without a key ``augment_*`` that is known.

    Raises:
        UserError: If one is not for this model, or does not fit its pipeline.
    """
    scope = config.get('default_scope')
    for key, (change, scopes) in AUGMENTATIONS.items():
        options = config.pop(key, None)
        if options is None:
            continue
        if not isinstance(options, dict):
            raise UserError(f'{key} is {options!r}, expected its options: {key} = dict(...).')
        if scope not in scopes:
            raise UserError(
                f'{key} is for {" and ".join(scopes)}; this config is for {scope}. Leave it out.'
            )
        if not config.get('train_dataloader'):
            raise UserError(f'{key} is for trainings, and the config has no train_dataloader.')
        loader = config.train_dataloader
        loader['dataset'] = _changed(loader['dataset'], change, options, key)


def _changed(dataset: Any, change: Callable, options: dict, key: str) -> Any:
    """Changes the data sets inside of all wrappers."""
    if isinstance(dataset, list | tuple):
        return [_changed(part, change, options, key) for part in dataset]
    for name in ('dataset', 'datasets'):
        if name in dataset:
            return dict(dataset, **{name: _changed(dataset[name], change, options, key)})
    return change(dataset, options, key)


def _balanced(leaf: dict, options: dict, key: str) -> dict:
    return dict(type='ClassBalancedDataset', dataset=leaf, **options)


def _mosaic(leaf: dict, options: dict, key: str) -> dict:
    pipeline, options = leaf.get('pipeline') or [], dict(options)
    loaded = _after_loading(pipeline, key)
    if _is_segmentor(pipeline):
        width, height = options.pop('scale', None) or _crop_of(pipeline) or _scale_of(pipeline, key)
        mosaic = [
            dict(type='RandomMosaic', img_scale=(height, width), **options),
            dict(type='RandomCrop', crop_size=(height, width)),
        ]
        return _mixed(leaf, pipeline[:loaded], [*mosaic, *pipeline[loaded:]])
    width, height = options.pop('scale', None) or _scale_of(pipeline, key)
    tile = (max(width, height),) * 2 if _has_masks(pipeline) else (width, height)
    options.setdefault('max_cached_images', CACHED_IMAGES)
    mosaic = [
        dict(type='CachedMosaic', img_scale=tile, **options),
        dict(type='RandomCrop', crop_size=tile),
    ]
    return dict(leaf, pipeline=[*pipeline[:loaded], *mosaic, *pipeline[loaded:]])


def _mixup(leaf: dict, options: dict, key: str) -> dict:
    pipeline, options = leaf.get('pipeline') or [], dict(options)
    if _has_masks(pipeline):
        raise UserError(f'{key} mixes boxes and no masks: take augment_copy_paste in its place.')
    scale = options.pop('scale', None) or _scale_of(pipeline, key)
    options.setdefault('max_cached_images', CACHED_IMAGES)
    mixup = dict(type='CachedMixUp', img_scale=tuple(scale), **options)
    return dict(leaf, pipeline=[*pipeline[:-1], mixup, pipeline[-1]])


def _copy_paste(leaf: dict, options: dict, key: str) -> dict:
    pipeline, options = leaf.get('pipeline') or [], dict(options)
    if not _has_masks(pipeline):
        raise UserError(
            f'{key} pastes masks: it is for instance segmentors, whose pipeline has '
            "dict(type='LoadAnnotations', with_mask=True)."
        )
    side = max(options.pop('scale', None) or _scale_of(pipeline, key))
    same_size = dict(type='Pad', size=(side, side))
    copy_paste = dict(type='CopyPaste', **options)
    return _mixed(leaf, [*pipeline[:-1], same_size], [copy_paste, pipeline[-1]])


class Augmentation(NamedTuple):
    """How an augmentation gets into a data set.

    Attributes:
        change: Returns a data set's config with it; called with that, the options and the key.
        scopes: Hosts that have it.
    """

    change: Callable[[dict, dict, str], dict]
    scopes: tuple[str, ...]


# In the order in which they are put in, each around or behind those before.
AUGMENTATIONS = {
    f'{PREFIX}mosaic': Augmentation(_mosaic, ('mmdet', 'mmseg')),
    f'{PREFIX}mixup': Augmentation(_mixup, ('mmdet',)),
    f'{PREFIX}copy_paste': Augmentation(_copy_paste, ('mmdet',)),
    f'{PREFIX}class_balanced': Augmentation(_balanced, ('mmdet', 'mmpretrain')),
}


def _mixed(leaf: dict, before: list[dict], after: list[dict]) -> dict:
    """A data set whose transforms see several images at once, behind those that see one."""
    inner = dict(leaf, pipeline=before)
    return dict(type='MultiImageMixDataset', dataset=inner, pipeline=after)


def _after_loading(pipeline: list[dict], key: str) -> int:
    """Returns where the transforms behind the loading of image and annotations begin."""
    for index, step in enumerate(pipeline):
        if str(step.get('type')).rpartition('.')[2] == 'LoadAnnotations':
            return index + 1
    raise UserError(f'{key} needs a train_dataloader whose pipeline has LoadAnnotations.')


def _steps(pipeline: list[dict], *kinds: str) -> Iterator[dict]:
    yield from (step for step in pipeline if str(step.get('type')).rpartition('.')[2] in kinds)


def _is_segmentor(pipeline: list[dict]) -> bool:
    return any(_steps(pipeline, 'PackSegInputs'))


def _has_masks(pipeline: list[dict]) -> bool:
    return any(step.get('with_mask') for step in _steps(pipeline, 'LoadAnnotations'))


def _scale_of(pipeline: list[dict], key: str) -> tuple[int, int]:
    """Returns width and height that images are resized to, the first if there are several."""
    for step in _steps(pipeline, *RESIZES):
        scale = step.get('scale') or next(iter(step.get('scales') or ()), None)
        if isinstance(scale, list | tuple):
            first = scale[0] if isinstance(scale[0], list | tuple) else scale
            return int(first[0]), int(first[1])
    raise UserError(
        f'{key} does not find the size of an image in the pipeline of train_dataloader '
        f'({" or ".join(RESIZES)} with a scale). Set {key}.scale=(WIDTH, HEIGHT).'
    )


def _crop_of(pipeline: list[dict]) -> tuple[int, int] | None:
    """Returns width and height of the crop that a segmentor learns from, if there is one."""
    for step in _steps(pipeline, 'RandomCrop'):
        height, width = step['crop_size']
        return width, height
    return None
