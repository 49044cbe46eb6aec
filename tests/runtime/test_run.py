"""Files, folders, videos and the command line."""

import json
import runpy
import signal
import subprocess
import sys
import time
import warnings
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from mmtrtvit.errors import UserError
from mmtrtvit.runtime import Detector, Segmentor
from mmtrtvit.runtime import __main__ as command_line
from mmtrtvit.runtime.annotations import read_annotations
from mmtrtvit.runtime.coco import finish
from mmtrtvit.runtime.run import RunResult, run
from mmtrtvit.signals import Terminated


def with_box(left, size=(48, 64)):
    image = np.zeros((*size, 3), np.uint8)
    image[10:20, left : left + 10] = 255
    return image


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / 'inputs'
    (folder / 'sub').mkdir(parents=True)
    cv2.imwrite(str(folder / 'a.png'), with_box(3))
    cv2.imwrite(str(folder / 'sub/b.png'), with_box(7))
    (folder / 'c.jpg').write_bytes(b'no image')
    writer = cv2.VideoWriter(str(folder / 'd.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    for index in range(6):
        writer.write(with_box(index * 4))
    writer.release()
    return folder


def test_a_detector_on_a_folder(bright, inputs):
    model_dir = bright()
    result = run(Detector(model_dir), [inputs], out_dir=model_dir / 'out', batch_size=4)
    assert result.frames == 8 and result.found == {'bright': 8}
    assert [sentence.split('/')[-1] for sentence in result.skipped] == [
        'c.jpg cannot be decoded as an image: it is no BMP, JPEG, PNG, PNM, TIFF or WebP file.'
    ]
    content = json.loads((model_dir / 'out/predictions.json').read_text())
    names = [image['file_name'] for image in content['images']]
    assert names == ['a.png'] + ['d.avi'] * 6 + ['sub/b.png']
    assert content['images'][0]['source'] == str(inputs / 'a.png')
    assert [image.get('frame') for image in content['images']] == [None, *range(6), None]
    assert content['images'][3]['time'] == 0.2
    lefts = [each['bbox'][0] for each in content['annotations']]
    assert lefts == pytest.approx([3, 0, 4, 8, 12, 16, 20, 7], abs=1)  # the video is compressed
    written = sorted(
        path.relative_to(model_dir / 'out/images').as_posix()
        for path in (model_dir / 'out/images').rglob('*.*')
    )
    assert written == ['a.png', 'd.avi.mp4', 'sub/b.png']
    assert cv2.imread(str(model_dir / 'out/images/a.png')).shape == (48, 64, 3)


def test_a_threshold_no_images_and_few_frames(bright, inputs):
    model_dir = bright()
    out = model_dir / 'out'
    result = run(
        Detector(model_dir),
        [inputs / 'd.avi'],
        out_dir=out,
        score_thr=1.0,
        max_frames=2,
        images=False,
    )
    assert result.frames == 2 and not result.found
    assert [path.name for path in out.iterdir()] == ['predictions.json']


def test_label_maps_of_a_segmentor(made, inputs):
    model_dir = made(
        '(float[B, 3, H, W] input) => (float[B, 3, H, W] output)',
        'output = Identity (input)',
        task='Segmentor',
        params=dict(num_classes=3),
        classes=['blue', 'green', 'red'],
    )
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    cv2.imwrite(str(inputs / 'a.png'), image)
    result = run(
        Segmentor(model_dir),
        [inputs / 'a.png', inputs / 'd.avi'],
        out_dir=model_dir / 'out',
        tile=(40, 40),
        batch_size=2,
    )
    assert result.frames == 7 and result.found['blue'] == 7
    labels = cv2.imread(str(model_dir / 'out/label_maps/a.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, image.argmax(axis=2))
    assert len(list((model_dir / 'out/label_maps/d').iterdir())) == 6
    content = json.loads((model_dir / 'out/predictions.json').read_text())
    assert [each['label_map'] for each in content['images'][:2]] == [
        'label_maps/a.png',
        'label_maps/d/000000.png',
    ]
    areas = {each['category_id']: each['area'] for each in content['annotations'][:3]}
    assert areas == {label + 1: (labels == label).sum() for label in range(3)}


def test_nothing_to_look_at_and_nothing_that_can_be_used(bright, inputs):
    detector = Detector(bright())
    with pytest.raises(UserError, match='there is nothing to look at.*\n.*none.png does not exist'):
        run(detector, [inputs / 'none.png'], out_dir=inputs / 'out')
    with pytest.raises(UserError, match='nothing could be predicted.\n.*c.jpg cannot be decoded'):
        run(detector, [inputs / 'c.jpg'], out_dir=inputs / 'out')
    assert not (inputs / 'out/predictions.json').exists()


def test_a_image_that_the_pipeline_refuses_is_skipped(bright, inputs):
    cv2.imwrite(str(inputs / 'line.png'), np.zeros((1, 900, 3), np.uint8))
    keep = [dict(type='Resize', size=[64, 64], keep_ratio=True)]
    result = run(
        Detector(bright(transforms=keep)),
        [inputs / 'line.png', inputs / 'a.png'],
        out_dir=inputs / 'out',
        tile=(200, 1000),
    )
    assert result.frames == 1
    assert 'line.png: 900 x 1 pixels cannot be resized' in result.skipped[0]


def test_ctrl_c_leaves_whole_files(bright, inputs, monkeypatch):
    detector = Detector(bright())
    calls = iter(range(100))
    infer = detector.infer

    def interrupted(batch):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return infer(batch)

    monkeypatch.setattr(detector, 'infer', interrupted)
    result = run(detector, [inputs / 'd.avi'], out_dir=inputs / 'out')
    assert type(result.stopped) is KeyboardInterrupt and result.frames == 2
    content = json.loads((inputs / 'out/predictions.json').read_text())
    assert len(content['images']) == 2
    monkeypatch.setattr(detector, 'infer', Mock(side_effect=Terminated))
    before = sorted((inputs / 'out').iterdir())
    with pytest.raises(Terminated, match='0 of 6 images are done'):
        run(detector, [inputs / 'd.avi'], out_dir=inputs / 'out')
    assert sorted((inputs / 'out').iterdir()) == before


@pytest.fixture
def begun(bright, tmp_path):
    """A run on 500 images, in a process of its own, that has begun to write."""
    (tmp_path / 'many').mkdir()
    for index in range(500):
        cv2.imwrite(str(tmp_path / f'many/{index:03d}.png'), with_box(3))
    process = subprocess.Popen(
        [sys.executable, '-m', 'mmtrtvit.runtime', bright(), 'many', '--out-dir', 'out'],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background jobs, these tests perhaps, hand an ignored SIGINT on
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    lines = tmp_path / 'out/predictions.jsonl'
    while process.poll() is None and not (lines.is_file() and lines.read_text().count('\n') > 5):
        time.sleep(0.005)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize('number, code', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_with_all_that_was_done(begun, tmp_path, number, code):
    begun.send_signal(number)
    out, err = begun.communicate()
    assert begun.returncode == code, err
    done = json.loads((tmp_path / 'out/predictions.json').read_text())['images']
    assert 5 <= len(done) < 500 and f'images      {len(done)}\n' in out
    assert err == f'\nstopped; {len(done)} of 500 images are done, their results are in out\n'
    assert len(list((tmp_path / 'out/images').iterdir())) == len(done)
    assert not (tmp_path / 'out/predictions.jsonl').exists()


def test_a_killed_run_loses_nothing(begun, tmp_path):
    begun.kill()
    begun.communicate()
    done = len(list((tmp_path / 'out/images').glob('???.png')))
    assert not (tmp_path / 'out/predictions.json').exists()
    content = json.loads(finish(tmp_path / 'out/predictions.jsonl').read_text())
    assert 5 <= done <= len(content['images']) == len(content['annotations']) < 500


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['runtime', *map(str, arguments)])
    command_line.main(command_line.parse_args())


def exit_code(monkeypatch, *arguments):
    """What ``python -m mmtrtvit.runtime`` ends with."""
    monkeypatch.setattr(sys, 'argv', ['runtime', *map(str, arguments)])
    with pytest.raises(SystemExit) as caught, warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the module was imported before
        runpy.run_module('mmtrtvit.runtime', run_name='__main__')
    return caught.value.code


def test_results_that_cannot_be_written(bright, inputs, monkeypatch):
    image = inputs / 'a.png'
    code = exit_code(monkeypatch, bright(), image, '--out-dir', image / 'out')
    assert code.startswith(f'error: {image}/out: Not a directory. ')


def test_ctrl_c_has_an_exit_code(bright, inputs, monkeypatch):
    monkeypatch.setattr(Detector, '__init__', Mock(side_effect=KeyboardInterrupt))
    assert exit_code(monkeypatch, bright(), inputs / 'a.png') == 130


def test_a_graph_without_an_end(made, endless, inputs, monkeypatch):
    model_dir = made(
        '(float[B, 3, H, W] input) => (float[B, 3, H, W] output)',
        'output = Identity (input)',
        task='Segmentor',
    )
    endless(model_dir / 'end2end.onnx')
    code = exit_code(monkeypatch, model_dir, inputs / 'a.png', '--timeout', '0.2')
    assert code.startswith(f'error: {model_dir}/end2end.onnx: a run took more than 0.2 seconds')
    assert not (model_dir / 'results/predictions.json').exists()


def test_the_command_line(bright, inputs, tmp_path, monkeypatch, capsys):
    model_dir = bright('B, 3, 48, 64')
    annotations = tmp_path / 'annotations.json'
    annotations.write_text(
        json.dumps(
            dict(
                images=[dict(id=5, file_name='inputs/a.png'), dict(id=6, file_name='x.png')],
                categories=[dict(id=8, name='bright'), dict(id=1, name='dark')],
            )
        )
    )
    cv2.imwrite(str(inputs / 'large.png'), with_box(3, (96, 128)))
    call(
        monkeypatch,
        model_dir,
        inputs / 'a.png',
        inputs / 'large.png',
        '--annotations',
        annotations,
        '--out-dir',
        tmp_path / 'out',
        '--batch-size',
        2,
        '--threads',
        1,
    )
    out = capsys.readouterr().out
    assert 'images      2\n' in out and 'bright (2)' in out
    assert 'notes       1\n' in out
    assert '  1 x shrunk to 64 x 48 pixels instead of 128 x 96' in out
    assert 'not listed  1 of the inputs' in out and f'\n  {inputs}/large.png\n' in out
    assert 'not given   1 of the listed' in out
    content = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert [image['id'] for image in content['images']] == [5]
    (annotation,) = content['annotations']
    assert annotation['image_id'] == 5 and annotation['category_id'] == 8
    assert (tmp_path / 'out/images/large.png').is_file()
    assert content['info'] == dict(model=str(model_dir / 'end2end.onnx'))
    call(monkeypatch, model_dir, inputs / 'large.png', '--tile', '64x48', '--overlap', '0.3')
    assert 'note' not in capsys.readouterr().out
    content = json.loads((model_dir / 'results/predictions.json').read_text())
    assert content['annotations'][0]['bbox'] == [3, 10, 10, 10]


def test_a_class_that_the_annotations_do_not_have(bright, inputs):
    path = inputs / 'annotations.json'
    image, category = dict(id=5, file_name='a.png'), dict(id=8, name='bright')
    path.write_text(json.dumps(dict(images=[image], categories=[category])))
    with pytest.raises(UserError, match="no category 'dark', which the model has"):
        run(
            Detector(bright()),
            [inputs / 'a.png'],
            out_dir=inputs / 'out',
            annotations=read_annotations(path),
        )
    assert not (inputs / 'out/predictions.json').exists()


def test_many_inputs_that_are_not_listed():
    summary = RunResult('out', unlisted=[f'{index}.png' for index in range(12)]).summary(0.3)
    assert 'not listed  12 of the inputs' in summary and '\n  9.png\n  and 2 more\n' in summary
    assert '10.png' not in summary


def test_no_predictions_and_no_images(bright, inputs, monkeypatch):
    out = inputs / 'out'
    call(
        monkeypatch, bright(), inputs / 'a.png', '--no-images', '--no-predictions', '--out-dir', out
    )
    assert not out.exists()


def test_images_on_the_screen_until_q(bright, inputs, monkeypatch, capsys):
    keys, shown = iter([-1, ord('q')]), []
    monkeypatch.setenv('DISPLAY', ':0')
    for name in ('namedWindow', 'destroyWindow'):
        monkeypatch.setattr(cv2, name, lambda *args: None)
    monkeypatch.setattr(cv2, 'imshow', lambda title, image: shown.append(image.shape))
    monkeypatch.setattr(cv2, 'waitKey', lambda delay: next(keys))
    call(monkeypatch, bright(), inputs / 'd.avi', '--show', '--no-images')
    assert shown == [(48, 64, 3)] * 2 and 'images      2\n' in capsys.readouterr().out


def test_identities_by_the_command_line(bright, inputs, monkeypatch, capsys):
    pytest.importorskip('trackers')
    model_dir = bright()
    call(monkeypatch, model_dir, inputs / 'd.avi', '--track')
    assert 'images      6\n' in capsys.readouterr().out
    lines = (model_dir / 'results/tracks/d.txt').read_text().splitlines()
    assert len(lines) == 5 and {line.split(',')[1] for line in lines} == {'1'}
    code = exit_code(monkeypatch, model_dir, inputs / 'a.png', '--track')
    assert code.endswith(f'webcams and streams; {inputs}/a.png is an image.')


def test_nothing_above_the_threshold_has_a_hint(bright, inputs, monkeypatch, capsys):
    call(monkeypatch, bright(), inputs / 'a.png', '--score-thr', '1')
    assert 'found       nothing above 1; the best has 1.00\n' in capsys.readouterr().out


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--tile', '0x5'], 'expected a number of at least 1'),
        (['--tile', 'large'], 'expected a number of at least 1'),
        (['--batch-size', '0'], 'expected a number of at least 1'),
        (['--timeout', '0'], 'expected a number of seconds above 0'),
        (['--timeout', 'inf'], 'expected a number of seconds above 0'),
    ],
)
def test_arguments_that_make_no_sense(arguments, message, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, 'x', 'y', *arguments)
    assert message in capsys.readouterr().err
