"""Exported classifiers beside MMPretrain's, with each head that the exporter knows."""

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from mmtrtvit.deploy.export.support import check, module_to_export
from mmtrtvit.deploy.settings import DeploySettings
from mmtrtvit.engine.hosts import import_host
from mmtrtvit.errors import UserError

ARCH = dict(channels=(16, 16, 32), depths=(1, 1, 1), heads=(1, 1, 2), kernels=(3, 3))


def build(head):
    pytest.importorskip('mmpretrain')
    import_host('mmpretrain')
    torch.manual_seed(0)
    config = dict(
        type='ImageClassifier',
        backbone=dict(type='EfficientViT', arch=ARCH, out_indices=(2,)),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(num_classes=3, in_channels=32, **head),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(config).eval()


@pytest.mark.parametrize(
    'head', [dict(type='LinearClsHead'), dict(type='LeViTClsHead', distillation=False)], ids=str
)
@torch.no_grad()
def test_probabilities_are_those_of_the_host(head):
    model, x = build(head), torch.randn(2, 3, 64, 96)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean)
    check(model, DeploySettings())
    (found,) = module_to_export(model, DeploySettings())(x)
    expected = torch.stack([sample.pred_score for sample in model.predict(x)])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert expected.std() > 0


def test_another_head_is_refused():
    model = build(dict(type='StackedLinearClsHead', mid_channels=[4]))
    with pytest.raises(UserError, match=r'model\.head is a StackedLinearClsHead, .* LeViTClsHead'):
        check(model, DeploySettings())
