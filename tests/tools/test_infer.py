"""tools/infer.py: stopped by a real SIGTERM in a process of its own, the rest in this one."""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import tqdm
from mmengine.registry import MODELS, DefaultScope

from mmtrtvit.datasets import make_shapes
from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.hosts import import_host

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/infer.py'
DETECTOR = f"""
_base_ = '{ROOT}/configs/demo/retinanet_trtvit_b.py'
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, depths=(1, 1, 1, 1), channels=(32, 32, 64, 64))),
    neck=dict(in_channels=[32, 64, 64], out_channels=64),
    bbox_head=dict(in_channels=64, feat_channels=64, stacked_convs=1),
    test_cfg=dict(score_thr=0., max_per_img=3))
"""
SHAPES = 'data/shapes/images/validation'
NO_IMAGE = 'it is no BMP, JPEG, PNG, PNM, TIFF or WebP file'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('user')
    make_shapes(folder / 'data/shapes', 1, val=2, size=64)
    (folder / 'detector.py').write_text(DETECTOR)
    config = read_config(folder / 'detector.py')
    import_host('mmdet')
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
    torch.nn.init.zeros_(model.bbox_head.retina_cls.weight)
    torch.nn.init.constant_(model.bbox_head.retina_cls.bias, -2)  # a score of 0.12 everywhere
    metainfo = dict(classes=('disc', 'triangle', 'ring'))
    torch.save(
        dict(state_dict=model.state_dict(), meta=dict(dataset_meta=metainfo)),
        folder / 'detector.pth',
    )
    return folder


