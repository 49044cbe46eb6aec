"""Verdicts on the guidelines from densities that are made up, and a run of the tool."""

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mmtrtvit.analysis.density import Density, Measured, to_json
from mmtrtvit.analysis.density.guidelines import FAILS, HOLDS, UNDECIDED, Interval, judge, lines
from mmtrtvit.errors import UserError

TOOL = Path(__file__).parents[3] / 'tools/guidelines.py'
CONDITIONS = dict(
    device='a machine', threads=2, versions='torch 9', date='2026-11-30', convention='as here'
)
WIDTHS = {1: 256, 2: 512, 3: 1024, 4: 2048}
# Percent of the peak on two cores of a CPU that others used too, by stage.
LOADED_CPU = dict(
    BottleNeck=(79, 88, 80, 59),
    Transformer=(76, 87, 84, 59),
    MixBlockB=(69, 86, 86, 61),
    MixBlockC=(69, 86, 86, 61),
)


def cells(shares, spread=0.02):
    """Densities that reach shares of a peak of 1e11 multiply-adds a second."""
    for block, row in shares.items():
        for stage, share in enumerate(row, 1):
            time = 2e8 / (share * 1e9) * 1000
            side, around = 224 // 2 ** (stage + 1), (time * (1 - spread), time * (1 + spread))
            yield Density(
                block, 'fused', 'fp32', 1, stage, WIDTHS[stage], side, side,
                70_000 * 4**stage, 200_000_000, 1_000_000, time, around, around, 15, 1e11, 1e10,
            )  # fmt: skip


def verdicts(measured, margin=0.1):
    (findings,) = judge(measured, margin).values()
    assert [each.number for each in findings] == [1, 2, 3, 4]
    return [each.verdict for each in findings]


def test_a_loaded_cpu_shows_neither_the_first_nor_the_third():
    measured = Measured(CONDITIONS, tuple(cells(LOADED_CPU, spread=0.01)))
    assert verdicts(measured) == [FAILS, HOLDS, FAILS, HOLDS]
    (findings,) = judge(measured).values()
    first, second, third, fourth = findings
    assert first.effect.value == pytest.approx((59 / 59) / (76 / 79))
    assert first.effect.low == pytest.approx(first.effect.value * (0.99 / 1.01) ** 2)
    assert second.effect.value == pytest.approx(64 * 59 / 79)  # a BottleNeck gains less
    assert third.effect.value == pytest.approx(61 / 59) and third.stages[1].value < 1
    assert fourth.effect.value == 1 and fourth.threshold == 0.9


def test_a_gpu_as_in_the_paper():
    shares = dict(
        BottleNeck=(60, 60, 60, 60),
        Transformer=(20, 30, 40, 50),
        MixBlockB=(30, 40, 50, 60),
        MixBlockC=(30, 40, 50, 60),
    )
    assert verdicts(Measured(CONDITIONS, tuple(cells(shares)))) == [HOLDS] * 4
    slow = dict(shares, MixBlockC=(30, 40, 50, 40), BottleNeck=(60, 60, 60, 0.5))
    assert verdicts(Measured(CONDITIONS, tuple(cells(slow)))) == [HOLDS, FAILS, FAILS, FAILS]


def test_noise_leaves_it_undecided():
    noisy = Measured(CONDITIONS, tuple(cells(LOADED_CPU, spread=0.1)))
    assert verdicts(noisy) == [UNDECIDED, HOLDS, UNDECIDED, UNDECIDED]
    found = tuple(cells(LOADED_CPU, spread=0.01))
    hidden = tuple(
        replace(cell, milliseconds=None) if (cell.block, cell.stage) == ('Transformer', 4) else cell
        for cell in found
    )
    assert verdicts(Measured(CONDITIONS, hidden)) == [UNDECIDED, UNDECIDED, UNDECIDED, HOLDS]
    text = '\n'.join(lines(judge(Measured(CONDITIONS, hidden))))
    assert '1. Transformer blocks belong in the late stages: UNDECIDED' in text
    assert 'Transformer at stage 4 is too noisy' in text and 'by stage 1: 0.962' in text


def test_blocks_that_were_not_measured():
    found = Measured(CONDITIONS, tuple(c for c in cells(LOADED_CPU) if c.block != 'MixBlockB'))
    assert verdicts(found)[3] == UNDECIDED
    with pytest.raises(UserError, match='the guidelines need two stages or more'):
        judge(Measured(CONDITIONS, found.cells[:1]))


def test_each_backend_is_judged():
    found = tuple(cells(LOADED_CPU, spread=0.01))
    both = (*found, *(replace(cell, backend='eager', batch=8) for cell in found))
    assert [*judge(Measured(CONDITIONS, both))] == [('eager', 'fp32', 8), ('fused', 'fp32', 1)]


def test_ratios_of_intervals():
    assert Interval(4, 2, 6) / Interval(2, 1, 4) == Interval(2, 0.5, 6)


@pytest.fixture
def run(monkeypatch, tmp_path):
    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', ['guidelines.py', *map(str, arguments)])
        runpy.run_path(str(TOOL), run_name='__main__')

    return run


def test_the_tool_reads_a_file(run, tmp_path, capsys):
    measured = Measured(CONDITIONS, tuple(cells(LOADED_CPU, spread=0.01)))
    (tmp_path / 'cpu.json').write_text(to_json(measured))
    run('cpu.json', '--json', 'found.json')
    out = capsys.readouterr().out
    assert out.startswith('a machine, 2 threads, torch 9') and 'DOES NOT HOLD' in out
    content = json.loads((tmp_path / 'found.json').read_text())
    assert [each['verdict'] for each in content['guidelines']] == [FAILS, HOLDS, FAILS, HOLDS]
    assert content['networks'] == [] and content['conditions'] == CONDITIONS
    with pytest.raises(SystemExit, match='needs the densities of Stem, Embedding'):
        run('cpu.json', '--budget', '10ms', '--patterns', 'C-C-C-M')


def test_the_tool_measures(run, tmp_path, capsys):
    small = '--image', '32x32', '--channels', 64, 64, 64, 64, '--threads', 1, '--rounds', 6
    run(*small, '--max-spread', '900%', '--time-limit', 60, '--budget', '1s', '--patterns',
        'C-C-C-M', '--max-depth', 2, '--suggest', 1, '--json', 'found.json')  # fmt: skip
    out = capsys.readouterr().out
    assert 'fused, fp32, batch 1' in out and "pattern='C-C-C-M'," in out
    (network,) = json.loads((tmp_path / 'found.json').read_text())['networks']
    assert network['depths'] == [2, 2, 2, 2] and network['predicted'] > 0
