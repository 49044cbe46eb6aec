"""What importing mmtrtvit needs, and what its wheel holds."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import mmtrtvit
from mmtrtvit.errors import UserError
from mmtrtvit.paths import config_names

ROOT = Path(__file__).parents[1]
MIM = ('configs', 'tools', 'model-index.yml')

BARE = """
import sys
for name in ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'torch', 'torchvision'):
    sys.modules[name] = None  # importing it raises
import mmtrtvit
print(mmtrtvit.__version__)
print(mmtrtvit.config_path('retinanet_trtvit_b.py'))
from mmtrtvit.environment import environment
print(environment()['torch'], environment()['mmcv.ops'])
"""


def files_of(*folders):
    return {
        str(path.relative_to(folder.parent))
        for folder in folders
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


def test_imports_without_torch_and_mmengine(installed, tmp_path):
    run = subprocess.run(
        [sys.executable, '-c', BARE],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(installed)),
    )
    assert run.returncode == 0, run.stderr
    version, path, state = run.stdout.splitlines()
    assert re.fullmatch(r'\d+\.\d+\.\d+', version)
    assert path == f'{installed}/mmtrtvit/.mim/configs/retinanet_trtvit_b.py'
    assert state == 'not installed none'


def test_wheel_has_all_configs_and_tools(installed, source):
    shipped = installed / 'mmtrtvit/.mim'
    assert sorted(path.name for path in shipped.iterdir()) == sorted(MIM)
    assert files_of(shipped / 'configs', shipped / 'tools') == files_of(
        source / 'configs', source / 'tools'
    )
    for script in (source / 'tools').glob('*.sh'):
        modes = [path.stat().st_mode & 0o111 for path in (script, shipped / 'tools' / script.name)]
        assert modes[0] == modes[1]


def test_wheel_says_that_it_has_type_hints(installed):
    assert (installed / 'mmtrtvit/py.typed').exists()


def test_wheel_has_the_templates_of_pages(installed, source):
    shipped, ours = (
        {path.relative_to(root) for path in root.rglob('*.html')}
        for root in (installed / 'mmtrtvit', source / 'mmtrtvit')
    )
    assert shipped == ours and len(ours) == 4


def test_citation_and_changelog_name_the_version():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['version'] == mmtrtvit.__version__
    newest, *older = re.findall(r'^## (\S+) \((.+)\)$', (ROOT / 'CHANGELOG.md').read_text(), re.M)
    assert newest[0] == mmtrtvit.__version__
    numbers = [tuple(map(int, number.split('.'))) for number, _ in (newest, *older)]
    assert numbers == sorted(numbers, reverse=True)


def test_metadata_names_the_pythons_of_ci():
    project = (ROOT / 'pyproject.toml').read_text()
    named = re.findall(r'Python :: (3\.\d+)"', project)
    (least,) = re.findall(r'requires-python = ">=(3\.\d+)"', project)
    jobs = yaml.safe_load((ROOT / '.github/workflows/ci.yml').read_text())['jobs']
    assert jobs['smoke']['strategy']['matrix']['python'] == named and named[0] == least
    assert f'target-version = "py{least.replace(".", "")}"' in project


def test_wheel_has_nothing_else_at_its_top(installed):
    names = {path.name for path in installed.iterdir()}
    assert names == {'bin', 'mmtrtvit', f'mmtrtvit-{mmtrtvit.__version__}.dist-info'}
    assert [path.name for path in (installed / 'bin').iterdir()] == ['mmtrtvit']


def test_an_editable_install_links_to_the_checkout(installed, source, tmp_path, monkeypatch):
    build = f'from setuptools.build_meta import build_editable; build_editable({str(tmp_path)!r})'
    subprocess.run([sys.executable, '-c', build], cwd=source, check=True, capture_output=True)
    shipped = source / 'mmtrtvit/.mim'
    assert {path.name: path.resolve() for path in shipped.iterdir()} == {
        name: source / name for name in MIM
    }
    spec = SimpleNamespace(submodule_search_locations=[source / 'mmtrtvit'])
    monkeypatch.setattr(mmtrtvit.paths, 'find_spec', lambda name: spec)
    assert mmtrtvit.config_path('fpn_trtvit_a.py') == f'{source}/configs/fpn_trtvit_a.py'


def test_config_path():
    path = mmtrtvit.config_path('retinanet_trtvit_b.py')
    assert isinstance(path, str) and path == str(ROOT / 'configs/retinanet_trtvit_b.py')
    for package in ('mmdet', 'mmseg'):
        path = mmtrtvit.config_path(f'{package}::_base_/default_runtime.py')
        assert Path(path).is_file() and Path(path).is_absolute() and package in path


@pytest.mark.parametrize(
    'name, parts',
    [
        (
            'fpn_trtvit_b',
            [f'no file fpn_trtvit_b in {ROOT}/configs', 'Did you mean fpn_trtvit_b.py'],
        ),
        ('mmdet::atss/atss_r5_fpn_1x_coco.py', ['Did you mean atss/atss_r50_fpn_1x_coco.py']),
        ('mmnone::a.py', ['the package mmnone is not installed']),
        ('pytest::a.py', ['came without its configs']),
    ],
)
def test_a_wrong_config_is_told(name, parts):
    with pytest.raises(UserError) as error:
        mmtrtvit.config_path(name)
    assert all(part in str(error.value) for part in parts)


def test_all_configs_are_listed():
    names = config_names()
    assert names == sorted(names)
    assert {ROOT / 'configs' / name for name in names} == {
        path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts
    }
