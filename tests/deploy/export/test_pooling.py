"""RoIAlign of each box on its own level only, and who gets it."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmtrtvit.deploy.export import support
from mmtrtvit.deploy.export.ops import RoiPooling, levels_of, pooled_rois, rois_pooled_by_level
from mmtrtvit.deploy.export.to_onnx import export
from mmtrtvit.deploy.settings import DeploySettings
from mmtrtvit.engine.hosts import import_host
from mmtrtvit.runtime.sessions.opening import open_session

STRIDES = 4, 8, 16
SETTINGS = RoiPooling(
    strides=STRIDES, finest_scale=28, output_size=(3, 5), sampling_ratio=0, aligned=True
)


def pyramid(batch=2, height=256, width=320, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = [(height // stride, width // stride) for stride in STRIDES]
    return [torch.randn(batch, 3, *size, generator=generator) for size in sizes]


def some_boxes(least, most, batch=2, count=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(batch, count, 2, generator=generator) * 5
    sides = least + torch.rand(batch, count, 2, generator=generator) * (most - least)
    return torch.cat([corners, corners + sides], dim=2)


@pytest.mark.parametrize(
    'least, most, levels', [(2, 250, [0, 1, 2]), (2, 20, [0]), (230, 250, [2])]
)
def test_by_level_is_on_every_level(least, most, levels):
    """Also where a level has no box."""
    maps, boxes = pyramid(), some_boxes(least, most)
    assert levels_of(boxes, 3, SETTINGS.finest_scale).unique().tolist() == levels
    expected = pooled_rois(maps, boxes, SETTINGS)
    assert torch.equal(rois_pooled_by_level(maps, boxes, SETTINGS), expected)


class ByLevel(nn.Module):
    def forward(self, boxes, *maps):
        return rois_pooled_by_level(maps, boxes, SETTINGS)


@pytest.fixture(scope='module')
def graph(tmp_path_factory):
    """An ONNX file of any size that pools by level."""
    path = tmp_path_factory.mktemp('pooling') / 'end2end.onnx'
    inputs = {'boxes': some_boxes(2, 250), **{f'map{i}': x for i, x in enumerate(pyramid())}}
    axes = {name: {0: 'batch', 2: f'{name} rows', 3: f'{name} columns'} for name in inputs}
    axes |= {'boxes': {0: 'batch', 1: 'count'}, 'pooled': {0: 'rois'}}
    export(ByLevel(), inputs, path=path, output_names=['pooled'], dynamic_axes=axes)
    return path


@pytest.mark.parametrize('device', ['cpu', 'openvino'])
def test_in_onnx_for_any_size_and_batch(graph, device):
    if device == 'openvino':
        pytest.importorskip('openvino')
    session = open_session(graph, device, 1)
    for batch, height, most in [(2, 256, 250), (1, 128, 120), (3, 64, 20)]:
        maps, boxes = pyramid(batch, height), some_boxes(2, most, batch, 17, seed=batch)
        expected = pooled_rois(maps, boxes, SETTINGS).numpy()
        inputs = {'boxes': boxes, **{f'map{i}': x for i, x in enumerate(maps)}}
        found = session.run({name: x.numpy() for name, x in inputs.items()})['pooled']
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_who_takes_shapes_that_depend_on_values(small_models):
    """Neither TensorRT nor dynamo, which was not tried with all releases of PyTorch."""
    config = Config.fromfile(small_models / 'mask_rcnn.py')
    import_host(config.default_scope)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(config.model)

    def pooling(**settings):
        return support.module_to_export(model, DeploySettings(**settings)).pooling

    assert pooling() == pooling(backend='openvino') == 'by_level'
    assert pooling(backend='tensorrt') == pooling(exporter='dynamo') == 'roi_align'
    assert pooling(pooling='grid') == 'grid'
