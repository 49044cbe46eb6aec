"""Resizing in the graph against OpenCV and mmcv."""

import cv2
import mmcv
import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from mmtrtvit.deploy.backends.tensorrt.rules import check_graph
from mmtrtvit.deploy.export.resizing import pipeline_resize, resized
from mmtrtvit.deploy.export.to_onnx import export
from mmtrtvit.engine.config import read_config
from mmtrtvit.errors import UserError
from mmtrtvit.runtime.pipeline import Resize

# Height and width, and the scale of Resize: smaller, larger, half, the same, and one pixel.
SIZES = [
    ((480, 640), (133, 80)),
    ((64, 48), (300, 200)),
    ((200, 300), (150, 100)),
    ((77, 301), (301, 77)),
    ((1, 5), (40, 20)),
    ((1201, 799), (133, 80)),
]


def images(height, width, count=1):
    return np.random.default_rng(height + width).integers(
        0, 256, (count, height, width, 3), np.uint8
    )


@pytest.mark.parametrize('keep_ratio', [True, False])
@pytest.mark.parametrize('size, scale', SIZES)
def test_pixels_are_those_of_mmcv(size, scale, keep_ratio):
    batch = images(*size, count=2)
    found, sizes = resized(torch.from_numpy(batch), Resize(scale, keep_ratio))
    for image, ours, ours_size in zip(batch, found.numpy(), sizes.numpy()):
        theirs = (mmcv.imrescale if keep_ratio else mmcv.imresize)(image, scale)
        np.testing.assert_array_equal(ours, theirs)
        assert tuple(ours_size) == theirs.shape[:2]


class Resizing(nn.Module):
    def forward(self, input):
        return resized(input, Resize((200, 120), keep_ratio=True))


def test_one_graph_for_images_of_any_size(tmp_path):
    path = tmp_path / 'end2end.onnx'
    export(
        Resizing().eval(),
        dict(input=torch.from_numpy(images(70, 90, 2))),
        path=path,
        output_names=['output', 'sizes'],
        dynamic_axes=dict(
            input={0: 'batch', 1: 'height', 2: 'width'},
            output={0: 'batch', 1: 'rows', 2: 'columns'},
            sizes={0: 'batch'},
        ),
    )
    session = onnxruntime.InferenceSession(str(path))
    for size in ((64, 96), (240, 400), (333, 100)):
        batch = images(*size, count=2)
        found, sizes = session.run(None, dict(input=batch))
        height, width = Resize((200, 120), keep_ratio=True).target(*size)
        assert sizes.tolist() == [[height, width]] * 2
        for image, ours in zip(batch, found):
            np.testing.assert_array_equal(ours, cv2.resize(image, (width, height)))
    assert check_graph(path, '8.6') == check_graph(path, '10') == []


@pytest.mark.parametrize(
    'name, steps, message',
    [
        ('retinanet', [], 'must resize by Resize, and do nothing else.*it has no Resize'),
        (
            'retinanet',
            [dict(type='Resize', scale=(64, 64)), dict(type='Pad', size_divisor=32)],
            'it has Resize and Pad. Take onnx_config.preprocessing=True',
        ),
        (
            'retinanet',
            [dict(type='Resize', scale=(64, 64), interpolation='nearest')],
            "interpolation='nearest', but a graph knows 'cv2' and 'bilinear' only",
        ),
        (
            'classifier',
            [dict(type='ResizeEdge', scale=64), dict(type='CenterCrop', crop_size=64)],
            'it has ResizeEdge and CenterCrop',
        ),
    ],
)
def test_other_pipelines_are_refused(small_models, name, steps, message):
    config = read_config(small_models / f'{name}.py')
    first, *_, last = config.test_dataloader.dataset.pipeline
    config.test_dataloader.dataset.pipeline = [first, *steps, last]
    with pytest.raises(UserError, match=message):
        pipeline_resize(config)


def test_the_resize_of_a_pipeline(small_models):
    config = read_config(small_models / 'retinanet.py')
    scale = next(
        tuple(each['scale'])
        for each in config.test_dataloader.dataset.pipeline
        if each['type'] == 'Resize'
    )
    assert pipeline_resize(config) == Resize(scale, keep_ratio=True)
