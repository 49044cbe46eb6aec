"""Test-time augmentation: what is found in an image flipped and in other sizes, merged by the host.

Each host package has a model around the model for it, and MMCV the transform that makes the copies.
"""

import copy
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.hooks.test_time_aug_hook import PrepareTTAHook

from ..errors import UserError
from .parts import leaf_datasets

SCALES = 0.75, 1.0, 1.25  # of the size in the config
MODELS: dict[str, dict[str, Any]] = {
    'mmdet': dict(
        type='DetTTAModel',
        tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
    ),
    'mmseg': dict(type='SegTTAModel'),
    'mmpretrain': dict(type='AverageClsScoreTTA'),
}


def use_tta(config: Config) -> Hook:
    """Lets test images come in several copies, and returns the hook that merges what is found.

    A config's own ``tta_pipeline`` and ``tta_model``, as the hosts have them, come first. Without,
    there are six copies: the config's size times :data:`SCALES`, each plain and flipped; two for
    classifiers, in one size.

    Args:
        config: Changed in place.

    Raises:
        UserError: If there is no merging for the model, or no pipeline to make copies in.
    """
    scope = config.get('default_scope')
    if scope not in MODELS:
        raise UserError(f'--tta: expected a model of {", ".join(MODELS)}, not of {scope!r}.')
    if 'mask_head' in str(config.model) and not config.get('tta_model'):
        raise UserError(
            '--tta: MMDetection merges boxes, but no masks. Leave it out for instance segmentation.'
        )
    model = config.get('tta_model') or MODELS[scope]
    for key, dataset in leaf_datasets(config, 'test'):
        dataset['pipeline'] = config.get('tta_pipeline') or augmented(
            dataset.get('pipeline') or (), key, SCALES if scope != 'mmpretrain' else ()
        )
    return PrepareTTAHook(ConfigDict(model))


def augmented(pipeline: Sequence[dict], key: str, scales: Sequence[float] = SCALES) -> list[dict]:
    """Returns a test pipeline that makes copies of an image.

    Args:
        pipeline: It begins with the loading and ends with the packing of an image.
        key: That of the data set, for messages.
        scales: Factors of the size that ``Resize`` makes; none for one size.

    Raises:
        UserError: If the pipeline is another one.
    """
    load, *steps = copy.deepcopy(list(pipeline)) or [dict()]
    resize = [place for place, step in enumerate(steps) if step['type'] == 'Resize']
    packs = steps and str(steps[-1]['type']).startswith('Pack')
    if not packs or scales and (len(resize) != 1 or not steps[resize[0]].get('scale')):
        raise UserError(
            f'--tta: {key}.pipeline has to load, resize (Resize with a scale) and pack an image. '
            'Write tta_pipeline into the config to say how else to augment it.'
        )
    choices = [[step] for step in steps]
    if scales:
        choices[resize[0]] = [_scaled(steps[resize[0]], factor) for factor in scales]
    flips = [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)]
    choices.insert(resize[0] + 1 if scales else -1, flips)
    if 'meta_keys' in steps[-1]:
        steps[-1]['meta_keys'] = (*steps[-1]['meta_keys'], 'flip', 'flip_direction')
    return [load, dict(type='TestTimeAug', transforms=choices)]


def _scaled(step: dict, factor: float) -> dict:
    scale = step['scale']
    sides = [scale] if isinstance(scale, int) else scale
    scaled = tuple(max(1, round(side * factor)) for side in sides)
    return dict(step, scale=scaled if len(scaled) > 1 else scaled[0])
