"""Whole models on a GPU, from their training to their export: pytest -m gpu."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmtrtvit.datasets import make_shapes

ROOT = Path(__file__).parents[2]
IMAGES = 'data/shapes/images/validation'
MODELS = 'retinanet', 'mask_rcnn', 'upernet', 'fpn'
pytestmark = pytest.mark.gpu


@pytest.fixture(scope='module')
def folder(small_models, tmp_path_factory):
    """Where there are small models, and images of shapes."""
    folder = tmp_path_factory.mktemp('gpu')
    for path in small_models.glob('*.p*'):
        (folder / path.name).symlink_to(path)
    make_shapes(folder / 'data/shapes', 16, val=3, size=(64, 96))
    return folder


@pytest.fixture(scope='module')
def run(folder):
    """Runs a tool there."""

    def run(tool, *args):
        result = subprocess.run(
            [sys.executable, ROOT / f'tools/{tool}.py', *args],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr[-3000:]

    return run


@pytest.mark.parametrize(
    'options',
    [
        ['optim_wrapper.dtype=float16'],
        ['optim_wrapper.dtype=bfloat16', 'default_hooks.speed.channels_last=True'],
    ],
    ids=['fp16', 'bf16'],
)
@pytest.mark.parametrize('model', MODELS)
def test_a_model_is_trained(model, options, run, folder, tmp_path):
    run(
        'train',
        f'{model}.py',
        '--amp',
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'train_dataloader.num_workers=0',
        *options,
    )
    assert list(tmp_path.glob('*.pth'))


@pytest.mark.parametrize('model', MODELS)
def test_a_fused_copy_has_the_same_metrics(model, run, tmp_path):
    metrics = []
    for options in ([], ['--fuse']):
        run('test', f'{model}.py', f'{model}.pth', '--work-dir', tmp_path, *options)
        file = max(tmp_path.glob('*/*.json'))
        found = json.loads(file.read_text().splitlines()[-1])
        metrics.append({key: value for key, value in found.items() if 'time' not in key})
    assert metrics[0] == pytest.approx(metrics[1], abs=0.01) and metrics[0]


@pytest.mark.parametrize('model', ['retinanet', 'fpn'])
def test_what_the_gpu_finds_is_written_and_exported(model, run, folder, tmp_path):
    run('infer', f'{model}.py', f'{model}.pth', IMAGES, '--out-dir', tmp_path)
    assert (tmp_path / 'predictions.json').exists()
    image = min((folder / IMAGES).iterdir())
    run(
        'deploy',
        ROOT / 'configs/deploy/onnxruntime.py',
        f'{model}.py',
        f'{model}.pth',
        image,
        '--work-dir',
        tmp_path / 'deployed',
        '--device',
        'cuda:0',
    )
    graph = tmp_path / 'deployed/end2end.onnx'
    run('test', f'{model}.py', graph, '--work-dir', tmp_path / 'tested')
    few = '--config', f'{model}.py', '--rounds', '5', '--device'
    run('benchmark', graph, f'{model}.pth', *few, 'cpu')
    run('benchmark', f'{model}.pth', *few, 'cuda:0')
