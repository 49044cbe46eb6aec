"""What hadolint does not see of the Dockerfiles, without Docker."""

import re
import runpy
from fnmatch import fnmatch
from pathlib import Path
from unittest.mock import patch

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / 'docker').glob('*.Dockerfile'))


def instructions(file):
    """Yields the instructions of a Dockerfile with what follows them, on one line."""
    lines = [line for line in file.read_text().splitlines() if not line.startswith('#')]
    for line in '\n'.join(lines).replace('\\\n', ' ').splitlines():
        if line.strip():
            name, _, rest = line.partition(' ')
            yield name, rest.strip()


def arguments(file, name):
    return [rest for found, rest in instructions(file) if found == name]


def reaches_the_builder(path):
    """Whether .dockerignore lets a file or folder through; the last rule that fits decides."""
    kept = True
    for line in (ROOT / '.dockerignore').read_text().splitlines():
        if not line.startswith('#') and fnmatch(path, line.lstrip('!')):
            kept = line.startswith('!')
    return kept


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def file(request):
    return request.param


def test_there_is_one_for_training_and_one_for_the_runtime():
    assert [path.name for path in FILES] == ['runtime.Dockerfile', 'train.Dockerfile']


def test_what_is_copied_exists_and_reaches_the_builder(file):
    for rest in arguments(file, 'COPY'):
        *sources, target = rest.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert reaches_the_builder(source), source
            assert target in ('./', source)
    assert not reaches_the_builder('data') and not reaches_the_builder('.git')


def test_bases_are_pinned_and_root_runs_nothing(file):
    stages = []
    for rest in arguments(file, 'FROM'):
        image, *_ = rest.split()
        assert re.fullmatch(r'python:3\.\d+\.\d+-slim-\w+', image)
        stages.append(rest.split(' AS ')[-1])
    (user,) = arguments(file, 'USER')
    assert user != 'root'
    names = [name for name, _ in instructions(file)]
    assert 'RUN' not in names[names.index('USER') :]
    mounted = re.findall(r'from=(\w+)', file.read_text())
    assert {*mounted} <= {*stages}


def test_the_runtime_asks_for_no_pytorch():
    commands = ' '.join(arguments(ROOT / 'docker/runtime.Dockerfile', 'RUN'))
    assert 'torch' not in commands and 'onedl' not in commands
    assert '--no-deps /wheels' in commands


def test_the_training_image_installs_extras_that_exist():
    with patch('setuptools.setup') as setup:
        runpy.run_path(str(ROOT / 'setup.py'))
    text = ' '.join(arguments(ROOT / 'docker/train.Dockerfile', 'RUN'))
    (extras,) = re.findall(r'\.\[([\w,]+)\]', text)
    assert {*extras.split(',')} <= {*setup.call_args.kwargs['extras_require']}
