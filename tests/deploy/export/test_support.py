"""Models that cannot be exported exactly are refused by the name of the part."""

import importlib
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmtrtvit.deploy.export import support
from mmtrtvit.deploy.settings import DeploySettings
from mmtrtvit.engine.hosts import import_host
from mmtrtvit.errors import UserError


def host_config(name):
    package, _, path = name.partition('::')
    module = importlib.import_module(package)
    return Config.fromfile(Path(module.__file__).with_name('.mim') / 'configs' / path)


def check(small_models, name, changes, **settings):
    check_config(Config.fromfile(small_models / f'{name}.py'), changes, **settings)


def check_config(config, changes, **settings):
    import_host(config.default_scope)
    config.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(config.model)
    support.check(model, DeploySettings(**settings))


@pytest.mark.parametrize('name', ['retinanet', 'mask_rcnn', 'upernet', 'fpn'])
def test_our_models_are_known(small_models, name):
    check(small_models, name, {})


@pytest.mark.parametrize(
    'name',
    [
        'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        'mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py',
        'mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py',
    ],
)
def test_the_hosts_own_models_are_known(name):
    check_config(host_config(name), {'backbone.init_cfg': None})


@pytest.mark.parametrize(
    'name, message',
    [
        (
            'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
            'model is a FCOS, which the exporter',
        ),
        ('mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py', 'model is a CascadeRCNN'),
        (
            'mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512.py',
            'model.decode_head is a DepthwiseSeparableASPPHead',
        ),
    ],
)
def test_other_models_of_the_hosts_are_refused(name, message):
    with pytest.raises(UserError, match=re.escape(message)):
        check_config(host_config(name), {})


@pytest.mark.parametrize(
    'name, changes, message',
    [
        (
            'retinanet',
            {'test_cfg.nms.type': 'soft_nms'},
            "model.test_cfg.nms.type is 'soft_nms', but the exporter knows 'nms' only",
        ),
        ('retinanet', {'test_cfg.nms.class_agnostic': True}, 'class_agnostic is True'),
        ('retinanet', {'test_cfg.nms.sigma': 0.5}, 'model.test_cfg.nms has sigma'),
        ('retinanet', {'test_cfg.nms_pre': 5000}, 'model.test_cfg.nms_pre is 5000'),
        ('retinanet', {'bbox_head.bbox_coder.add_ctr_clamp': True}, 'add_ctr_clamp is True'),
        ('retinanet', {'bbox_head.bbox_coder.clip_border': False}, 'clip_border is False'),
        ('mask_rcnn', {'test_cfg.rpn.nms.type': 'soft_nms'}, 'model.test_cfg.rpn.nms.type'),
        ('mask_rcnn', {'test_cfg.rcnn.nms.type': 'soft_nms'}, 'model.test_cfg.rcnn.nms.type'),
        ('mask_rcnn', {'roi_head.bbox_roi_extractor.roi_layer.pool_mode': 'max'}, 'pool_mode'),
        (
            'upernet',
            {
                'decode_head.type': 'PSPHead',
                'decode_head.in_channels': 64,
                'decode_head.in_index': 3,
            },
            'model.decode_head is a PSPHead',
        ),
        (
            'upernet',
            {'test_cfg.mode': 'slide', 'test_cfg.crop_size': (64, 64), 'test_cfg.stride': (32, 32)},
            "model.test_cfg.mode is 'slide'",
        ),
    ],
)
def test_unknown_parts_are_refused_by_name(small_models, name, changes, message):
    with pytest.raises(UserError, match=re.escape(message)):
        check(small_models, name, changes)


def test_one_class_has_no_best_class(small_models):
    with pytest.raises(UserError, match='out_channels is 1, whose label map needs a threshold'):
        check(
            small_models,
            'fpn',
            {
                'decode_head.out_channels': 1,
                'decode_head.num_classes': 2,
                'decode_head.threshold': 0.3,
                'decode_head.loss_decode.use_sigmoid': True,
            },
            with_argmax=True,
        )
