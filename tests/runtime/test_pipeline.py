"""The runtime's preprocessing against the hosts' pipelines and data preprocessors, bit by bit."""

import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, TRANSFORMS, DefaultScope

from mmtrtvit.deploy.description import transforms_of
from mmtrtvit.engine.hosts import import_host
from mmtrtvit.errors import UserError
from mmtrtvit.runtime.pipeline import Pipeline

IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
DETECTION = dict(type='DetDataPreprocessor', **IMAGENET, bgr_to_rgb=True, pad_size_divisor=32)
SEGMENTATION = dict(type='SegDataPreProcessor', **IMAGENET, bgr_to_rgb=True, size=(64, 64))
CASES = {
    'keep ratio': ([dict(type='Resize', scale=(333, 200), keep_ratio=True)], DETECTION),
    'fixed size': ([dict(type='Resize', scale=(160, 96))], DETECTION),
    'one number': ([dict(type='Resize', scale=120, keep_ratio=True)], DETECTION),
    'no resize': ([], dict(DETECTION, pad_value=3)),
    'scoped, cubic': (
        [dict(type='mmdet.Resize', scale=(90, 90), interpolation='bicubic')],
        DETECTION,
    ),
    'area': (
        [dict(type='Resize', scale=(50, 50), keep_ratio=True, interpolation='area')],
        DETECTION,
    ),
    'no normalisation': ([], dict(type='DetDataPreprocessor')),
    'grey statistics': ([], dict(type='DetDataPreprocessor', mean=[120], std=[60])),
    'rgb to bgr': ([], dict(DETECTION, bgr_to_rgb=False, rgb_to_bgr=True)),
    'padded to a size': (
        [
            dict(type='Resize', scale=(90, 90), keep_ratio=True),
            dict(type='Pad', size=(100, 110), pad_val=dict(img=(114, 10, 1))),
        ],
        DETECTION,
    ),
    'padded to a square': (
        [dict(type='Pad', pad_to_square=True, size_divisor=16, pad_val=9)],
        DETECTION,
    ),
    'segmentation': ([dict(type='Resize', scale=(256, 64), keep_ratio=True)], SEGMENTATION),
    'segmentation, divisor': (
        [dict(type='Resize', scale=(256, 64), keep_ratio=True)],
        dict(SEGMENTATION, test_cfg=dict(size_divisor=32), pad_val=2),
    ),
    'segmentation, size': (
        [dict(type='Resize', scale=(60, 60), keep_ratio=True)],
        dict(SEGMENTATION, test_cfg=dict(size=(64, 96))),
    ),
}


def config_of(transforms, preprocessor):
    scope = 'mmdet' if preprocessor['type'] == 'DetDataPreprocessor' else 'mmseg'
    pack = dict(type='PackDetInputs') if scope == 'mmdet' else dict(type='PackSegInputs')
    pipeline = [dict(type='LoadImageFromFile'), *transforms, pack]
    return Config(
        dict(
            default_scope=scope,
            model=dict(data_preprocessor=preprocessor),
            test_dataloader=dict(dataset=dict(type='X', pipeline=pipeline)),
        )
    )


def reference(config, image):
    """Input, ``img_shape`` and scale factor, as the host makes them."""
    import_host(config.default_scope)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        results = dict(
            img=image,
            img_id=0,
            img_path='',
            ori_shape=image.shape[:2],
            img_shape=image.shape[:2],
            scale_factor=(1.0, 1.0),
        )
        for step in copy.deepcopy(config.test_dataloader.dataset.pipeline)[1:]:
            if step['type'].startswith('Pack'):
                step['meta_keys'] = ('img_shape', 'scale_factor', 'ori_shape')
            results = TRANSFORMS.build(step)(results)
        meta = results['data_samples'].metainfo
        prepared = MODELS.build(config.model.data_preprocessor)(pseudo_collate([results]))
    return prepared['inputs'][0], meta['img_shape'][:2], meta['scale_factor']


