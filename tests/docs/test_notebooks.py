"""The notebooks of docs/notebooks run from top to bottom."""

import json
import os
import re
from pathlib import Path

import matplotlib.pyplot
import pytest

FOLDER = Path(__file__).parents[2] / 'docs/notebooks'
NOTEBOOKS = sorted(FOLDER.glob('*.ipynb'))


def cells(path, kind):
    return [
        ''.join(cell['source'])
        for cell in json.loads(path.read_text())['cells']
        if cell['cell_type'] == kind
    ]


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_form(path):
    """Jupyter's format, without outputs, and links that lead somewhere."""
    notebook = json.loads(path.read_text())
    assert (notebook['nbformat'], notebook['nbformat_minor']) == (4, 5)
    assert all(cell['metadata'] == {} for cell in notebook['cells'])
    assert len({cell['id'] for cell in notebook['cells']}) == len(notebook['cells'])
    assert not any(cell.get('outputs') for cell in notebook['cells'])
    text = '\n'.join(cells(path, 'markdown'))
    for link in re.findall(r'\]\((?!https?:)([^)#]+)', text):
        assert (path.parent / link).exists(), link


@pytest.mark.slow
@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(matplotlib.pyplot, 'show', lambda: matplotlib.pyplot.close('all'))
    matplotlib.use('agg')
    names = {}
    for number, cell in enumerate(cells(path, 'code')):
        exec(compile(cell, f'{path.name}, cell {number}', 'exec'), names)
    assert os.listdir(tmp_path)
