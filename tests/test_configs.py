"""Every config builds, learns and predicts, and repeats no number wrongly."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from mmtrtvit.engine.hosts import import_host

CONFIGS = Path(__file__).parents[1] / 'configs'
PATHS = sorted(path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)


@pytest.fixture(params=PATHS, ids=lambda path: str(path.relative_to(CONFIGS)))
def config(request):
    config = Config.fromfile(request.param)
    import_host(config.default_scope)
    return config


def test_there_are_configs():
    assert len(PATHS) >= 5


def test_config(config):
    from mmdet.registry import MODELS as DETECTORS
    from mmdet.testing import demo_mm_inputs
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope(config.default_scope):
        torch.manual_seed(0)
        model = DETECTORS.build(config.model)
        assert config.model.neck.in_channels == list(model.backbone.out_channels)
        assert model.bbox_head.prior_generator.strides[:3] == [
            (stride, stride) for stride in model.backbone.out_strides]
        inputs = demo_mm_inputs(2, [[3, 64, 96], [3, 96, 64]], num_classes=3)
        losses = model(**model.data_preprocessor(inputs, training=True), mode='loss')
        total = sum(torch.stack(parts).sum() for parts in losses.values())
        total.backward()
        assert torch.isfinite(total)
        unused = [name for name, parameter in model.named_parameters() if parameter.grad is None]
        assert not unused  # or training on several GPUs fails
        model.eval()
        with torch.no_grad():
            results = model(**model.data_preprocessor(inputs), mode='predict')
        assert [len(result.pred_instances.bboxes.shape) for result in results] == [2, 2]


def test_classes_are_those_of_the_heads(config):
    classes = config.train_dataloader.dataset.get('metainfo', {}).get('classes', range(80))
    assert config.model.bbox_head.num_classes == len(classes)


def test_backbone_is_registered_in_the_root(config):
    assert MODELS.get(config.model.backbone.type) is not None
