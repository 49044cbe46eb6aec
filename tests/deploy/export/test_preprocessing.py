"""Preprocessing in the graph against the data preprocessors of MMDetection and MMSegmentation."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from mmtrtvit.deploy.backends.tensorrt.rules import check_graph
from mmtrtvit.deploy.export.preprocessing import WithPreprocessing
from mmtrtvit.deploy.export.to_onnx import export
from mmtrtvit.errors import UserError

NORMALISE = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
SETTINGS = [
    dict(bgr_to_rgb=True, **NORMALISE),
    dict(**NORMALISE),
    dict(bgr_to_rgb=True),
    dict(bgr_to_rgb=True, pad_size_divisor=32, **NORMALISE),
    dict(bgr_to_rgb=True, pad_size_divisor=16, pad_value=7, **NORMALISE),
]


class Input(nn.Module):
    """Returns what a network would see."""

    output_names = ('output',)

    def forward(self, x, sizes=None):
        return (x,)


def random_image(*size):
    return np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), np.uint8)


def filled_up(images):
    """Images in one batch, with anything beside them."""
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    batch = np.random.default_rng(9).integers(0, 256, (len(images), height, width, 3), np.uint8)
    for canvas, image in zip(batch, images):
        canvas[: image.shape[0], : image.shape[1]] = image
    sizes = np.array([image.shape[:2] for image in images], np.float32)
    return torch.from_numpy(batch), torch.from_numpy(sizes)


def as_the_host_does(preprocessor, images, sample):
    tensors = [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in images]
    samples = [sample(metainfo=dict(img_shape=image.shape[:2])) for image in images]
    return preprocessor(dict(inputs=tensors, data_samples=samples), False)['inputs']


@pytest.mark.parametrize('settings', SETTINGS)
@pytest.mark.parametrize('shapes', [[(64, 96)], [(61, 47)], [(50, 70), (64, 40), (33, 70)]])
def test_a_detector_sees_what_mmdet_gives_it(settings, shapes):
    from mmdet.models.data_preprocessors import DetDataPreprocessor
    from mmdet.structures import DetDataSample

    preprocessor = DetDataPreprocessor(**settings)
    images = [random_image(*shape) for shape in shapes]
    (found,) = WithPreprocessing(Input(), preprocessor)(*filled_up(images))
    expected = as_the_host_does(preprocessor, images, DetDataSample)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize('test_cfg', [None, dict(size_divisor=32)])
def test_a_segmentor_sees_what_mmseg_gives_it(test_cfg):
    from mmseg.models import SegDataPreProcessor
    from mmseg.structures import SegDataSample

    preprocessor = SegDataPreProcessor(
        bgr_to_rgb=True, size=(512, 512), pad_val=3, test_cfg=test_cfg, **NORMALISE
    )
    images = [random_image(61, 47), random_image(61, 47)[::-1]]
    batch = torch.from_numpy(np.stack(images))
    (found,) = WithPreprocessing(Input(), preprocessor)(batch)
    expected = as_the_host_does(preprocessor, images, SegDataSample)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_padding_to_a_fixed_size_is_refused():
    from mmseg.models import SegDataPreProcessor

    preprocessor = SegDataPreProcessor(test_cfg=dict(size=(64, 64)), **NORMALISE)
    with pytest.raises(UserError, match='test_cfg.size is .64, 64.*size_divisor'):
        WithPreprocessing(Input(), preprocessor)


@pytest.mark.parametrize('exporter', ['torchscript', 'dynamo'])
def test_one_graph_for_images_of_any_size(exporter, tmp_path):
    if exporter == 'dynamo':
        pytest.importorskip('torch', minversion='2.7')
    from mmdet.models.data_preprocessors import DetDataPreprocessor

    module = WithPreprocessing(
        Input(), DetDataPreprocessor(bgr_to_rgb=True, pad_size_divisor=32, **NORMALISE)
    ).eval()
    example, sizes = filled_up([random_image(70, 90), random_image(75, 80)])
    axes = dict(
        input={0: 'batch', 1: 'height', 2: 'width'},
        sizes={0: 'batch'},
        output={0: 'batch', 2: 'rows', 3: 'columns'},
    )
    path = tmp_path / 'end2end.onnx'
    export(
        module,
        dict(input=example, sizes=sizes),
        path=path,
        output_names=['output'],
        dynamic_axes=axes,
        exporter=exporter,
    )
    session = onnxruntime.InferenceSession(str(path))
    assert [value.type for value in session.get_inputs()] == ['tensor(uint8)', 'tensor(float)']
    for shapes in ([(64, 96)], [(33, 41), (61, 47), (50, 50)]):
        batch, sizes = filled_up([random_image(*shape) for shape in shapes])
        (expected,) = module(batch, sizes)
        (found,) = session.run(None, dict(input=batch.numpy(), sizes=sizes.numpy()))
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-6)
    if exporter == 'torchscript':  # the other one takes the Shape of uint8
        assert check_graph(path, '8.6') == check_graph(path, '10') == []


def test_a_detector_takes_raw_images(exportable, build, tmp_path):
    model = build('retinanet_trtvit_b')
    detector = exportable('retinanet_trtvit_b')
    module = WithPreprocessing(detector, model.data_preprocessor).eval()
    batch, sizes = filled_up([random_image(64, 90), random_image(50, 96)])
    data = model.data_preprocessor(
        dict(
            inputs=[
                image[: int(height), : int(width)].permute(2, 0, 1)
                for image, (height, width) in zip(batch, sizes)
            ],
            data_samples=None,
        )
    )
    with torch.no_grad():
        for ours, theirs in zip(module(batch, sizes), detector(data['inputs'], sizes)):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert module.output_names == detector.output_names
