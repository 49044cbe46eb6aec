"""Exported models with random weights, the same in PyTorch, and pictures."""

import copy
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from mmtrtvit.deploy.description import describe, write_description
from mmtrtvit.deploy.evaluation import deployed
from mmtrtvit.deploy.runners import OnnxRunner
from mmtrtvit.deploy.settings import DeploySettings
from mmtrtvit.deploy.workflow import export_model
from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.hosts import import_host
from mmtrtvit.engine.predictor import load

DEMOS = 'configs/demo'
SIZES = [(100, 130), (130, 100), (256, 256), (301, 77), (40, 40)]


def small(name):
    """A demo's config, with a TRT-ViT of few channels and few detections."""
    config = read_config(f'{DEMOS}/{name}.py')
    if 'trtvit' in name:
        widths = (32, 32, 64, 64)
        config.model.backbone.arch = dict(depths=(1, 1, 1, 2), channels=widths)
        if 'neck' in config.model:
            config.model.neck.in_channels = list(widths[1:])
        else:
            config.model.decode_head.in_channels = list(widths)
            config.model.auxiliary_head.in_channels = 64
    if 'roi_head' in config.model:
        config.model.test_cfg.rpn.max_per_img = 30
        config.model.test_cfg.rcnn.max_per_img = 10
    elif 'bbox_head' in config.model:
        config.model.test_cfg.max_per_img = 20
    return config


def export(config, work_dir, **settings):
    """Exports a config with random weights.

    Returns:
        ``work_dir``; ``torch``, a Predictor; and ``deployed``, a Predictor with the graph inside.
    """
    settings = DeploySettings(**settings)
    import_host(config.default_scope)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(config.model)
    if 'decode_head' in config.model:  # no class wins everywhere
        torch.nn.init.normal_(model.decode_head.conv_seg.weight, std=.5)
    torch.save(dict(state_dict=model.state_dict()), work_dir / 'weights.pth')
    predictor = load(config, work_dir / 'weights.pth', 'cpu')
    path = work_dir / settings.save_file
    export_model(predictor.model, settings, path)
    meta = predictor.visualizer.dataset_meta
    write_description(work_dir, describe(
        config, settings, path.name, meta['classes'], meta['palette'], work_dir / 'weights.pth'))
    graph = copy.copy(predictor)
    graph.model = deployed(predictor.model, OnnxRunner(path))
    return SimpleNamespace(work_dir=work_dir, torch=predictor, deployed=graph)


@pytest.fixture(scope='session')
def pictures():
    """Pictures of several sizes, ``(H, W, 3)``, uint8, BGR, with something in them."""
    rng = np.random.default_rng(0)
    found = []
    for height, width in SIZES:
        image = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
        found.append(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC))
    return found


@pytest.fixture(scope='session')
def exported(tmp_path_factory):
    """Exports each demo by name once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = export(small(name), tmp_path_factory.mktemp(name))
        return made[name]

    return get
