"""Sizes after the resizing of a config, compared with the transforms and boxes of MMDetection."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmtrtvit.annotations.data import AnnotatedImage, DataSet
from mmtrtvit.annotations.findings import Split
from mmtrtvit.annotations.problems import LEAST_PIXELS, Problem
from mmtrtvit.datasets.inspection import sizes
from mmtrtvit.datasets.inspection.hints import find_hints
from mmtrtvit.datasets.inspection.report import size_rows
from mmtrtvit.datasets.inspection.resizing import Resizing, read_resizing
from mmtrtvit.datasets.inspection.sizes import best_fit, measure, read_anchors
from mmtrtvit.engine.hosts import import_host

RETINANET = dict(
    bbox_head=dict(
        anchor_generator=dict(
            type='AnchorGenerator',
            octave_base_scale=4,
            scales_per_octave=3,
            ratios=[0.5, 1.0, 2.0],
            strides=[8, 16],
        )
    ),
    train_cfg=dict(assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=(0.1, 0.4))),
)


@pytest.fixture(scope='module', autouse=True)
def host():
    import_host('mmdet')


def config(*pipeline, model=None, wrap=lambda dataset: dataset):
    loader = dict(dataset=wrap(dict(type='CocoDataset', pipeline=list(pipeline))))
    return Config(dict(train_dataloader=loader, model=model))


@pytest.mark.parametrize(
    'step',
    [
        dict(scale=(133, 80), keep_ratio=True),
        dict(scale=(80, 133), keep_ratio=True),
        dict(scale=(133, 80)),
        dict(scale=64),
        dict(scale_factor=0.5),
        dict(scale_factor=2.0, keep_ratio=True),
    ],
)
@pytest.mark.parametrize('size', [(64, 48), (48, 64), (100, 20)])
def test_images_get_the_size_that_mmcv_gives_them(step, size):
    from mmcv.transforms import Resize

    resizing = read_resizing(config(dict(type='mmdet.Resize', **step)), 'train')
    resized = Resize(**step)(dict(img=np.zeros((size[1], size[0], 3), np.uint8)))['img']
    expected = np.array(resized.shape[1::-1])
    assert np.abs(resizing.factors([size])[0] * size - expected).max() <= 0.51


@pytest.mark.parametrize(
    'pipeline, words',
    [
        ([], 'as they are'),
        ([dict(type='Resize', scale=(0, 0))], 'as they are'),
        ([dict(type='RandomFlip'), dict(type='Resize', scale_factor=0.5)], 'x 0.5'),
        ([dict(type='Resize', scale=(64, 32))], 'to 64 x 32'),
        (
            [dict(type='RandomResize', scale=(100, 60), ratio_range=(0.5, 2.5), keep_ratio=True)],
            'within 150 x 90, on average',
        ),
        (
            [dict(type='RandomResize', scale=[(100, 40), (100, 80)], keep_ratio=True)],
            'within 100 x 60, on average',
        ),
        (
            [dict(type='RandomChoiceResize', scales=[(9, 90), (9, 30), (9, 60)], keep_ratio=True)],
            'within 9 x 60, on average',
        ),
        (
            [dict(type='RandomChoice', transforms=[[dict(type='Resize', scale=7)], []])],
            'to 7 x 7',
        ),
    ],
)
def test_what_a_pipeline_says(pipeline, words):
    assert str(read_resizing(config(*pipeline), 'train')) == words


def test_a_pipeline_around_a_data_set_is_read_too():
    mixed = config(
        wrap=lambda dataset: dict(
            type='MultiImageMixDataset',
            dataset=dataset,
            pipeline=[dict(type='Resize', scale=(64, 32))],
        )
    )
    assert read_resizing(mixed, 'train') == Resizing((64, 32))
    assert read_resizing(mixed, 'val') == Resizing()


@pytest.mark.parametrize('block', [2, 1 << 13])
def test_the_fit_of_anchors_is_mmdetections_iou_of_centred_boxes(block, monkeypatch):
    from mmdet.registry import TASK_UTILS
    from mmdet.structures.bbox import bbox_overlaps

    monkeypatch.setattr(sizes, 'BLOCK', block)
    boxes = np.random.default_rng(0).uniform(2, 200, (7, 2))
    anchors = read_anchors(RETINANET)
    assert anchors.least == 0.4 and anchors.shapes.shape == (18, 2)
    levels = TASK_UTILS.build(RETINANET['bbox_head']['anchor_generator']).base_anchors
    centred = torch.tensor(np.concatenate([-boxes / 2, boxes / 2], axis=1)).float()
    expected = bbox_overlaps(centred, torch.cat(levels)).max(dim=1).values
    assert np.allclose(best_fit(boxes, anchors), expected, atol=1e-5)


@pytest.mark.parametrize(
    'model, found',
    [
        (RETINANET, True),
        (dict(rpn_head=RETINANET['bbox_head'], train_cfg=dict(rpn=RETINANET['train_cfg'])), True),
        (dict(RETINANET, train_cfg=dict(assigner=dict(type='ATSSAssigner', topk=9))), False),
        (dict(RETINANET, bbox_head=dict(anchor_generator=dict(type='AnchorGenerator'))), False),
        (dict(bbox_head=dict(type='FCOSHead')), False),
        (dict(decode_head=[dict()]), False),
        (None, False),
    ],
)
def test_which_models_have_anchors(model, found):
    assert (read_anchors(model) is not None) == found


def split_of(*objects, ignored=(), counts=None):
    """A split of an image of 100 x 50 pixels with boxes of these widths and heights."""
    image = AnnotatedImage(Path('a.jpg'), 'a.jpg', (100, 50))
    for number, (width, height) in enumerate(objects):
        image.add((1, 2, 1 + width, 2 + height), 0, ignored=number in ignored)
    data = DataSet('a.json', ('cat', 'dog'), None, images=[image])
    data.counts.update(counts or image.counts())
    return Split('train', [data])


def test_objects_are_measured_after_resizing():
    halved = config(dict(type='Resize', scale=(50, 25)), model=RETINANET)
    split = split_of((8, 32), (15, 15), (16, 17), (1, 1), (90, 3), ignored=[3])
    found = measure(halved, split)
    assert found.sides.tolist() == pytest.approx([8, 7.5, (8 * 8.5) ** 0.5, (45 * 1.5) ** 0.5])
    assert found.small == dict(cat=1, dog=0) and found.objects == dict(cat=4, dog=0)
    assert found.percentiles[50] == pytest.approx(np.median(found.sides))
    shapes = read_anchors(RETINANET)
    fits = best_fit(np.array([[4, 16], [7.5, 7.5], [8, 8.5], [45, 1.5]]), shapes)
    assert found.unfit == dict(cat=sum(fits < 0.4), dog=0) and found.least == 0.4
    assert measure(config(), split).unfit is None


def test_classes_of_several_data_sets_are_found_by_name():
    split, other = split_of((1, 1), (20, 20)), split_of((2, 2))
    other.data[0].classes = 'dog', 'cat'
    split.data += other.data
    found = measure(config(model=RETINANET), split)
    assert found.objects == dict(cat=2, dog=1) and found.small == dict(cat=1, dog=1)


def test_hints_about_objects():
    split = split_of((4, 4), *[(32, 32)] * 19, counts={0: 20, 1: 19})
    found = list(find_hints([split], {'train': measure(config(model=RETINANET), split)}))
    assert found == [
        ('train', Problem.FEW_OBJECTS, 'dog (19)'),
        ('train', Problem.SMALL_OBJECTS, 'cat: 1 of 20 (5.00%)'),
        ('train', Problem.UNFIT_OBJECTS, 'cat: 1 of 20 (5.00%), IoU < 0.4'),
    ]


def test_hints_about_label_maps():
    split = split_of()
    (data,) = split.data
    data.labels_of_values = np.arange(256)
    data.resized.update({0: LEAST_PIXELS, 1: LEAST_PIXELS - 1})
    found = measure(config(), split)
    assert found.shares == pytest.approx(dict(cat=0.5, dog=0.5), abs=1e-3)
    assert list(find_hints([split], dict(train=found))) == [
        ('train', Problem.FEW_PIXELS, f'dog ({LEAST_PIXELS - 1:,})')
    ]
    data.resized.clear()
    assert not list(find_hints([split], dict(train=measure(config(), split))))


def test_an_image_of_no_size_is_not_measured():
    split = split_of((8, 8))
    split.data[0].images[0].size = (0, 0)  # as some tools write it in VOC files
    assert len(measure(config(dict(type='Resize', scale=(50, 25))), split).sides) == 0


def test_an_empty_split_has_no_sizes():
    found = measure(config(model=RETINANET), Split('train', [DataSet('a.json', ('cat',), None)]))
    assert size_rows({'train': found}) == []
    assert len(found.sides) == 0 and found.percentiles == {} and found.unfit == dict(cat=0)
