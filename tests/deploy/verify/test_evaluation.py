"""Graphs of known outputs behind the interface of the hosts' models."""

import numpy as np
import pytest
import torch

from mmtrtvit.deploy.verify.evaluation import HostPreprocessor, deployed
from mmtrtvit.engine.predictor import load
from mmtrtvit.errors import UserError
from mmtrtvit.runtime.sessions.base import ShapeLimits, Tensor, any_shape


class KnownGraph:
    """A session that gives the same outputs for every input and keeps the inputs."""

    backend = 'known'

    def __init__(self, shape, **outputs):
        kinds = dict(input=shape, sizes=(shape[0], 2))
        self.inputs = tuple(Tensor(*each, np.dtype('float32')) for each in kinds.items())
        self.outputs = tuple(Tensor(name, x.shape, x.dtype) for name, x in outputs.items())
        self.profiles = any_shape(self.inputs)
        self.values = outputs
        self.seen = []

    def run(self, inputs):
        self.seen.append(inputs)
        return self.values


def sample(kind, size, scale=(1.0, 1.0)):
    if kind == 'fpn':
        from mmseg.structures import SegDataSample as Sample
    else:
        from mmdet.structures import DetDataSample as Sample
    original = tuple(round(side / factor) for side, factor in zip(size, reversed(scale)))
    return Sample(metainfo=dict(img_shape=size, ori_shape=original, scale_factor=scale))


def predict(small_models, kind, graph, size, count=1, scale=(1.0, 1.0)):
    model = load(small_models / f'{kind}.py', small_models / f'{kind}.pth', device='cpu').model
    data = dict(
        inputs=[torch.full((3, *size), 7, dtype=torch.uint8)] * count,
        data_samples=[sample(kind, size, scale) for _ in range(count)],
    )
    return deployed(model, graph).test_step(data)


class ResizingGraph:
    """A session of a detector that doubles images, and finds one that fills half of each."""

    backend = 'known'

    def __init__(self, shape=(None, None, None, 3)):
        self.inputs = (Tensor('input', shape, np.dtype('uint8')),)
        names = 'num_dets', 'dets', 'labels', 'sizes'
        self.outputs = tuple(Tensor(name, (None,), np.dtype('float32')) for name in names)
        self.profiles = any_shape(self.inputs)
        self.seen = []

    def run(self, inputs):
        images = inputs['input']
        self.seen.append(images)
        count, height, width, _ = images.shape
        return dict(
            num_dets=np.ones((count, 1), np.int32),
            dets=np.tile(np.array([0, 0, width, height, 1], np.float32), (count, 1, 1)),
            labels=np.zeros((count, 1), np.int32),
            sizes=np.tile(np.array([2 * height, 2 * width], np.float32), (count, 1)),
        )


def test_images_of_several_sizes_behind_a_graph_that_resizes(small_models):
    """They lie in one batch, filled up to one size, and get a run for each of their own."""
    model = load(small_models / 'retinanet.py', small_models / 'retinanet.pth', device='cpu').model
    sizes = (40, 60), (40, 60), (80, 30)
    graph = ResizingGraph()
    data = dict(
        inputs=[torch.full((3, *size), 7, dtype=torch.uint8) for size in sizes],
        data_samples=[sample('retinanet', size) for size in sizes],
    )
    found = deployed(model, graph).test_step(data)
    assert [image.shape for image in graph.seen] == [(2, 40, 60, 3), (1, 80, 30, 3)]
    assert all((image == 7).all() for image in graph.seen)
    for each, (height, width) in zip(found, sizes, strict=True):
        assert each.pred_instances.bboxes.tolist() == [[0, 0, width / 2, height / 2]]
        assert each.img_shape == (2 * height, 2 * width) and each.scale_factor == (2, 2)
    fixed = deployed(model, ResizingGraph((None, 40, 60, 3)))
    data['data_samples'] = [sample('retinanet', size) for size in sizes]
    with pytest.raises(UserError, match=r'resizes images of 40 x 60 \(H x W\); one has 80 x 30'):
        fixed.test_step(data)


