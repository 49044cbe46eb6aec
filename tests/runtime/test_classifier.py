"""Classifiers in the runtime beside MMPretrain around the same file."""

import json

import numpy as np
import pytest

from mmtrtvit.errors import UserError
from mmtrtvit.runtime import Classification, Classifier
from mmtrtvit.runtime.coco import CocoFile
from mmtrtvit.runtime.drawing import draw
from mmtrtvit.runtime.legend import Legend
from mmtrtvit.runtime.pipeline import Pipeline
from mmtrtvit.runtime.run import run
from mmtrtvit.runtime.tiling import Tiling

LOAD = dict(type='LoadImageFromFile')
EDGES = [
    dict(type='ResizeEdge', scale=70, edge=edge, backend=backend, interpolation=interpolation)
    for edge in ('short', 'long', 'width', 'height')
    for backend, interpolation in (('cv2', 'bilinear'), ('pillow', 'lanczos'))
]
RESIZE = dict(type='Resize', scale=(90, 70), backend='pillow', interpolation='bilinear')


@pytest.fixture(scope='module', params=[False, True], ids=['normalised', 'uint8'])
def exported_classifier(request, exported):
    pytest.importorskip('mmpretrain')
    return exported('classifier', preprocessing=request.param)


def test_it_gives_what_the_host_gives(exported_classifier, images):
    model = Classifier(exported_classifier.work_dir, 'cpu')
    expected = exported_classifier.host(images)
    found = [*model.predict(images, batch_size=4)]
    for one, other, image in zip(found, expected, images, strict=True):
        np.testing.assert_allclose(one.scores, other.pred_score.numpy(), rtol=1e-4, atol=1e-6)
        assert one.label == int(other.pred_label) and one.size == image.shape[:2]
    assert np.ptp([each.scores[0] for each in found]) > 1e-3


@pytest.mark.parametrize('crop', [64, (50, 30), 400], ids=str)
@pytest.mark.parametrize(
    'resize', [*EDGES, RESIZE], ids=lambda step: ' '.join(map(str, step.values()))
)
def test_pixels_are_those_of_the_host(resize, crop, images):
    pytest.importorskip('mmpretrain')
    import mmpretrain.datasets  # noqa: F401
    from mmengine.registry import TRANSFORMS, DefaultScope

    crop = dict(type='CenterCrop', crop_size=crop)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        steps = [TRANSFORMS.build(step) for step in (resize, crop)]
    ours = {
        'size' if key == 'scale' and resize is RESIZE else key: value
        for key, value in resize.items()
    }
    pipeline = Pipeline([LOAD, ours, crop], 'test', normalise=False)
    for image in images:
        expected = dict(img=image, img_shape=image.shape[:2])
        for step in steps:
            expected = step(expected)
        assert np.array_equal(pipeline(image).image, expected['img'])


@pytest.mark.parametrize(
    'step, message',
    [
        (dict(type='ResizeEdge', scale=64, edge='top'), 'ResizeEdge.edge is .top., expected one'),
        (dict(type='ResizeEdge', scale=64, backend='pil'), 'ResizeEdge.backend is .pil.'),
        (
            dict(type='ResizeEdge', scale=64, backend='pillow', interpolation='area'),
            'ResizeEdge.interpolation is .area., expected one of: box, bilinear',
        ),
        (dict(type='ResizeEdge', scale=0), 'ResizeEdge.scale is 0'),
        (dict(type='CenterCrop', crop_size=0), 'CenterCrop.crop_size is 0'),
        (dict(type='CenterCrop', crop_size=64, auto_pad=True), 'CenterCrop.auto_pad is True'),
    ],
)  # fmt: skip
def test_what_it_does_not_know(step, message):
    with pytest.raises(UserError, match=message):
        Pipeline([LOAD, step], 'pipeline.json')


def test_the_crop_comes_behind_the_resizing():
    crop = dict(type='CenterCrop', crop_size=64)
    with pytest.raises(UserError, match='ResizeEdge must be the first'):
        Pipeline([LOAD, crop, dict(type='ResizeEdge', scale=64)], 'pipeline.json')
    with pytest.raises(UserError, match='CenterCrop must follow the resizing'):
        Pipeline([LOAD, crop, crop], 'pipeline.json')


