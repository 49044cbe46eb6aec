"""Predictions of small models with random weights, compared with those of the hosts' own calls."""

import itertools
import json
import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from PIL import Image
from pycocotools import mask as coco_mask

from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.inference import infer
from mmtrtvit.engine.predictor import load
from mmtrtvit.engine.results import result_of
from mmtrtvit.errors import UserError
from mmtrtvit.media import write_image
from mmtrtvit.runtime import Detections, LabelMap

ROOT = Path(__file__).parents[2]
DETECTORS, SEGMENTORS = ('retinanet', 'mask_rcnn'), ('upernet', 'fpn')
CLASSES = ('background', 'disc', 'triangle', 'ring')
SHAPES = 'data/shapes/images/validation'


@pytest.fixture(scope='module')
def folder(small_models, tmp_path_factory):
    """A user's folder: images, configs and checkpoints."""
    return shutil.copytree(small_models, tmp_path_factory.mktemp('user') / 'folder')


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture(scope='module')
def predictors(folder):
    return {
        name: load(folder / f'{name}.py', folder / f'{name}.pth', device='cpu')
        for name in DETECTORS + SEGMENTORS
    }


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Returns a function that calls infer() for a model, writing to tmp_path/out."""

    def run(name, *inputs, **options):
        torch.set_num_threads(1)
        return infer(
            read_config(f'{name}.py'),
            f'{name}.pth',
            inputs=inputs,
            out_dir=tmp_path / 'out',
            **options,
        )

    return run


def shapes():
    return sorted(str(path) for path in Path(SHAPES).iterdir())


def tensors(samples):
    """The predictions in samples, by name."""
    return [
        {'labels': sample.pred_sem_seg.data}
        if 'pred_sem_seg' in sample
        else dict(sample.pred_instances.items())
        for sample in samples
    ]


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs):
        assert mine.keys() == other.keys()
        for key, value in mine.items():
            assert len(value) and torch.equal(value, other[key].cpu()), key


def read_results(out):
    return json.loads((out / 'predictions.json').read_text())


@pytest.mark.parametrize('name', DETECTORS)
def test_detectors_predict_as_with_mmdet(predictors, name):
    from mmdet.apis import DetInferencer, inference_detector, init_detector

    samples = predictors[name](shapes())
    assert ('masks' in samples[0].pred_instances) == (name == 'mask_rcnn')
    assert all(len(sample.pred_instances.scores.unique()) > 1 for sample in samples)
    model = init_detector(f'{name}.py', f'{name}.pth', device='cpu')
    assert_equal(tensors(samples), tensors(inference_detector(model, shapes())))
    inferencer = DetInferencer(f'{name}.py', f'{name}.pth', device='cpu', show_progress=False)
    results = inferencer(shapes(), return_datasamples=True)
    assert_equal(tensors(samples), tensors(results['predictions']))
    assert tuple(inferencer.visualizer.dataset_meta['classes']) == predictors[name].classes


@pytest.mark.parametrize('name', SEGMENTORS)
def test_segmentors_predict_as_with_mmseg(predictors, name):
    from mmseg.apis import MMSegInferencer, inference_model, init_model

    samples = predictors[name](shapes())
    assert len(samples[0].pred_sem_seg.data.unique()) > 1
    assert samples[0].pred_sem_seg.data.shape == (1, 64, 96)
    assert 'seg_logits' not in samples[0]  # large, and nobody's wish
    model = init_model(f'{name}.py', f'{name}.pth', device='cpu')
    assert_equal(tensors(samples), tensors(inference_model(model, shapes())))
    inferencer = MMSegInferencer(f'{name}.py', f'{name}.pth', device='cpu')
    results = inferencer(shapes())
    assert_equal(
        tensors(samples),
        [dict(labels=torch.as_tensor(labels)[None]) for labels in results['predictions']],
    )


@pytest.mark.parametrize('name', DETECTORS + SEGMENTORS)
def test_batches_do_not_change_predictions(predictors, name):
    predictor, batches = predictors[name], []
    small = np.ascontiguousarray(predictor.read(shapes()[0])[:64, :64])
    images = [*shapes(), small, small, shapes()[0]]
    predict = predictor.predict
    predictor.predict = lambda inputs: batches.append(len(inputs)) or predict(inputs)
    try:
        together = predictor(images, batch_size=2)
    finally:
        del predictor.predict
    assert batches == [2, 1, 2, 1]  # consecutive ones of one size
    for mine, alone in zip(tensors(together), tensors(predictor(images)), strict=True):
        for key, value in mine.items():
            if value.is_floating_point():
                torch.testing.assert_close(value, alone[key], atol=1e-3, rtol=1e-3)
            else:
                assert (value != alone[key]).float().mean() < 0.01


def test_arrays_are_images_as_opencv_reads_them(predictors):
    for predictor in predictors.values():
        arrays = [cv2.imread(path) for path in shapes()]
        assert_equal(tensors(predictor(arrays)), tensors(predictor(shapes())))


@pytest.mark.parametrize('name', DETECTORS)
def test_detections_as_arrays(predictors, name):
    (sample,) = predictors[name](shapes()[:1])
    instances = sample.pred_instances
    found = result_of(sample)
    assert isinstance(found, Detections) and found.size == (64, 96) and len(found) == 10
    assert found.scores.tolist() == sorted(found.scores, reverse=True)
    order = instances.scores.argsort(descending=True, stable=True)
    np.testing.assert_array_equal(found.boxes, instances.bboxes[order])
    np.testing.assert_array_equal(found.scores, instances.scores[order])
    np.testing.assert_array_equal(found.labels, instances.labels[order])
    assert found.has_masks == (name == 'mask_rcnn')
    if name == 'mask_rcnn':
        assert found.masks.any()
        np.testing.assert_array_equal(found.masks, instances.masks[order])
    sample.pred_instances = instances[order.flip(0)]
    np.testing.assert_array_equal(result_of(sample).boxes, found.boxes)


def test_nothing_found_as_arrays():
    instances = InstanceData(
        bboxes=torch.zeros(0, 4),
        scores=torch.zeros(0),
        labels=torch.zeros(0, dtype=torch.long),
        masks=torch.zeros(0, 6, 9, dtype=torch.bool),
    )
    sample = DetDataSample(pred_instances=instances, metainfo=dict(ori_shape=(6, 9)))
    found = result_of(sample)
    assert len(found) == 0 and found.boxes.shape == (0, 4) and found.masks.shape == (0, 6, 9)


@pytest.mark.parametrize('name', SEGMENTORS)
def test_label_maps_as_arrays(predictors, name):
    (sample,) = predictors[name](shapes()[:1])
    found = result_of(sample)
    assert isinstance(found, LabelMap) and found.size == (64, 96)
    assert found.labels.dtype == np.uint8
    np.testing.assert_array_equal(found.labels, sample.pred_sem_seg.data[0])


@pytest.mark.parametrize('name', DETECTORS + SEGMENTORS)
def test_drawing(predictors, name):
    image = predictors[name].read(shapes()[0])
    before = image.copy()
    (sample,) = predictors[name]([image])
    drawn = predictors[name].draw(image, sample)
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    assert np.abs(drawn.astype(int) - image).max() > 50
    assert np.array_equal(predictors[name].draw(image, sample), drawn)
    assert np.array_equal(image, before)
    if name in DETECTORS:
        assert np.array_equal(predictors[name].draw(image, sample, score_thr=1), image)


def test_drawn_label_maps_have_the_palette(predictors):
    image = np.full((64, 96, 3), 100, np.uint8)
    (sample,) = predictors['upernet']([image])
    sample.pred_sem_seg.data[:] = 1
    sample.pred_sem_seg.data[:, :, 48:] = 3
    drawn = predictors['upernet'].draw(image, sample)
    halfway = (np.array([[230, 80, 70], [80, 120, 230]])[:, ::-1] + 100) // 2  # BGR
    assert np.abs(drawn[2, [2, 94]].astype(int) - halfway).max() <= 1
    labelled = (drawn != drawn[2, 2]).any(-1)[:, :48], (drawn != drawn[2, 94]).any(-1)[:, 48:]
    assert all(half.sum() > 50 for half in labelled)  # a name in each


def test_a_detector_and_a_segmentor_side_by_side(folder):
    first, second, third = (
        load(f'{name}.py', f'{name}.pth', device='cpu')
        for name in ('retinanet', 'fpn', 'retinanet')
    )
    assert first.classes == CLASSES[1:] and second.classes == CLASSES
    assert_equal(tensors(first(shapes())), tensors(third(shapes())))


def test_classes_without_a_record_in_the_checkpoint(folder):
    state = torch.load('retinanet.pth', weights_only=True)
    torch.save(state['state_dict'], 'plain.pth')
    assert load('retinanet.py', 'plain.pth', device='cpu').classes == CLASSES[1:]
    names = dict.fromkeys(['test_dataloader.dataset.metainfo'], None)
    with pytest.raises(
        UserError,
        match=('num_classes is 3, but test_dataloader.dataset names 80 classes. Set metainfo'),
    ):
        load('retinanet.py', 'plain.pth', device='cpu', options=names)


def test_classes_in_the_checkpoint_that_do_not_fit(folder):
    state = torch.load('retinanet.pth', weights_only=True)
    state['meta']['dataset_meta']['classes'] = ('thing',)
    torch.save(state, 'thing.pth')
    assert load('retinanet.py', 'thing.pth', device='cpu').classes == CLASSES[1:]


def test_a_palette_that_is_too_short(folder):
    state = torch.load('fpn.pth', weights_only=True)
    state['meta']['dataset_meta']['palette'] = [[1, 2, 3]]
    torch.save(state, 'short.pth')
    palette = load('fpn.py', 'short.pth', device='cpu').legend.palette
    assert len(palette) == len({*palette}) == 4


def test_the_newest_checkpoint_of_a_work_dir(folder, run, tmp_path):
    (folder / 'run').mkdir()
    for epoch in (1, 2, 10):
        (folder / f'run/epoch_{epoch}.pth').symlink_to('../retinanet.pth')
    infer(read_config('retinanet.py'), 'run', inputs=shapes()[:1], out_dir=tmp_path)
    assert read_results(tmp_path)['info']['checkpoint'] == str(folder / 'run/epoch_10.pth')
    (folder / 'early').mkdir()
    with pytest.raises(UserError, match='early has no checkpoint'):
        load('retinanet.py', 'early')


def test_without_a_checkpoint_weights_are_random(folder, tmp_path, capsys):
    """The same ones each time; pre-trained ones are left alone, and the log stays silent."""
    config = tmp_path / 'config.py'
    pretrained = "dict(type='Pretrained', checkpoint='gone.pth')"
    text = f"_base_ = '{folder}/fpn.py'\nmodel = dict(backbone=dict(init_cfg={pretrained}))"
    config.write_text(text)
    states = [load(config, None, 'cpu').model.state_dict() for _ in range(2)]
    assert all(states[0][name].equal(weight) for name, weight in states[1].items())
    assert states[0]['decode_head.conv_seg.weight'].std() == pytest.approx(0.01, rel=0.2)
    assert capsys.readouterr() == ('', '')


@pytest.mark.parametrize(
    'config, checkpoint, message',
    [
        ('retinanet.py', 'fpn.pth', 'fpn.pth looks like the checkpoint of another model'),
        ('retinanet.py', 'retinanett.pth', 'no checkpoint .*Did you mean retinanet.pth'),
        ('retinanet.py', 'retinanet.py', 'is not a PyTorch checkpoint'),
        ('retinanett.py', 'retinanet.pth', 'no config file .*Did you mean retinanet.py'),
    ],
)
def test_what_does_not_fit_is_refused(config, checkpoint, message):
    with pytest.raises(UserError, match=message):
        load(config, checkpoint, device='cpu')


@pytest.mark.parametrize('device', ['cuda:99', 'gpu', 'meta'])
def test_a_wrong_device_is_named(device):
    with pytest.raises(UserError, match=f"the device '{device}' cannot be used. There are: cpu"):
        load('retinanet.py', 'retinanet.pth', device=device)


def test_other_scopes_are_refused(folder):
    (folder / 'other.py').write_text("default_scope = 'mmpose'")
    with pytest.raises(UserError, match='mmpose.*mmdet, mmseg, mmpretrain'):
        load('other.py', 'retinanet.pth')


def test_a_mistyped_step_of_the_pipeline_is_named(folder):
    options = {'test_dataloader.dataset.pipeline.1.type': 'Resizee'}
    with pytest.raises(
        UserError,
        match=(
            r'test_dataloader\.dataset\.pipeline\.1\.type: there is no transform Resizee\. Did you '
            'mean Resize'
        ),
    ):
        load('retinanet.py', 'retinanet.pth', options=options)


def test_a_pipeline_without_a_loader_is_told(folder):
    options = {'test_dataloader.dataset.pipeline': []}
    with pytest.raises(UserError, match='LoadImageFromFile'):
        load('retinanet.py', 'retinanet.pth', options=options)


def write_odd_images(folder):
    """Images of every kind, by name with the size that they are predicted in."""
    folder.mkdir(exist_ok=True)
    color = cv2.imread(shapes()[0])
    alpha = np.dstack([color, np.full(color.shape[:2], 128, np.uint8)])
    cv2.imwrite(str(folder / 'grey.png'), color[..., 0])
    cv2.imwrite(str(folder / 'alpha.png'), alpha)
    cv2.imwrite(str(folder / 'deep.png'), color.astype(np.uint16) * 257)
    cv2.imwrite(str(folder / 'deep.tif'), color.astype(np.uint16) * 257)
    cv2.imwrite(str(folder / 'tiny.png'), color[:3, :5])
    cv2.imwrite(str(folder / 'grey.pgm'), color[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    image = Image.fromarray(color[..., ::-1])
    image.save(folder / 'turned.jpg', exif=exif, quality=95)
    image.convert('P').save(folder / 'palette.png')
    image.convert('CMYK').save(folder / 'print.jpg')
    image.save(folder / 'with space, bäume 木.webp')
    return {
        'alpha.png': (96, 64),
        'deep.png': (96, 64),
        'deep.tif': (96, 64),
        'grey.pgm': (96, 64),
        'grey.png': (96, 64),
        'palette.png': (96, 64),
        'print.jpg': (96, 64),
        'tiny.png': (5, 3),
        'turned.jpg': (64, 96),
        'with space, bäume 木.webp': (96, 64),
    }


@pytest.mark.parametrize('name', ['retinanet', 'fpn'])
def test_odd_images(run, tmp_path, name):
    expected = write_odd_images(tmp_path / 'in')
    result = run(name, tmp_path / 'in')
    assert (result.frames, result.skipped) == (len(expected), [])
    results = read_results(tmp_path / 'out')['images']
    assert {row['file_name']: (row['width'], row['height']) for row in results} == expected
    for file, (width, height) in expected.items():
        drawn = tmp_path / 'out/images' / file.replace('.pgm', '.pgm.png')
        assert cv2.imdecode(np.fromfile(drawn, np.uint8), 1).shape == (height, width, 3)
    for row in results if name == 'fpn' else ():
        labels = np.array(Image.open(tmp_path / 'out' / row['label_map']))
        assert labels.shape == (row['height'], row['width'])


def test_a_image_of_16_bits_is_as_one_of_8(predictors, tmp_path):
    write_odd_images(tmp_path)
    deep, plain = predictors['fpn']([tmp_path / 'deep.png', shapes()[0]])
    assert_equal(tensors([deep]), tensors([plain]))


def test_unreadable_files_are_skipped(run, tmp_path):
    folder = tmp_path / 'in'
    folder.mkdir()
    whole = Path(shapes()[0]).read_bytes()
    (folder / 'b_cut.jpg').write_bytes(whole[: len(whole) // 2])
    (folder / 'c_empty.png').touch()
    (folder / 'd_text.jpg').write_text('no image')
    (folder / 'e_clip.mp4').write_text('no video')
    cv2.imwrite(str(folder / 'f_strip.png'), np.zeros((1, 400, 3), np.uint8))
    for name in ('a', 'g'):
        (folder / f'{name}.jpg').write_bytes(whole)
    result = run('retinanet', folder, tmp_path / 'none.jpg')
    assert result.frames == 2 and not result.stopped
    assert [sentence.removeprefix(f'{tmp_path}/') for sentence in result.skipped] == [
        'none.jpg does not exist.',
        'in/b_cut.jpg cannot be decoded: this JPEG file is cut off or damaged.',
        'in/c_empty.png is empty.',
        'in/d_text.jpg cannot be decoded as an image: it is no BMP, JPEG, PNG, PNM, TIFF or WebP '
        'file.',
        'in/e_clip.mp4 cannot be read as a video.',
        'in/f_strip.png: 400 x 1 pixels cannot be resized as the config says: one side would '
        'vanish.',
    ]
    rows = read_results(tmp_path / 'out')['images']
    assert [row['file_name'] for row in rows] == ['a.jpg', 'g.jpg']
    assert sorted(os.listdir(tmp_path / 'out/images')) == ['a.jpg', 'g.jpg']


def test_a_image_that_is_too_small_for_the_backbone(run, tmp_path):
    cv2.imwrite(str(tmp_path / 'strip.png'), np.zeros((10, 128, 3), np.uint8))
    result = run('fpn', tmp_path / 'strip.png', shapes()[0])
    assert result.frames == 1
    assert result.skipped == [
        f'{tmp_path}/strip.png: the image is 10 x 128 (H x W): expected at least 32 x 32'
    ]


def test_nothing_to_predict_is_an_error_without_files(run, tmp_path):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in/empty.jpg').touch()
    with pytest.raises(UserError, match='nothing could be predicted.\n.*in/empty.jpg is empty'):
        run('retinanet', tmp_path / 'in')
    assert not [path for path in (tmp_path / 'out').rglob('*') if path.is_file()]
    with pytest.raises(UserError, match='nothing to look at.\nx.jpg does not exist'):
        run('retinanet', 'x.jpg')


def test_images_and_predictions_are_written(run, tmp_path, predictors):
    result = run('mask_rcnn', SHAPES, score_thr=0.5)
    data = read_results(tmp_path / 'out')
    assert data['info'] == dict(config='mask_rcnn.py', checkpoint='mask_rcnn.pth')
    assert data['categories'] == [
        dict(id=label, name=name) for label, name in enumerate(CLASSES[1:], 1)
    ]
    assert [row['source'] for row in data['images']] == shapes()
    assert [row['file_name'] for row in data['images']] == [Path(path).name for path in shapes()]
    samples = predictors['mask_rcnn'](shapes())
    results = [result_of(sample).above(0.5) for sample in samples]
    rows = iter(data['annotations'])
    for image, found in zip(data['images'], results, strict=True):
        assert (image['width'], image['height']) == (96, 64)
        for index in range(len(found)):
            row = next(rows)
            assert row['image_id'] == image['id']
            assert row['category_id'] == found.labels[index] + 1
            assert row['score'] == pytest.approx(found.scores[index])
            left, top, width, height = row['bbox']
            sides = (left, top, left + width, top + height)
            assert sides == pytest.approx(found.boxes[index], abs=1e-4)
            mask = coco_mask.decode(row['segmentation'])
            assert np.array_equal(mask, found.mask(index))
    assert next(rows, None) is None
    assert result.found.total() == sum(map(len, results)) > 0
    assert result.best_score == pytest.approx(
        max(sample.pred_instances.scores.max().item() for sample in samples)
    )
    for path, sample in zip(shapes(), samples):
        drawn = cv2.imread(str(tmp_path / 'out/images' / Path(path).name))
        expected = predictors['mask_rcnn'].draw(cv2.imread(path), sample, 0.5)
        encoded = cv2.imencode('.jpg', expected)[1]
        assert np.array_equal(drawn, cv2.imdecode(encoded, cv2.IMREAD_COLOR))


def test_what_is_below_the_threshold_is_not_drawn(run, tmp_path):
    image = cv2.imread(shapes()[0])
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    result = run('mask_rcnn', tmp_path / 'a.png', score_thr=1)
    assert not result.found and result.best_score > 0
    assert np.array_equal(cv2.imread(str(tmp_path / 'out/images/a.png')), image)


def test_label_maps_are_written(run, tmp_path, predictors):
    result = run('upernet', SHAPES)
    samples = predictors['upernet'](shapes())
    data = read_results(tmp_path / 'out')
    for row, sample in zip(data['images'], samples, strict=True):
        assert row['label_map'] == f'label_maps/{Path(row["file_name"]).stem}.png'
        labels = cv2.imread(str(tmp_path / 'out' / row['label_map']), cv2.IMREAD_UNCHANGED)
        assert labels.dtype == np.uint8
        assert np.array_equal(labels, sample.pred_sem_seg.data[0].numpy())
        classes = [each for each in data['annotations'] if each['image_id'] == row['id']]
        assert len(classes) == len(np.unique(labels)) > 1
        areas = [each['area'] for each in classes]
        assert sum(areas) == labels.size and areas == sorted(areas, reverse=True)
        for each in classes:
            mask = coco_mask.decode(each['segmentation'])
            assert np.array_equal(mask, labels == each['category_id'] - 1)
    assert [each['name'] for each in data['categories']] == [*CLASSES]
    assert result.found['background'] == 3


def test_label_maps_of_many_classes(tmp_path):
    labels = torch.arange(300).reshape(1, 15, 20)
    sample = SegDataSample(pred_sem_seg=PixelData(data=labels))
    path = write_image(tmp_path / 'labels.png', result_of(sample).labels)
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), labels[0].numpy())


def test_what_is_not_wanted_is_not_written(run, tmp_path):
    run('upernet', shapes()[0], images=False)
    assert sorted(os.listdir(tmp_path / 'out')) == ['label_maps', 'predictions.json']


def test_no_predictions(run, tmp_path):
    run('upernet', shapes()[0], predictions=False)
    assert sorted(os.listdir(tmp_path / 'out')) == ['images']


def write_clip(path, count=5, size=(96, 64)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 10, size)
    image = cv2.resize(cv2.imread(shapes()[0]), size)
    for index in range(count):
        writer.write(np.roll(image, 10 * index, axis=1))
    writer.release()


@pytest.mark.parametrize('name', ['retinanet', 'fpn'])
def test_a_video(run, tmp_path, name):
    write_clip(tmp_path / 'clip.mp4')
    result = run(name, tmp_path / 'clip.mp4', shapes()[0], batch_size=2, score_thr=0.6)
    assert (result.frames, result.skipped) == (6, [])
    capture = cv2.VideoCapture(str(tmp_path / 'out/images/clip.mp4'))
    assert [
        capture.get(key)
        for key in (
            cv2.CAP_PROP_FPS,
            cv2.CAP_PROP_FRAME_COUNT,
            cv2.CAP_PROP_FRAME_WIDTH,
            cv2.CAP_PROP_FRAME_HEIGHT,
        )
    ] == [10, 5, 96, 64]
    *frames, image = read_results(tmp_path / 'out')['images']
    assert [(row['file_name'], row['frame'], row['time']) for row in frames] == [
        ('clip.mp4', index, index / 10) for index in range(5)
    ]
    assert 'frame' not in image
    if name == 'fpn':
        assert [row['label_map'] for row in frames] == [
            f'label_maps/clip/{index:06d}.png' for index in range(5)
        ]
        assert (tmp_path / 'out' / frames[4]['label_map']).is_file()


def test_the_first_frames_of_videos(run, tmp_path):
    for name in ('a.mp4', 'b.mp4'):
        write_clip(tmp_path / name)
    totals = []
    result = run(
        'retinanet',
        tmp_path,
        max_frames=2,
        images=False,
        progress=lambda items, total: totals.append(total) or items,
    )
    assert result.frames == 4 and totals == [4]


class Webcam:
    """Stands in for cv2.VideoCapture, since a test has no webcam: an image without end."""

    interrupt_at = None
    released = []

    def __init__(self, source):
        self.source, self.frames = source, itertools.count()

    def get(self, key):
        return 30.0

    def read(self):
        if next(self.frames) == self.interrupt_at:
            raise KeyboardInterrupt
        return True, cv2.imread(shapes()[0])

    def release(self):
        self.released.append(self.source)


@pytest.fixture
def webcam(monkeypatch):
    of_file = cv2.VideoCapture
    monkeypatch.setattr(
        cv2,
        'VideoCapture',
        lambda source: of_file(source) if isinstance(source, str) else Webcam(source),
    )


def test_a_webcam_up_to_a_number_of_frames(run, tmp_path, webcam):
    result = run('retinanet', '0', max_frames=3)
    assert (result.frames, result.stopped) == (3, None)
    assert Webcam.released.pop() == 0
    rows = read_results(tmp_path / 'out')['images']
    assert [row['source'] for row in rows] == ['webcam 0'] * 3
    numbers = [row['frame'] for row in rows]
    assert numbers == sorted({*numbers})  # what came while the model was busy is left out
    assert rows[0]['time'] < rows[2]['time']
    assert (tmp_path / 'out/images/webcam_0.mp4').stat().st_size


def test_a_webcam_until_ctrl_c(run, tmp_path, monkeypatch, webcam):
    monkeypatch.setattr(Webcam, 'interrupt_at', 2)
    totals = []
    result = run('retinanet', '0', progress=lambda items, total: totals.append(total) or items)
    assert (result.stopped, totals) == (None, [None])
    assert result.frames in (1, 2)  # the second may come before the first was taken
    assert len(read_results(tmp_path / 'out')['images']) == result.frames
    assert os.listdir(tmp_path / 'out/images') == ['webcam_0.mp4']


def test_a_webcam_until_q(run, monkeypatch):
    keys = iter([-1, ord('q')])
    monkeypatch.setenv('DISPLAY', ':0')
    for name in ('namedWindow', 'imshow', 'destroyWindow'):
        monkeypatch.setattr(cv2, name, lambda *args: None)
    monkeypatch.setattr(cv2, 'waitKey', lambda delay: next(keys))
    monkeypatch.setattr(cv2, 'VideoCapture', Webcam)
    result = run('retinanet', '0', show=True, images=False)
    assert (result.frames, result.stopped) == (2, None)


def stop_after(count, error):
    def track(items, total):
        yield from itertools.islice(items, count)
        raise error

    return track


def test_ctrl_c_keeps_what_is_done(run, tmp_path):
    write_clip(tmp_path / 'clip.mp4')
    result = run(
        'retinanet', shapes()[0], tmp_path / 'clip.mp4', progress=stop_after(3, KeyboardInterrupt)
    )
    assert result.frames == 3 and isinstance(result.stopped, KeyboardInterrupt)
    assert len(read_results(tmp_path / 'out')['images']) == 3
    capture = cv2.VideoCapture(str(tmp_path / 'out/images/clip.mp4'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 2


def test_an_error_leaves_whole_files_alone(run, tmp_path):
    write_clip(tmp_path / 'clip.mp4')
    with pytest.raises(ZeroDivisionError):
        run('fpn', shapes()[0], tmp_path / 'clip.mp4', progress=stop_after(3, ZeroDivisionError()))
    written = {
        path.relative_to(tmp_path / 'out').as_posix() for path in (tmp_path / 'out').rglob('*.*')
    }
    image = Path(shapes()[0])
    assert written == {
        f'images/{image.name}',
        f'label_maps/{image.stem}.png',
        'label_maps/clip/000000.png',
        'label_maps/clip/000001.png',
        'predictions.jsonl',  # of what was done
    }


def test_results_inside_the_folder_of_the_images(run, tmp_path):
    (tmp_path / 'a.jpg').write_bytes(Path(shapes()[0]).read_bytes())
    assert [run('retinanet', tmp_path).frames for _ in range(2)] == [1, 1]


def test_what_the_docs_say_in_python(folder, run):
    """Every block of Python in docs/infer.md runs, with the models of these tests."""
    text = (ROOT / 'docs/infer.md').read_text()
    for name, model in (('retinanet', 'retinanet_trtvit_b'), ('upernet', 'upernet_trtvit_a')):
        text = text.replace(f'configs/demo/{model}.py', f'{name}.py')
        text = re.sub(rf'work_dirs/demo/{model}(/epoch_\d.pth)?', f'{name}.pth', text)
    for name in ('street.jpg', 'garden.jpg'):
        (folder / name).write_bytes(Path(shapes()[0]).read_bytes())
    out_dir = 'work_dirs/mask_rcnn_efficientvit_m2/infer'
    infer(read_config('mask_rcnn.py'), 'mask_rcnn.pth', inputs=shapes(), out_dir=out_dir)
    blocks = re.findall(r'```python\n(.*?)```', text, re.S)
    variables = {}
    for block in blocks:
        exec(block, variables)
    assert len(blocks) == 5 and len(variables['results']) == 2
    assert 0 < variables['pixels'].sum() < 64 * 96
    assert cv2.imread('drawn.jpg').shape == (64, 96, 3)
    assert {path.name for path in (folder / 'results').rglob('street*')} == {
        'street.jpg',
        'street.json',
    }