def test_what_fills_up_a_fixed_size_is_cut_off_again(small_models):
    logits = np.zeros((1, 4, 32, 40), np.float32)
    logits[:, 0] = 0.5
    logits[:, 1, :, :12] = 1  # 48 of 160 columns, which is half of the image's 96
    graph = KnownGraph((1, 3, 128, 160), output=logits)
    (found,) = predict(small_models, 'fpn', graph, (64, 96))
    labels = found.pred_sem_seg.data[0]
    assert labels.shape == (64, 96)
    assert (labels[:, :47] == 1).all() and (labels[:, 49:] == 0).all()
    assert graph.seen[0]['input'].shape == (1, 3, 128, 160)
    assert not graph.seen[0]['input'][..., 64:, :].any()


def test_boxes_return_to_the_original_image(small_models):
    dets = np.zeros((1, 5, 5), np.float32)
    dets[0, :2] = [[10, 20, 30, 40, 0.9], [0, 0, 5, 5, 0.8]]
    graph = KnownGraph(
        (None, 3, None, None),
        num_dets=np.array([[2]], np.int32),
        dets=dets,
        labels=np.array([[2, 0, -1, -1, -1]], np.int32),
    )
    (found,) = predict(small_models, 'retinanet', graph, (64, 96), scale=(2.0, 4.0))
    instances = found.pred_instances
    assert instances.bboxes.tolist() == [[5, 5, 15, 10], [0, 0, 2.5, 1.25]]
    assert instances.labels.tolist() == [2, 0]
    assert instances.scores.tolist() == pytest.approx([0.9, 0.8])
    assert graph.seen[0]['sizes'].tolist() == [[64, 96]]


def test_a_batch_in_parts_of_what_the_graph_takes(small_models):
    graph = KnownGraph((2, 3, 64, 96), output=np.zeros((2, 4, 16, 24), np.float32))
    assert len(predict(small_models, 'fpn', graph, (64, 96), count=3)) == 3
    assert [len(inputs['input']) for inputs in graph.seen] == [2, 2]


def test_a_batch_in_parts_of_what_the_profiles_take(small_models):
    graph = KnownGraph((None, 3, None, None), output=np.zeros((2, 4, 16, 24), np.float32))
    graph.profiles = tuple(
        dict(input=ShapeLimits((1, 3, 32, 32), (most, 3, 128, 128))) for most in (1, 2)
    )
    assert len(predict(small_models, 'fpn', graph, (64, 96), count=3)) == 3
    assert [len(inputs['input']) for inputs in graph.seen] == [2, 2]


def test_graphs_that_take_images_get_their_pixels(small_models):
    graph = KnownGraph((1, 64, 96, 3), output=np.zeros((1, 4, 16, 24), np.float32))
    predict(small_models, 'fpn', graph, (64, 96))
    images = graph.seen[0]['input']
    assert images.shape == (1, 64, 96, 3) and images.dtype == np.uint8 and (images == 7).all()


def test_a_image_larger_than_the_graph(small_models):
    graph = KnownGraph((1, 3, 32, 32), output=np.zeros((1, 4, 8, 8), np.float32))
    with pytest.raises(UserError, match=r'takes images of 32 x 32 \(H x W\); one has 64 x 96'):
        predict(small_models, 'fpn', graph, (64, 96))


def test_a_graph_cannot_be_trained(small_models):
    model = load(small_models / 'fpn.py', small_models / 'fpn.pth', device='cpu').model
    graph = KnownGraph((1, 3, 32, 32), output=np.zeros((1, 4, 8, 8), np.float32))
    with pytest.raises(UserError, match='a deployed model can predict, but not loss'):
        deployed(model, graph)(torch.zeros(1, 3, 32, 32), [], mode='loss')


def test_the_models_own_preprocessor_stays_as_it_is(small_models):
    own = load(
        small_models / 'fpn.py', small_models / 'fpn.pth', device='cpu'
    ).model.data_preprocessor
    HostPreprocessor(own, (1, 64, 96, 3))
    assert own._enable_normalize and own._channel_conversion