@pytest.mark.parametrize('case', CASES)
def test_the_input_is_that_of_the_host(case, images):
    config = config_of(*CASES[case])
    pipeline = Pipeline(transforms_of(config), 'pipeline.json')
    rng = np.random.default_rng(0)
    small = [
        rng.integers(0, 256, (*rng.integers(20, 90, 2), 3), dtype=np.uint8) for _ in range(8)
    ]  # of sizes that the resize has to round
    for image in images[:4] + small if case != 'padded to a size' else images[:1] + small:
        expected, size, scale = reference(config, image.copy())
        prepared = pipeline(image)
        assert prepared.image.dtype == np.float32
        np.testing.assert_array_equal(prepared.image, expected.numpy())
        assert prepared.size == size and prepared.original == image.shape[:2]
        assert torch.equal(torch.from_numpy(prepared.scale), torch.tensor(scale))
        assert not prepared.note


def test_a_graph_that_normalises_gets_padded_pixels(images):
    config = config_of(*CASES['keep ratio'])
    prepared = Pipeline(transforms_of(config), 'pipeline.json', normalise=False)(images[0])
    height, width = prepared.size
    assert prepared.image.dtype == np.uint8 and prepared.image.shape == (224, 288, 3)
    assert not prepared.image[height:].any() and not prepared.image[:, width:].any()
    normalised = Pipeline(transforms_of(config), 'pipeline.json')(images[0]).image
    pixels = prepared.image[:height, :width, ::-1].astype(np.float32)
    expected = (pixels - np.float32(IMAGENET['mean'])) / np.float32(IMAGENET['std'])
    np.testing.assert_array_equal(expected.transpose(2, 0, 1), normalised[:, :height, :width])


@pytest.mark.parametrize(
    'limits, resized, padded',
    [
        ([(224, 352)], (200, 200), (224, 224)),
        ([(224, 200)], (192, 192), (192, 192)),
        ([(96, 96), (100, 170), (64, 320)], (96, 96), (96, 96)),
        ([(64, 320), (300, 300)], (200, 200), (224, 224)),
    ],
)
def test_what_is_too_large_is_shrunk_and_says_so(limits, resized, padded, images):
    transforms = transforms_of(config_of(*CASES['keep ratio']))
    prepared = Pipeline(transforms, 'pipeline.json')(images[2], limits)
    assert (prepared.resized, prepared.image.shape[1:]) == (resized, padded)
    assert ('shrunk to' in prepared.note) == (resized != (200, 200))
    assert prepared.scale == pytest.approx(resized[0] / 256)


@pytest.mark.parametrize(
    'transform, message',
    [
        (
            dict(type='RandomFlip', prob=0.5),
            'does not know the transform RandomFlip. It knows: Load',
        ),
        (dict(type='Resise', scale=3), 'Did you mean Resize'),
        (
            dict(type='Resize', scale=(9, 9), backend='turbo'),
            "Resize.backend is 'turbo', expected one of: cv2, pillow",
        ),
        (dict(type='Resize', scale=(9, 9), interpolation='best'), "Resize.interpolation is 'best'"),
        (
            dict(type='Resize', scale=(9, 9, 9)),
            r'Resize.size is .*, expected a whole number or a list of 2',
        ),
        (dict(type='Resize', scale_factor=0.5), 'Resize.scale_factor is 0.5'),
        (dict(type='Pad', size=(9, 9), padding_mode='reflect'), "Pad.padding_mode is 'reflect'"),
        (dict(type='Pad', size=(9, 9), colour=3), 'does not know Pad.colour'),
    ],
)
def test_a_transform_that_is_not_known_is_refused_by_name(transform, message):
    config = config_of([transform], DETECTION)
    with pytest.raises(UserError, match=message):
        Pipeline(transforms_of(config), 'pipeline.json')


@pytest.mark.parametrize('order', ['Resize twice', 'Pad first'])
def test_resize_comes_once_and_first(order):
    resize = dict(type='Resize', size=[9, 9])
    other = resize if order == 'Resize twice' else dict(type='Pad', size=[20, 20])
    with pytest.raises(UserError, match='Resize must be the first and only'):
        Pipeline([other, resize], 'pipeline.json')


def test_a_side_that_vanishes_and_a_size_that_cannot_fit():
    keep = [dict(type='Resize', size=[100, 50], keep_ratio=True)]
    with pytest.raises(UserError, match='1 x 900 pixels cannot be resized to 0 x 100'):
        Pipeline(keep, '')(np.zeros((900, 1, 3), np.uint8))
    padded = Pipeline([dict(type='Pad', size=[300, 200])], '')
    with pytest.raises(UserError, match='pads images to 300 x 200 pixels, but the model takes'):
        padded(np.zeros((10, 10, 3), np.uint8), [(100, 100)])
