"""The runtime where there is neither PyTorch nor any MM package."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmtrtvit import runtime

ROOT = Path(__file__).parents[2]
OPENCV = 'opencv-python', 'opencv-python-headless'  # the same files where both are installed


@pytest.fixture(scope='module')
def device(tmp_path_factory):
    """A folder with what the extra ``runtime`` installs, and mmtrtvit, and nothing else."""
    folder = tmp_path_factory.mktemp('device')
    names = {each.name for each in importlib.metadata.distributions()}
    todo, done = ['numpy', 'onnxruntime', *names.intersection(OPENCV)], set()
    while todo:
        distribution = importlib.metadata.distribution(todo.pop())
        if distribution.name in done:
            continue
        done.add(distribution.name)
        for top in {file.parts[0] for file in distribution.files or ()} - {'..'}:
            if not (folder / top).exists():
                mirror(Path(distribution.locate_file(top)), folder / top)
        todo += [
            re.match(r'[\w.-]+', each)[0]
            for each in distribution.requires or ()
            if 'extra ==' not in each and 'python_version <' not in each
        ]
    (folder / 'mmtrtvit').symlink_to(ROOT / 'mmtrtvit')
    return folder


def mirror(source, target):
    """Copies what Python reads, since OpenCV follows links, and links the rest."""

    def copy(file, place):
        return shutil.copy(file, place) if file.endswith('.py') else os.symlink(file, place)

    if source.is_dir():
        shutil.copytree(source, target, copy_function=copy)
    else:
        copy(str(source), target)


def run(device, *arguments):
    return subprocess.run(
        [sys.executable, '-S', *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(device)},
        cwd=device,
    )


def test_neither_pytorch_nor_the_engine_is_imported(device):
    code = 'import json, sys; from mmtrtvit.runtime import *; print(json.dumps([*sys.modules]))'
    result = run(device, '-c', code)
    assert not result.returncode, result.stderr
    modules = {name.partition('.')[0] for name in json.loads(result.stdout)}
    third = {name for name in modules if name not in sys.stdlib_module_names}
    assert {name for name in third if not name.startswith('_')} == {'mmtrtvit', 'numpy', 'cv2'}


def test_the_device_has_no_pytorch(device):
    for name in ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'torchvision', 'matplotlib'):
        result = run(device, '-c', f'import mmtrtvit, {name}')
        assert f"ModuleNotFoundError: No module named '{name}'" in result.stderr


def test_the_command_line_on_the_device(device, bright, tmp_path):
    image = np.zeros((60, 80, 3), np.uint8)
    image[10:20, 30:50] = 255
    cv2.imwrite(str(tmp_path / 'street.png'), image)
    model_dir = bright()
    result = run(device, '-m', 'mmtrtvit.runtime', model_dir, tmp_path / 'street.png')
    assert not result.returncode, result.stderr
    assert 'bright (1)' in result.stdout
    content = json.loads((model_dir / 'results/predictions.json').read_text())
    assert content['annotations'][0]['bbox'] == [30, 10, 20, 10]
    assert (model_dir / 'results/images/street.png').is_file()


@pytest.fixture(scope='module')
def bare(tmp_path_factory):
    """A folder with mmtrtvit alone, beside Python's standard library."""
    folder = tmp_path_factory.mktemp('bare')
    (folder / 'mmtrtvit').symlink_to(ROOT / 'mmtrtvit')
    return folder


@pytest.mark.parametrize('command', [['mmtrtvit.runtime'], ['mmtrtvit', 'runtime']])
def test_help_and_wrong_arguments_on_the_standard_library(bare, command):
    told = run(bare, '-m', *command, '--help')
    assert not told.returncode, told.stderr
    assert '--tile-merge {cut,all}' in told.stdout
    refused = run(bare, '-m', *command, 'model', 'street.png', '--batch-size', '0')
    assert refused.returncode == 2
    assert refused.stderr.endswith("--batch-size: expected a number of at least 1, not '0'\n")


@pytest.mark.parametrize('missing', ['numpy', 'cv2'])
def test_what_is_to_be_installed_is_one_message(bare, missing, tmp_path):
    if missing == 'cv2':
        (tmp_path / 'numpy.py').touch()
    code = f'import sys; sys.path.append({str(tmp_path)!r}); from runpy import run_module; '
    code += 'run_module("mmtrtvit.runtime", run_name="__main__")'
    result = run(bare, '-c', code, 'model', 'street.png')
    assert result.returncode == 1 and not result.stdout
    assert result.stderr == (
        'error: the runtime needs NumPy and OpenCV: pip install numpy opencv-python-headless, '
        f"and what runs the model, such as onnxruntime (No module named '{missing}').\n"
    )


def test_a_name_that_the_package_has_not():
    assert {*runtime.__all__} < {*dir(runtime)}
    with pytest.raises(AttributeError, match="'mmtrtvit.runtime' has no attribute 'Detektor'"):
        _ = runtime.Detektor
