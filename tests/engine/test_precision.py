"""Models that compute in half precision against themselves in float32."""

import pytest
import torch
from torch.testing import assert_close

from mmtrtvit.engine import precision
from mmtrtvit.engine.precision import dense_parts, in_precision
from mmtrtvit.engine.predictor import load
from mmtrtvit.errors import UserError


@pytest.fixture
def model(small_models):
    return lambda name: load(small_models / f'{name}.py', small_models / f'{name}.pth').model


@pytest.mark.parametrize('name', ['retinanet', 'upernet', 'fpn'])
@torch.no_grad()
def test_heads_return_float32_close_to_float32(name, model):
    model = model(name)
    x = torch.rand(1, 3, 64, 96, generator=torch.manual_seed(0))
    outputs = model(x, mode='tensor'), in_precision(model, 'bf16')(x, mode='tensor')
    flat = [torch.cat([each.flatten() for each in tensors(output)]) for output in outputs]
    assert flat[1].dtype == torch.float32
    assert not torch.equal(*flat)
    assert (flat[0] - flat[1]).norm() < 0.05 * flat[0].norm()


def tensors(outputs):
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [x for each in outputs for x in tensors(each)]


def test_between_the_parts_all_is_float32(model, monkeypatch):
    model = in_precision(model('mask_rcnn'), 'bf16')
    assert [name for name, _ in dense_parts(model)] == [
        'backbone',
        'neck',
        'rpn_head',
        'roi_head.bbox_head',
        'roi_head.mask_head',
    ]
    seen = []
    extract = model.roi_head.bbox_roi_extractor
    extract.register_forward_pre_hook(lambda module, args: seen.extend([*args[0], args[1]]))
    predict = dict(inputs=[torch.zeros(3, 64, 96)], data_samples=[sample()])
    found = model.test_step(predict)[0].pred_instances
    assert {x.dtype for x in [*seen, found.bboxes, found.scores]} == {torch.float32}


def sample():
    from mmdet.structures import DetDataSample

    meta = dict(img_shape=(64, 96), ori_shape=(64, 96), scale_factor=(1.0, 1.0), img_id=0)
    return DetDataSample(metainfo=meta)


def test_float32_is_the_fused_copy(model):
    model = model('fpn')
    x = torch.rand(1, 3, 64, 64, generator=torch.manual_seed(0))
    with torch.no_grad():
        assert_close(
            in_precision(model, 'fp32')(x, mode='tensor'),
            model(x, mode='tensor'),
            rtol=0,
            atol=1e-3,
        )


def test_half_is_refused_on_a_cpu(model):
    with pytest.raises(UserError, match='--precision fp16 is for GPUs'):
        in_precision(model('fpn'), 'fp16')
    with pytest.raises(UserError, match="'int4': expected one of fp32, bf16, fp16"):
        in_precision(model('fpn'), 'int4')


def test_a_slow_precision_is_told(model, monkeypatch, caplog):
    told = []
    monkeypatch.setattr(precision, 'print_log', lambda text, *_: told.append(text))
    for has_bf16 in (True, False):
        monkeypatch.setattr(precision, 'has_bf16', lambda has_bf16=has_bf16: has_bf16)
        in_precision(model('fpn'), 'bf16')
    (text,) = told
    assert text.startswith('bf16 will be slow')
