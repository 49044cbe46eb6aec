"""What several tests need."""

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
