"""Graphs of all shapes, bad files, bad images, batches and threads."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from mmtrtvit.errors import UserError
from mmtrtvit.runtime import BadImage, Detector, Segmentor
from mmtrtvit.runtime.sessions import onnx as onnx_session
from mmtrtvit.runtime.sessions.base import ShapeLimits
from mmtrtvit.runtime.sessions.opening import open_session

SIGNATURE = '(float[B, 3, H, W] input) => (float[B, 3, H, W] output)'


def with_box(left, top, right, bottom, size=(60, 80)):
    image = np.zeros((*size, 3), np.uint8)
    image[top:bottom, left:right] = 255
    return image


def boxes_of(found):
    return found.boxes.tolist()


def test_a_image_without_detections(bright):
    found = Detector(bright())(np.zeros((60, 80, 3), np.uint8))
    assert len(found) == 0 and found.boxes.shape == (0, 4) and found.labels.dtype == np.int32


def test_batches_hold_consecutive_images_of_one_size(bright):
    detector = Detector(bright())
    shapes = []
    run = detector.session.run
    detector.session.run = lambda inputs: shapes.append(inputs['input'].shape) or run(inputs)
    images = [
        with_box(index, 5, index + 9, 20, size)
        for index, size in enumerate([(60, 80)] * 5 + [(80, 60)] * 2 + [(60, 80)])
    ]
    images.insert(2, np.zeros((0, 0, 3), np.uint8))
    results = list(detector.predict(images, batch_size=3))
    assert isinstance(results.pop(2), BadImage)
    assert [boxes_of(found)[0][0] for found in results] == list(range(8))
    assert shapes == [(2, 3, 60, 80), (3, 3, 60, 80), (2, 3, 80, 60), (1, 3, 60, 80)]
    assert [boxes_of(found) for found in results] == [
        boxes_of(detector(image)) for image in images if image.size
    ]


def test_images_are_read_when_it_is_their_turn(bright):
    begun = []

    def images():
        for index in range(100):
            begun.append(index)
            yield with_box(1, 1, 9, 9)

    results = Detector(bright()).predict(images(), batch_size=4)
    next(results)
    assert len(begun) == 4


def test_a_graph_of_a_fixed_size_and_batch(bright):
    detector = Detector(bright('3, 3, 64, 96'))
    images = [with_box(index, 1, index + 10, 20, (60, 80)) for index in range(4)]
    results = list(detector.predict(images, batch_size=4))  # three, and one filled up
    assert [boxes_of(found) for found in results] == [
        [[index, 1, index + 10, 20]] for index in range(4)
    ]
    large = detector(with_box(20, 20, 100, 120, (128, 160)))
    assert boxes_of(large) == [pytest.approx([20, 20, 100, 120], abs=2)]
    assert large.note == (
        'shrunk to 80 x 64 pixels instead of 160 x 128: the model takes at most 96 x 64'
    )
    tiled = detector(with_box(70, 50, 90, 60, (128, 160)), tile=(64, 96), overlap=0.3)
    assert boxes_of(tiled) == [[70, 50, 90, 60]] and not tiled.note


@pytest.mark.parametrize('shape, rows', [('B, 3, H, W', 60), ('B, 3, 64, 96', 64)])
def test_the_sizes_that_the_graph_gets(shape, rows, bright):
    resize = dict(type='Resize', size=[60, 60], keep_ratio=True)
    detector = Detector(bright(shape, transforms=[resize]))
    given = []
    run = detector.session.run
    detector.session.run = lambda inputs: given.append(inputs) or run(inputs)
    detector(with_box(2, 2, 30, 9, (100, 50)))
    assert given[0]['sizes'].tolist() == [[60, 30]] and given[0]['sizes'].dtype == np.float32
    assert given[0]['input'].shape[2] == rows and given[0]['input'].flags['C_CONTIGUOUS']


def test_profiles_of_an_engine(bright):
    detector = Detector(bright())
    detector.session.profiles = (
        dict(input=ShapeLimits((2, 3, 32, 32), (2, 3, 64, 128))),
        dict(input=ShapeLimits((1, 3, 64, 32), (4, 3, 128, 64))),
    )
    detector = Detector(detector.work_dir.path, session=detector.session)
    shapes = []
    run = detector.session.run
    detector.session.run = lambda inputs: shapes.append(inputs['input'].shape) or run(inputs)
    detector(with_box(1, 1, 9, 9, (20, 100)))
    list(detector.predict([with_box(1, 1, 9, 9, (100, 20))] * 5, batch_size=8))
    found = detector(with_box(1, 1, 90, 200, (256, 96)))
    assert shapes == [(2, 3, 32, 100), (4, 3, 100, 32), (1, 3, 100, 32), (1, 3, 128, 48)]
    assert 'at most 128 x 64 or 64 x 128' in found.note


def test_a_graph_that_takes_pixels(made):
    segmentor = Segmentor(
        made(
            '(uint8[B, H, W, 3] input) => (float[B, 3, H, W] output)',
            'x = Cast <to = 1> (input) output = Transpose <perm = [0, 3, 1, 2]> (x)',
            task='Segmentor',
            params=dict(num_classes=3),
            transforms=[dict(type='Normalize', mean=[200, 1, 1], std=[1, 1, 1], to_rgb=True)],
        )
    )
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(segmentor(image).labels, image.argmax(axis=2))


@pytest.mark.parametrize(
    'params, pixel, label',
    [
        (dict(num_classes=1), 180, 1),
        (dict(num_classes=1), 70, 0),
        (dict(num_classes=1, threshold=0.9), 180, 0),
    ],
)
def test_a_segmentor_of_one_class_has_a_threshold(params, pixel, label, made):
    segmentor = Segmentor(
        made(
            '(float[B, 3, H, W] input) => (float[B, 1, H, W] output)',
            'middle = Constant <value: tensor = float {128}> () x = Sub (input, middle) '
            'scale = Constant <value: tensor = float {50}> () y = Div (x, scale) '
            'output = ReduceMean <axes = [1]> (y)',
            task='Segmentor',
            params=params,
        )
    )
    assert (segmentor(np.full((9, 9, 3), pixel, np.uint8)).labels == label).all()


def test_many_classes_need_16_bits(made):
    segmentor = Segmentor(
        made(
            '(float[B, 3, H, W] input) => (int32[B, H, W] output)',
            'y = ReduceMax <axes = [1], keepdims = 0> (input) x = Add (y, y) '
            'output = Cast <to = 6> (x)',
            task='Segmentor',
            params=dict(num_classes=600),
        )
    )
    found = segmentor(np.full((9, 9, 3), 250, np.uint8))
    assert found.labels.dtype == np.uint16 and (found.labels == 500).all()


def test_threads_share_a_model(bright):
    detector = Detector(bright())
    images = [with_box(index % 30, 3, index % 30 + 20, 30) for index in range(200)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(detector, images))
    assert [boxes_of(found)[0][0] for found in results] == [index % 30 for index in range(200)]


def test_names_and_colours_may_be_missing(bright):
    work_dir = bright(classes=['bright'])
    content = json.loads((work_dir / 'pipeline.json').read_text())
    del content['classes']
    (work_dir / 'pipeline.json').write_text(json.dumps(content))
    legend = Detector(work_dir).legend
    assert legend.names == () and legend.name(7) == 'class 7'


@pytest.mark.parametrize(
    'signature, nodes, message',
    [
        (
            '(float[B, 3] x) => (float[B, 3] y)',
            'y = Identity (x)',
            'has the inputs x, but not input. Expected a graph that tools/deploy.py wrote',
        ),
        (
            '(float[B, 3, H, W] input) => (float[B, 3, H, W] y)',
            'y = Identity (input)',
            'has the outputs y, but not output',
        ),
        (
            '(float[B, H, W] input) => (float[B, H, W] output)',
            'output = Identity (input)',
            'the input is float32 of shape',
        ),
        (
            '(float[B, 1, H, W] input) => (float[B, 1, H, W] output)',
            'output = Identity (input)',
            'expected float32',
        ),
        (
            '(double[B, 3, H, W] input) => (double[B, 3, H, W] output)',
            'output = Identity (input)',
            'the input is float64',
        ),
        (
            '(float[B, 3, H, W] input) => (float[N] output)',
            'shape = Constant <value: tensor = int64[1] {-1}> () output = Reshape (input, shape)',
            'the output has the shape',
        ),
    ],
)
def test_a_graph_from_elsewhere(signature, nodes, message, made):
    with pytest.raises(UserError, match=message):
        Segmentor(made(signature, nodes, task='Segmentor'))


def test_a_model_file_that_is_cut_off_or_missing(bright):
    work_dir = bright()
    path = work_dir / 'end2end.onnx'
    whole = path.read_bytes()
    for size in (0, 5, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match='end2end.onnx cannot be run by ONNX Runtime: is it wh'):
            Detector(work_dir)
    path.unlink()
    with pytest.raises(UserError, match='there is no model .*end2end.onnx. Copy the whole work'):
        Detector(work_dir)
    path.with_suffix('.bin').touch()
    with pytest.raises(UserError, match=r'expected a model \*.onnx, \*.engine'):
        open_session(path.with_suffix('.bin'))


def test_a_graph_that_needs_a_newer_runtime(bright):
    work_dir = bright()
    model = onnx.load(work_dir / 'end2end.onnx')
    model.opset_import[0].version = 999
    onnx.save(model, work_dir / 'end2end.onnx')
    with pytest.raises(UserError, match='cannot be run by ONNX Runtime'):
        Detector(work_dir)


@pytest.mark.parametrize(
    'device, message',
    [('cuda:0', 'this onnxruntime has no CUDA'), ('gpu', 'this onnxruntime has no CUDA')],
)
def test_a_device_that_is_not_there(device, message, bright):
    with pytest.raises(UserError, match=message):
        Detector(bright(), device=device)


def test_a_gpu_computes_in_full_precision(bright, monkeypatch):
    asked, session = [], onnxruntime.InferenceSession
    monkeypatch.setattr(onnx_session, 'has_cuda', lambda: True)
    monkeypatch.setattr(
        onnxruntime,
        'InferenceSession',
        lambda path, options, providers: (
            asked.append(providers) or session(path, options, providers=['CPUExecutionProvider'])
        ),
    )
    Detector(bright(), device='cuda:1')
    assert asked == [
        [('CUDAExecutionProvider', dict(device_id=1, use_tf32='0')), 'CPUExecutionProvider']
    ]


def change(name, function):
    def apply(folder):
        content = json.loads((folder / name).read_text())
        function(content)
        (folder / name).write_text(json.dumps(content))

    return apply


@pytest.mark.parametrize(
    'damage, message',
    [
        (lambda folder: (folder / 'deploy.json').unlink(), 'there is no .*deploy.json'),
        (lambda folder: (folder / 'pipeline.json').unlink(), 'there is no .*pipeline.json'),
        (lambda folder: (folder / 'deploy.json').write_text('{"task"'), 'cannot read .* as JSON'),
        (
            lambda folder: (folder / 'deploy.json').write_text('[]'),
            r'is \[\], expected an object',
        ),
        (change('deploy.json', lambda content: content.pop('models')), 'there is no models'),
        (change('deploy.json', lambda content: content.update(models=[])), 'models is empty'),
        (change('deploy.json', lambda content: content.update(task='Pose')), "task is 'Pose', exp"),
        (
            change('deploy.json', lambda content: content.update(task='Segmentor')),
            'holds a Segmentor, not a Detector',
        ),
        (
            change('pipeline.json', lambda content: content['pipeline'].update(tasks=[{}])),
            'pipeline.tasks has 1 parts, expected 3',
        ),
        (
            change(
                'pipeline.json',
                lambda content: content['pipeline']['tasks'][0].update(
                    transforms=[dict(type='YOLOXHSVRandomAug')]
                ),
            ),
            'does not know the transform YOLOXHSV',
        ),
        (
            change(
                'pipeline.json',
                lambda content: content['pipeline']['tasks'][0].update(transforms=3),
            ),
            'pipeline.tasks.0.transforms is 3, expected a list',
        ),
    ],
)
def test_a_work_dir_that_is_damaged(damage, message, bright):
    work_dir = bright()
    damage(work_dir)
    with pytest.raises(UserError, match=message):
        Detector(work_dir)


def test_ten_thousand_images_of_which_some_are_bad(bright, tmp_path):
    """None is lost, and memory stays where it is."""
    files = [tmp_path / f'{index}.png' for index in range(3)]
    for index, file in enumerate(files):
        cv2.imwrite(str(file), with_box(index + 1, 2, index + 20, 30))
    (tmp_path / 'bad.jpg').write_bytes(b'no image')
    bad = [
        tmp_path / 'bad.jpg',
        np.zeros((0, 9, 3), np.uint8),
        np.zeros((5, 5), np.float32),
        tmp_path / 'none.png',
    ]

    def images():
        for index in range(10_000):
            yield bad[index // 20 % 4] if index % 20 == 7 else files[index % 3]

    memory = []
    found = wrong = 0
    for index, result in enumerate(Detector(bright(), threads=1).predict(images(), 4)):
        if index % 20 == 7:
            assert isinstance(result, BadImage)
            wrong += 1
        else:
            assert boxes_of(result) == [[index % 3 + 1, 2, index % 3 + 20, 30]]
            found += 1
        if index % 1000 == 999:
            memory.append(resident())
    assert (found, wrong) == (9500, 500)
    assert memory[-1] - memory[1] < 4 * 2**20


def resident():
    """Bytes of this process in memory."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * 4096
