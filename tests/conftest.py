"""What several tests need."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ('mmtrtvit', 'configs', 'tools', 'setup.py', 'pyproject.toml', 'MANIFEST.in',
           'model-index.yml', 'README.md', 'LICENSE')


@pytest.fixture(scope='session')
def source(tmp_path_factory):
    """A copy of the repository's part that mmtrtvit is installed from."""
    folder = tmp_path_factory.mktemp('source')
    ignore = shutil.ignore_patterns('__pycache__', '.mim')
    for path in (ROOT / name for name in SOURCES):
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=ignore)
        else:
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope='session')
def installed(source, tmp_path_factory):
    """A folder that mmtrtvit is installed into, from a wheel made of its source distribution."""
    folder = tmp_path_factory.mktemp('installed')
    subprocess.run([sys.executable, 'setup.py', '--quiet', 'sdist'], cwd=source, check=True)
    archive, = source.glob('dist/*.tar.gz')
    subprocess.run(
        [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-build-isolation',
         '--target', folder, archive], check=True)
    return folder


@pytest.fixture
def stand_in(monkeypatch):
    """Puts a stand-in for a version of TensorRT in the package's place."""
    name = 'tensorrt_stand_in'
    spec = importlib.util.spec_from_file_location(name, ROOT / f'tests/{name}/__init__.py')
    package = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, package)
    spec.loader.exec_module(package)

    def install(version, **options):
        trt = package.make(version, **options)
        monkeypatch.setitem(sys.modules, 'tensorrt', trt)
        return trt

    return install