MEAN = 'output = ReduceMean <axes = [2, 3], keepdims = 0> (input)'


@pytest.fixture
def mean(made):
    """Makes classifiers whose scores are the means of the channels, of a shape of the input."""

    def make(
        shape='B, 3, H, W',
        nodes=MEAN,
        **options,
    ):
        crop = [LOAD, dict(type='CenterCrop', crop_size=16)]
        signature = f'(float[{shape}] input) => (float[B, 3] output)'
        return Classifier(made(signature, nodes, 'Classifier', crop, **options), 'cpu')

    return make


def test_sizes_that_the_graph_does_not_take(mean):
    image = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(UserError, match='makes images of 16 x 16 pixels, .* at least 32 x 32'):
        mean('B, 3, 32, 32')(image)
    with pytest.raises(UserError, match='cuts out 16 x 16 pixels, .* at most 8 x 8'):
        mean('B, 3, 8, 8')(image)


def test_tiles_are_refused(mean):
    with pytest.raises(UserError, match='cannot look at tiles'):
        mean()(np.zeros((40, 40, 3), np.uint8), tile=(20, 20))
    with pytest.raises(UserError, match='cannot look at tiles'):
        mean().merge([], [], size=(40, 40), tiling=Tiling((20, 20)))


def test_scores_that_are_not_finite(mean):
    model = mean(nodes='m = ReduceMean <axes = [2, 3], keepdims = 0> (input) output = Log (m)')
    with pytest.raises(UserError, match='NaN or infinite'):
        model(np.zeros((20, 20, 3), np.uint8))


def test_results_in_files(mean, tmp_path, images):
    import cv2

    image = np.full((20, 30, 3), (10, 200, 100), np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    model = mean(classes=['blue', 'green', 'red'])
    result = run(model, [tmp_path / 'a.png'], out_dir=tmp_path / 'out')
    assert result.found == {'green': 1} and result.best_score == 200
    written = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert [(each['category_id'], each['score']) for each in written['annotations']] == [
        (2, 200), (3, 100), (1, 10),
    ]  # fmt: skip
    assert [each['name'] for each in written['categories']] == ['blue', 'green', 'red']
    assert (tmp_path / 'out/images/a.png').is_file()


def test_five_classes_of_an_image_are_written(tmp_path):
    scores = np.array([0.1, 0.3, 0.05, 0.2, 0.3, 0.03, 0.02], np.float32)
    with CocoFile.open(tmp_path / 'predictions.json', Legend(tuple('abcdefg'))) as file:
        for name in ('one.jpg', 'two.jpg'):
            file.add(name, Classification(scores, (30, 40)))
    content = json.loads((tmp_path / 'predictions.json').read_text())
    assert [image['file_name'] for image in content['images']] == ['one.jpg', 'two.jpg']
    assert (content['images'][0]['width'], content['images'][0]['height']) == (40, 30)
    assert [each['category_id'] for each in content['annotations'][:5]] == [2, 5, 4, 1, 3]
    assert {each['image_id'] for each in content['annotations'][:5]} == {1}
    assert len(content['annotations']) == 10 and 'bbox' not in content['annotations'][0]
    assert content['annotations'][0]['score'] == pytest.approx(0.3)


def test_the_best_classes():
    found = Classification(np.array([0.1, 0.2, 0.6, 0.1], np.float32), (20, 30))
    assert found.label == 2 and [label for label, _ in found.best(3)] == [2, 1, 0]
    assert found.above(0.9) is found and found.classes() == [2]


def test_lines_of_a_drawing_lie_below_each_other():
    legend = Legend(('a', 'b'), ((255, 0, 0), (0, 255, 0)))
    image = np.zeros((100, 200, 3), np.uint8)
    drawn = draw(image, Classification(np.array([0.2, 0.8], np.float32), (100, 200)), legend)
    green, red = ((drawn == color).all(axis=2).any(axis=1) for color in ((0, 255, 0), (0, 0, 255)))
    assert green.any() and red.any() and np.flatnonzero(green)[-1] < np.flatnonzero(red)[-1]
    assert not drawn[60:].any() and not image.any()
