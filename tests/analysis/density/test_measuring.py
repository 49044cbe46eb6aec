"""Densities against numbers worked out by hand, and a run of the tool."""

import csv
import json
import math
import random
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mmtrtvit.analysis.density import Density, measuring, read_densities, rows, to_csv, to_json
from mmtrtvit.errors import UserError

TOOL = Path(__file__).parents[3] / 'tools/density.py'
SMALL = '--image', '32x32', '--channels', 64, 64, 64, 64, '--threads', 1, '--stages', 1, 4
CELL = Density(
    'BottleNeck', 'fused', 'fp32', 1, 1, 256, 56, 56, 70_000, 218_000_000, 2_000_000, 4.0,
    (3.9, 4.1), (3.8, 4.2), 15, 109e9, 2e9,
)  # fmt: skip


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['density.py', *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


@pytest.fixture(scope='module')
def recorded(tmp_path_factory):
    """A run of the tool: what it wrote, and what it printed."""
    folder = tmp_path_factory.mktemp('density')
    files = '--csv', folder / 'found.csv', '--json', folder / 'found.json'
    with pytest.MonkeyPatch.context() as monkeypatch:
        options = '--rounds', 6, '--max-spread', '95%', '--backends', 'eager', 'fused'
        run(monkeypatch, '--blocks', 'Transformer', 'stem', *SMALL, *options, *files)
    return folder


def test_densities_by_hand():
    assert CELL.teraflops == pytest.approx(0.0545) and CELL.teraparams == pytest.approx(1.75e-5)
    assert CELL.intensity == 109 and CELL.share_of_peak == pytest.approx(0.5)
    assert CELL.share_of_roof == pytest.approx(0.5) and CELL.uncertainty == pytest.approx(0.05)
    memory_bound = replace(CELL, bytes=218_000_000)  # a roof of 2e9 multiply-adds a second
    assert memory_bound.share_of_roof == pytest.approx(54.5 / 2)


def test_a_number_that_is_too_noisy_is_not_there():
    noisy = replace(CELL, milliseconds=None)
    assert (noisy.teraflops, noisy.teraparams, noisy.share_of_peak) == (None, None, None)
    head, line = rows([noisy])
    assert line[head.index('ms')] == 'too noisy' and line[head.index('TeraFLOPS')] == '-'
    eight_bits = replace(CELL, precision='int8', bytes=None, peak_macs=None)
    assert eight_bits.teraflops == CELL.teraflops
    assert (eight_bits.intensity, eight_bits.share_of_peak) == (None, None)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('g++'), reason='torch.compile needs a compiler on the CPU')
def test_a_compiled_block(monkeypatch, capsys):
    options = '--backends', 'compiled', '--rounds', 6, '--max-spread', '95%'
    run(monkeypatch, '--blocks', 'FFN', *SMALL[:-3], '--stages', 4, *options)
    (line,) = (each for each in capsys.readouterr().out.splitlines() if each.startswith('FFN'))
    assert 'compiled' in line and 'noisy' not in line


def test_a_recorded_run(recorded):
    content = json.loads((recorded / 'found.json').read_text())
    cells = content['cells']
    names = [(cell['block'], cell['stage'], cell['backend']) for cell in cells]
    assert names == [
        (block, stage, backend)
        for backend in ('eager', 'fused')
        for block, stage in (('Transformer', 1), ('Transformer', 4), ('Stem', 1))
    ]
    for cell in cells:
        seconds = cell['milliseconds'] / 1000
        assert cell['teraflops'] == pytest.approx(cell['macs'] / seconds / 1e12)
        assert cell['teraparams'] == pytest.approx(cell['parameters'] / seconds / 1e12)
        assert cell['share_of_peak'] == pytest.approx(cell['macs'] / seconds / cell['peak_macs'])
        assert cell['rounds'] >= 6 and 0 < cell['quartiles'][0] <= cell['milliseconds']
    first, _, stem = cells[:3]
    assert first['macs'] == 64 * (10 * 64**2 + 2 * 64 * 64) and stem['channels'] == 3
    assert (first['height'], first['width'], stem['height']) == (8, 8, 32)
    for word in ('device', 'threads', 'versions', 'date', 'command'):
        assert content['conditions'][word]


def test_reading_gives_what_was_written(recorded):
    read = read_densities(recorded / 'found.json')
    assert to_json(read) == (recorded / 'found.json').read_text()
    text = (recorded / 'found.csv').read_text()
    assert to_csv(read) == text
    first = next(csv.DictReader(text.splitlines()))
    assert float(first['teraflops']) == pytest.approx(read.cells[0].teraflops)
    assert first['device'] and first['convention'] == 'a multiply-add is one FLOP'


@pytest.mark.parametrize(
    'content, message',
    [
        ('[]', 'expected a file of tools/density.py --json'),
        ('{"format": "mmtrtvit density 0"}', 'has the format mmtrtvit density 0, expected'),
        ('{"format": "mmtrtvit density 1", "cells": [{}]}', 'it lacks .block'),
        ('nothing', 'is not a JSON file'),
    ],
)
def test_files_that_are_no_recorded_run(tmp_path, content, message):
    (tmp_path / 'a.json').write_text(content)
    with pytest.raises(UserError, match=message):
        read_densities(tmp_path / 'a.json')


@pytest.mark.parametrize(
    'options, message',
    [
        (('--blocks', 'MixBlokC'), 'no block MixBlokC. Did you mean MixBlockC'),
        (('--image', '16x64'), 'the image is 16x64: expected at least 32x32'),
        (('--backends', 'fusd'), 'there is no backend fusd. Did you mean fused'),
        (('--precisions', 'int8'), 'fused has no int8 on cpu: it computes in fp32, fp16, bf16'),
        (('--cuda-graphs',), '--cuda-graphs needs --device cuda'),
        (('--blocks', 'torch.nn:Conv2d(64)'), "'out_channels' and 'kernel_size'. Its signature"),
    ],
)
def test_bad_input(monkeypatch, options, message):
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch, *options)


def test_no_gpu(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(SystemExit, match='--device cuda: PyTorch finds no GPU here'):
        run(monkeypatch, '--device', 'cuda')


def test_a_noisy_device(monkeypatch, capsys):
    """Times differ by so many powers of ten that nothing is ever certain."""
    noise = random.Random(0)
    monkeypatch.setattr(measuring, 'wall_clock', lambda call: math.exp(noise.uniform(-30, 30)))
    monkeypatch.setattr(measuring, 'matrix_products', lambda *_: {})
    run(monkeypatch, '--blocks', 'Depthwise', *SMALL, '--rounds', 6, '--time-limit', 0.01)
    out = capsys.readouterr().out
    assert out.count('too noisy') == 2 and 'a multiply-add is one FLOP' in out
