"""The command ``mmtrtvit``, which is ``python -m mmtrtvit``, too."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import mmtrtvit
from mmtrtvit.paths import config_names, tool_path

ROOT = Path(__file__).parents[1]
TOOLS = {path.stem.replace('_', '-'): path for path in (ROOT / 'tools').glob('*.py')}


@pytest.fixture
def call(monkeypatch, capfd):
    """Runs the command in this process and returns its exit code or message and its output."""

    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['mmtrtvit', *map(str, args)])
        monkeypatch.setattr(sys, 'path', ['', *sys.path])
        code = 0
        try:
            runpy.run_module('mmtrtvit', run_name='__main__')
        except SystemExit as error:
            code = error.code
        captured = capfd.readouterr()
        call.err = captured.err
        return code, captured.out

    return call


def test_summary(call):
    from mmcv import _ext

    code, out = call()
    assert code == 0
    rows = dict(re.findall(r'^(\S+) +(.+)$', out, re.M))
    assert rows['mmtrtvit'] == mmtrtvit.__version__
    assert rows['configs'] == str(ROOT / 'configs')
    for package in ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg'):
        assert re.match(r'\d+\.\d+', rows[package])
    served = Path(_ext.__file__).name == '_mmcv_ext.py'
    assert rows['mmcv.ops'].startswith('kernels of torchvision' if served else 'compiled, /')
    configs, _, commands = out.split('\nconfigs ', 1)[1].partition('\ncommands')
    assert re.findall(r'[\w/]+\.py', configs) == config_names()
    commands = re.sub(r'\n {3,}', ' ', commands)  # texts of several lines
    listed = dict(re.findall(r'^  (\S+) +(\S.+)$', commands, re.M))
    assert {'demo', 'config', 'run', 'runtime', *TOOLS} == listed.keys()
    for name, tool in TOOLS.items():
        assert tool.read_text().lstrip('r').startswith(f'"""{listed[name]}\n')


def test_config_command(call):
    assert call('config', 'fpn_trtvit_a.py') == (0, f'{ROOT}/configs/fpn_trtvit_a.py\n')
    code, out = call('config', 'fpn_trtvit_e.py')
    assert code.startswith('error: no file fpn_trtvit_e.py in ') and not out


def test_run_command(call, tmp_path):
    (tmp_path / 'neighbour.py').write_text('here = True')
    script = tmp_path / 'script.py'
    script.write_text("""
import sys, neighbour
print(__name__, 'mmtrtvit' in sys.modules, sys.argv[1:], sys.path[0])
sys.exit(7)
""")
    code, out = call('run', script, '--help', '-x', 'y')
    assert code == 7
    assert out == f"__main__ True ['--help', '-x', 'y'] {tmp_path}\n"
    code, _ = call('run', tmp_path / 'skript.py')
    assert code.startswith(f'error: no file {tmp_path}/skript.py. Did you mean script.py?')


def test_run_command_finds_tools(call):
    assert tool_path('train.py') == str(ROOT / 'tools/train.py')
    code, out = call('run', 'mmtrtvit::train.py', '--help')
    assert code == 0 and out.startswith('usage: train.py ')
    code, _ = call('run', 'mmseg::trian.py')
    assert 'Did you mean train.py?' in code


@pytest.mark.parametrize('name', TOOLS)
def test_a_tool_is_a_command(call, name):
    for written in {name, name.replace('-', '_')}:
        code, out = call(written, '--help')
        assert code == 0 and out.startswith(f'usage: mmtrtvit {name} ')
        assert 'tools/' not in out
        assert f'  mmtrtvit {name} ' in out  # an example


def test_several_processes_call_the_command(call):
    _, out = call('train', '--help')
    assert '  torchrun --nproc_per_node 4 --no-python mmtrtvit train CONFIG' in out


def test_a_tool_ends_as_it_does_alone(call, tmp_path):
    folder = tmp_path / 'shapes'
    small = '--train', 1, '--val', 1, '--size', 64
    code, out = call('make_shapes', folder, *small)
    assert code == 0 and f'written to {folder}' in out
    assert call('make-shapes', folder, '--train', 2)[0].startswith('error: ')
    assert call('infer', 'no_config.py', 'a.pth', 'b.jpg')[0].startswith('error: no config file')
    assert call('train')[0] == 2


def test_runtime_command(call, tmp_path):
    code, out = call('runtime', '--help')
    assert code == 0 and out.startswith('usage: mmtrtvit runtime ')
    assert str(tmp_path) in call('runtime', tmp_path / 'none', 'a.jpg')[0]


def test_version(call):
    assert call('--version') == (0, f'mmtrtvit {mmtrtvit.__version__}\n')


@pytest.mark.parametrize('name, meant', [('trian', 'train'), ('chekc_data', 'check-data')])
def test_a_mistyped_command(call, name, meant):
    code, out = call(name, '--help')
    assert code == 2 and not out
    assert f'no command {name}. Did you mean {meant}' in call.err


def test_completion(call):
    pytest.importorskip('shtab')
    code, out = call('--print-completion', 'bash')
    script = f'{out}\nCOMP_WORDS=(mmtrtvit check) COMP_CWORD=1\n_shtab_mmtrtvit\n'
    script += 'echo "${COMPREPLY[@]}"'
    done = subprocess.run(['bash', '-c', script], capture_output=True, text=True)
    assert done.stdout.split() == ['check-data', 'check-tensorrt'], done.stderr


def test_the_installed_command(installed, tmp_path):
    def run(*args):
        return subprocess.run(
            [sys.executable, installed / 'bin/mmtrtvit', *args],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=dict(os.environ, PYTHONPATH=str(installed)),
        )

    done = run('make-shapes', 'mine', '--train', '1', '--val', '1', '--size', '64')
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'mine/images/validation').is_dir()
    assert run('config', 'demo/fpn_efficientvit_m4.py').stdout.startswith(f'{installed}/')
    assert run('trian').returncode == 2
