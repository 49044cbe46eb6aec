"""What importing mmtrtvit needs and what its wheel holds."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

WITHOUT_MMENGINE = """
import sys
for name in ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'torch', 'torchvision'):
    sys.modules[name] = None  # importing it raises
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == 'mmengine' else found(name, *rest)
import mmtrtvit
print(mmtrtvit.__version__)
"""


def test_imports_without_torch_and_mmengine():
    run = subprocess.run(
        [sys.executable, '-c', WITHOUT_MMENGINE], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert re.fullmatch(r'\d+\.\d+\.\d+\n', run.stdout)


def test_wheel_has_configs_and_tools(tmp_path):
    source = tmp_path / 'source'
    source.mkdir()
    for name in ('mmtrtvit', 'configs', 'tools', 'tests'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--quiet',
         '--wheel-dir', tmp_path, source], check=True)
    wheel, = tmp_path.glob('mmtrtvit-*.whl')
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {'mmtrtvit/.mim/configs/retinanet_trtvit_b.py',
            'mmtrtvit/.mim/configs/_base_/default_runtime.py',
            'mmtrtvit/.mim/tools/train.py', 'mmtrtvit/models/trt_vit.py'} <= names
    assert not [name for name in names if name.startswith(('tests/', 'configs/'))]
