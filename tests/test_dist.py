"""What ``make dist`` built: what is in it, and that it works where nothing else is installed."""

import os
import subprocess
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import mmtrtvit
from mmtrtvit.datasets import make_shapes

ROOT = Path(__file__).parents[1]
DIST = ROOT / 'dist'
RUNTIME = ('numpy', 'opencv-python-headless', 'onnxruntime')

pytestmark = pytest.mark.dist


def only(pattern):
    (file,) = DIST.glob(pattern)  # make dist empties the folder first
    assert file.name.startswith(f'mmtrtvit-{mmtrtvit.__version__}')
    return file


@pytest.fixture(scope='module')
def wheel():
    return only('*.whl')


@pytest.fixture(scope='module')
def clean(wheel, tmp_path_factory):
    """Runs programs of an empty environment that has the wheel alone, from an empty folder."""
    folder = tmp_path_factory.mktemp('clean')
    venv.create(folder / 'env', with_pip=True)
    environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}

    def run(program, *arguments):
        command = [folder / 'env/bin' / program, *arguments]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run('pip', 'install', '--quiet', '--no-deps', wheel)
    return run


def tracked(*folders):
    """Files of the repository in some folders, as git knows them."""
    listed = subprocess.run(
        ['git', 'ls-files', *folders], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(listed.stdout.split())


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    info = f'mmtrtvit-{mmtrtvit.__version__}.dist-info'
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith(info)}
    mim = tracked('configs', 'tools', 'model-index.yml')
    assert names == tracked('mmtrtvit') | {f'mmtrtvit/.mim/{name}' for name in mim}
    assert 'mmtrtvit/py.typed' in names
    assert sum(name.endswith('.html') for name in names) == 4


def test_the_sdist_builds_the_same(wheel):
    root = f'mmtrtvit-{mmtrtvit.__version__}'
    names = {name.removeprefix(f'{root}/') for name in tarfile.open(only('*.tar.gz')).getnames()}
    assert (
        tracked('mmtrtvit', 'configs', 'tools', 'model-index.yml', 'setup.py', 'LICENSE') <= names
    )
    assert not {name.split('/')[0] for name in names} & {'data', 'work_dirs', 'docs', 'benchmarks'}


def test_the_wheel_alone_imports_and_helps(clean):
    assert clean('python', '-c', 'import mmtrtvit; print(mmtrtvit.__version__)').strip() == (
        mmtrtvit.__version__
    )
    assert 'commands:' in clean('mmtrtvit', '--help')
    assert mmtrtvit.__version__ in clean('mmtrtvit', '--version')
    for command in ('train', 'deploy'):
        assert f'mmtrtvit {command}' in clean('mmtrtvit', command, '--help')
    path = Path(clean('mmtrtvit', 'config', 'retinanet_trtvit_b.py').strip())
    assert path.is_file() and path.parent.name == 'configs'


def test_the_runtime_needs_three_packages(clean, small_models, tmp_path):
    from mmtrtvit.deploy.settings import DeploySettings
    from mmtrtvit.deploy.workflow import deploy
    from mmtrtvit.engine.config import read_config

    clean('pip', 'install', '--quiet', *RUNTIME)
    assert 'MODEL_DIR' in clean('mmtrtvit', 'runtime', '--help')
    make_shapes(tmp_path / 'data', 1, val=2, size=(64, 96))
    weights = small_models / 'retinanet.pth'
    config = read_config(small_models / 'retinanet.py')
    settings = DeploySettings()
    deploy(
        settings, config, checkpoint=weights, images=[], work_dir=tmp_path / 'model', verify=False
    )
    images = tmp_path / 'data/images/validation'
    clean('mmtrtvit', 'runtime', tmp_path / 'model', images, '--score-thr', '0.01')
    assert (tmp_path / 'model/results/predictions.json').is_file()
    installed = {line.split('==')[0].lower() for line in clean('pip', 'freeze').split()}
    assert {'mmtrtvit', *RUNTIME} <= installed
    assert not {'torch', 'onedl-mmengine', 'onedl-mmcv', 'mmengine', 'mmcv'} & installed