@pytest.fixture
def call(folder, monkeypatch, capfd):
    """Runs the tool in this process."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv('LOCAL_RANK', '0')

    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['infer.py', *map(str, args)])
        code, message = 0, ''
        try:
            runpy.run_path(str(TOOL), run_name='__main__')
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
            message = error.code if isinstance(error.code, str) else ''
        captured = capfd.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err + message)

    return call


def test_images(call, folder):
    result = call('detector.py', 'detector.pth', SHAPES, '--score-thr', '0.05')
    assert result.code == 0, result.err
    assert result.out.splitlines()[0] == 'images      2'
    assert result.out.splitlines()[2:] == ['written to  work_dirs/detector/infer', 'skipped     0']
    assert not result.err  # a bar is for terminals
    out = folder / 'work_dirs/detector/infer'
    assert sorted(os.listdir(out)) == ['images', 'predictions.json']
    assert sorted(os.listdir(out / 'images')) == sorted(os.listdir(SHAPES))
    content = json.loads((out / 'predictions.json').read_text())
    assert [each['image_id'] for each in content['annotations']] == [1, 1, 1, 2, 2, 2]


def test_nothing_above_the_threshold(call, tmp_path):
    result = call('detector.py', 'detector.pth', f'{SHAPES}/*.jpg', '--out-dir', tmp_path)
    assert result.code == 0
    assert 'found       nothing above 0.3; the best has 0.12' in result.out
    content = json.loads((tmp_path / 'predictions.json').read_text())
    assert len(content['images']) == 2 and content['annotations'] == []


def test_numbers_of_a_data_set(call, folder, tmp_path):
    truth = 'data/shapes/annotations/instances_validation.json'
    content = json.loads((folder / truth).read_text())
    for number, image in enumerate(content['images']):
        image.update(id=90 + number, file_name=f'validation/{image["file_name"]}')
    content['images'].append(dict(id=1, file_name='other.jpg'))
    content['categories'].reverse()
    (tmp_path / 'truth.json').write_text(json.dumps(content))
    args = ('detector.py', 'detector.pth', SHAPES, '--score-thr', '0.05', '--no-images')
    result = call(*args, '--annotations', tmp_path / 'truth.json', '--out-dir', tmp_path)
    assert result.code == 0 and 'not given   1 of the listed' in result.out, result.err
    found = json.loads((tmp_path / 'predictions.json').read_text())
    for image, name in zip(found['images'], sorted(os.listdir(SHAPES)), strict=True):
        (listed,) = [each for each in content['images'] if each['file_name'].endswith(f'/{name}')]
        assert image['id'] == listed['id'] and image['file_name'] == name
    assert sorted(found['categories'], key=lambda each: each['id']) == sorted(
        (dict(id=each['id'], name=each['name']) for each in content['categories']),
        key=lambda each: each['id'],
    )
    content['categories'].pop()
    (tmp_path / 'truth.json').write_text(json.dumps(content))
    result = call(*args, '--annotations', tmp_path / 'truth.json', '--out-dir', tmp_path)
    assert result.code == 1 and 'truth.json has no category' in result.err


def test_skipped_files_are_named(call, tmp_path):
    (tmp_path / 'broken.jpg').write_text('no image')
    result = call(
        'detector.py',
        'detector.pth',
        tmp_path,
        SHAPES,
        'none.png',
        '--out-dir',
        tmp_path / 'out',
        '--no-images',
    )
    assert result.code == 0
    assert result.out.endswith(
        'skipped     2\n  none.png does not exist.\n'
        f'  {tmp_path}/broken.jpg cannot be decoded as an image: {NO_IMAGE}.\n'
    )
    assert os.listdir(tmp_path / 'out') == ['predictions.json']


def test_all_files_fail(call, tmp_path):
    (tmp_path / 'broken.jpg').write_text('no image')
    result = call('detector.py', 'detector.pth', tmp_path, '--out-dir', tmp_path / 'out')
    assert result.code == 1 and result.out == ''
    assert result.err.endswith(
        f'error: nothing could be predicted.\n{tmp_path}/broken.jpg cannot be decoded as an image: '
        f'{NO_IMAGE}.'
    )


@pytest.mark.parametrize(
    'args, message',
    [
        (['detector.pth', 'none'], 'error: there is nothing to look at.\nnone does not exist.'),
        (['none.pth', SHAPES], 'error: no checkpoint'),
        (['detector.pth', SHAPES, '--device', 'cuda:99'], "error: the device 'cuda:99' cannot"),
        (
            ['detector.pth', SHAPES, '--cfg-options', 'modle.neck.num_outs=1'],
            'error: --cfg-options mo',
        ),
    ],
)
def test_wrong_arguments_are_told(call, args, message):
    result = call('detector.py', *args)
    assert result.code == 1 and message in result.err and 'Traceback' not in result.err


@pytest.mark.parametrize('args', [['--batch-size', '0'], ['--max-frames', 'x'], ['--no-boxes']])
def test_wrong_options_are_told(call, args):
    result = call('detector.py', 'detector.pth', SHAPES, *args)
    assert result.code == 2 and f'{args[0]}' in result.err


def test_a_run_that_was_stopped_has_its_exit_code(call, tmp_path, monkeypatch):
    def stop(items, **options):
        yield next(iter(items))
        raise KeyboardInterrupt

    monkeypatch.setattr(tqdm, 'tqdm', stop)
    result = call('detector.py', 'detector.pth', SHAPES, '--out-dir', tmp_path)
    assert result.code == 130 and 'images      1\n' in result.out
    assert result.err.endswith(
        f'stopped; 1 of 2 images are done, their results are in {tmp_path}\n'
    )


def test_a_real_sigterm(folder, tmp_path):
    image = next((folder / SHAPES).iterdir())
    for index in range(500):
        shutil.copy(image, tmp_path / f'{index}.jpg')
    process = subprocess.Popen(
        [
            sys.executable,
            TOOL,
            'detector.py',
            'detector.pth',
            tmp_path,
            '--out-dir',
            tmp_path / 'stopped',
        ],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
    )
    images = tmp_path / 'stopped/images'
    while process.poll() is None and not (images.is_dir() and len(os.listdir(images)) > 2):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    assert process.returncode == 143, err
    results = json.loads((tmp_path / 'stopped/predictions.json').read_text())['images']
    assert 2 <= len(results) < 500 and f'images      {len(results)}\n' in out
    assert f'stopped; {len(results)} of 500 images are done' in err and 'Traceback' not in err
