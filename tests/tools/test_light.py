"""What answers before PyTorch is loaded: help, wrong arguments, the runtime."""

import subprocess
import sys
from pathlib import Path

import pytest

from mmtrtvit.models.conversion import TARGETS

ROOT = Path(__file__).parents[2]

# Goes through the command lines of its argument, and tells after each what has been loaded.
CALLS = """
import contextlib, io, runpy, sys

HEAVY = {'torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'matplotlib', 'onnx'}
HEAVY |= {'mmpretrain', 'datasets'}
for line in sys.argv[1].splitlines():
    module, *words = line.split()
    sys.argv = [module, *words]
    sys.path.insert(0, '')
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        with contextlib.suppress(SystemExit):
            if module.endswith('.py'):
                runpy.run_path(module)['parse_args']()
            else:
                runpy.run_module(module, run_name='__main__', alter_sys=True)
    loaded = HEAVY & set(sys.modules)
    if loaded:
        sys.exit(f'{line}: {loaded}')
    print(line)
"""
TOOLS = sorted((ROOT / 'tools').glob('*.py'))
LINES = {
    'tools': [f'{tool} {words}' for tool in TOOLS for words in ('--help', '', '--none')],
    'commands': [f'mmtrtvit {tool.stem} --help' for tool in TOOLS],
    'others': [
        *(f'mmtrtvit {words}' for words in ('--help', '--version', 'trian', 'demo --help')),
        'mmtrtvit config retinanet_trtvit_b.py',
        'mmtrtvit.runtime --help',
        'mmtrtvit.runtime',
    ],
    'right': [
        f'{ROOT}/tools/train.py config.py --cfg-options a.b=1 --amp',
        f'{ROOT}/tools/test.py config.py work_dir --fuse',
        f'{ROOT}/tools/convert_weights.py a.pth b.pth --to timm',
    ],
}


@pytest.mark.parametrize('lines', LINES.values(), ids=LINES)
def test_command_lines_load_nothing_heavy(lines):
    done = subprocess.run(
        [sys.executable, '-c', CALLS, '\n'.join(lines)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == lines


def test_layouts_of_weights_are_named_as_in_the_package():
    text = (ROOT / 'tools/convert_weights.py').read_text()
    names = {}
    exec(text[text.index('OURS =') : text.index('\n\n\ndef parse_args')], names)
    assert names['TARGETS'] == TARGETS
