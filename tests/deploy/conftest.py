"""Small models with random weights and pictures for them, that the tests of deploy share."""

import importlib
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope

from mmtrtvit.engine.hosts import import_host

DEMOS = Path(__file__).parents[2] / 'configs/demo'


def _build(name):
    """The demo's model with random weights; TRT-ViT's made small."""
    config = Config.fromfile(DEMOS / f'{name}.py')
    import_host(config.default_scope)
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
    host = importlib.import_module(f'{config.default_scope}.registry')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        return revert_sync_batchnorm(host.MODELS.build(config.model)).eval()


def _pictures(batch, size, padded):
    x = torch.randn(batch, 3, *padded, generator=torch.Generator().manual_seed(1))
    x[..., size[0]:, :] = 0
    x[..., size[1]:] = 0
    return x, torch.tensor([size] * batch, dtype=torch.float32)


@pytest.fixture(scope='session')
def build():
    """Makes a demo's model by name."""
    return _build


@pytest.fixture(scope='session')
def pictures():
    """Makes a batch of pictures and their sizes from batch, size and padded size."""
    return _pictures
