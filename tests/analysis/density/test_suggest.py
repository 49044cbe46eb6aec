"""Networks for a latency: against all networks one by one, and with the whole thing."""

import ast
import itertools
from dataclasses import replace

import pytest
import torch

from mmtrtvit.analysis.cost import cost_of
from mmtrtvit.analysis.density import Conditions, Density, Measured
from mmtrtvit.analysis.density import suggest as module
from mmtrtvit.analysis.density.peaks import Work
from mmtrtvit.analysis.density.runners import TORCH_BACKENDS
from mmtrtvit.analysis.density.suggest import (
    PATTERNS,
    Rules,
    best_candidates,
    config_lines,
    suggest,
    summary,
)
from mmtrtvit.analysis.estimates import estimate
from mmtrtvit.environment import device_name
from mmtrtvit.errors import UserError
from mmtrtvit.models import TRTViT

CONDITIONS = dict(device=device_name('cpu'))
CHANNELS = 32, 64, 64, 128
TIMES = dict(Stem=1.0, Embedding=0.25, BottleNeck=1.0, Transformer=3.0, MixBlockC=2.0)


def cell(block, stage):
    """A cell whose parameters and multiply-adds are small numbers of its own."""
    shape = (3, 64, 64) if block == 'Stem' else (CHANNELS[stage - 1], 16, 16)
    time = TIMES.get(block, 2.5) * (1 + stage / 10)
    parameters, macs = (len(block) * 10**stage, len(block) * 1000 - stage)
    return Density(
        block, 'fused', 'fp32', 2, stage, *shape, parameters, macs, 1, time, (time, time),
        (time, time), 9, 1e9, 1e9,
    )  # fmt: skip


ALL = tuple(
    cell(block, stage)
    for block in ('BottleNeck', 'Transformer', 'MixBlockA', 'MixBlockB', 'MixBlockC')
    for stage in (1, 2, 3, 4)
) + (cell('Stem', 1), *(cell('Embedding', stage) for stage in (1, 2, 3, 4)))
MEASURED = Measured(CONDITIONS, ALL)


def test_patterns():
    assert len(PATTERNS) == len(set(PATTERNS)) == 17
    assert {'C-C-C-C', 'C-C-C-M', 'C-C-MB-MB', 'T-T-T-T'} <= set(PATTERNS)


@pytest.mark.parametrize('maximised', ['balance', 'macs', 'parameters'])
def test_the_best_of_all(maximised):
    rules = Rules(30.0, ('C-C-C-M', 'C-C-T-T'), maximised, growth=2.0, max_depth=4)
    table = {(each.block, each.stage): each for each in ALL}
    frame = [table['Stem', 1], *(table['Embedding', stage] for stage in range(1, 5))]
    found = []
    for depths in itertools.product(range(1, 5), repeat=4):
        if any(not low <= high <= 2 * low for low, high in itertools.pairwise(depths)):
            continue
        for pattern in rules.patterns:
            kinds = dict(C='BottleNeck', M='MixBlockC', T='Transformer')
            row = [table[kinds[kind], i] for i, kind in enumerate(pattern.split('-'), 1)]
            parts = [*frame, *(each for each, n in zip(row, depths) for _ in range(n))]
            time = sum(each.milliseconds for each in parts)
            macs, parameters = (sum(getattr(e, n) for e in parts) for n in ('macs', 'parameters'))
            score = dict(balance=macs * parameters, macs=macs, parameters=parameters)[maximised]
            if time <= 30:
                found.append((-score, time, depths, pattern, macs, parameters))
    best = best_candidates(MEASURED, rules, 5)
    assert len(found) > 20 and len(best) == 5
    for each, (_, time, depths, pattern, macs, parameters) in zip(best, sorted(found)):
        assert (each.depths, each.pattern) == (depths, pattern)
        assert (each.macs, each.parameters) == (macs, parameters)
        assert each.predicted == pytest.approx(time)


def test_the_lines_build_the_network(monkeypatch):
    """Whose latency is the one that was measured whole, and whose size the one that was told."""
    times = iter([1000.0, 30.0, 10.0, 20.0])
    product = Work(lambda: None, 5 * 10**8)  # takes a second, half of the peak when measured before
    monkeypatch.setattr(module, 'matrix_products', lambda *_: dict(product=product))
    monkeypatch.setattr(
        module,
        'measure_until_certain',
        lambda calls, **_: {name: estimate([next(times)] * 9) for name in calls},
    )
    rules = Rules(22.0, ('C-C-T-M',), growth=2.0, max_depth=3)
    found = suggest(MEASURED, rules, 3, TORCH_BACKENDS, Conditions())
    assert [each.measured for each in found] == [10, 20, 30]  # the best is too slow: last
    assert '30.000 ms measured whole (over the budget)' in summary(found[-1], 22.0)
    assert 'by a device 0.50 times as fast as for the parts' in summary(found[0], 22.0)
    assert 'by a device' not in summary(replace(found[0], drift=0.9), 22.0)
    options = {
        each.arg: ast.literal_eval(each.value)
        if not isinstance(each.value, ast.Call)
        else {one.arg: ast.literal_eval(one.value) for one in each.value.keywords}
        for each in ast.parse(f'dict({config_lines(found[0])})', mode='eval').body.keywords
    }
    assert options == dict(arch=found[0].arch, pattern='C-C-T-M')
    model = TRTViT(**options, out_indices=(3,)).eval()
    x = torch.empty(1, 3, 64, 64)
    assert cost_of(model, lambda: model(x), [x]).total.parameters > 0
    assert tuple(model.out_channels) == (128,)


def test_too_noisy_to_tell(monkeypatch):
    monkeypatch.setattr(
        module,
        'measure_until_certain',
        lambda calls, **_: {name: estimate([1.0, 9.0] * 3) for name in calls},
    )
    rules = Rules(22.0, ('C-C-C-M',), max_depth=2)
    (found,) = suggest(MEASURED, rules, 1, TORCH_BACKENDS, Conditions())
    assert found.measured is None and 'too noisy to tell' in summary(found, 22.0)


@pytest.mark.parametrize(
    'cells, rules, message',
    [
        (ALL, Rules(1.0), 'no network takes 1 ms or less: the fastest takes 7.35 ms'),
        (ALL, Rules(9.0, growth=0.5), '--growth 0.5: expected 1 .equally deep stages. or more'),
        (ALL, Rules(9.0, ('C-C-M',)), "pattern 'C-C-M': expected four of C, T, M"),
        (ALL, Rules(9.0, ('C-C-C-X',)), "pattern 'C-C-C-X': expected four of"),
        (ALL[:-5], Rules(9.0), 'needs the densities of Stem, Embedding at all four stages'),
        (
            (*ALL[1:], replace(ALL[0], milliseconds=None)),
            Rules(9.0),
            'too noisy for a budget: BottleNeck at stage 1',
        ),
        (
            (*ALL, replace(ALL[0], precision='bf16')),
            Rules(9.0),
            'one backend, precision and batch; there are: fused bf16 2, fused fp32 2',
        ),
    ],
)
def test_no_network(cells, rules, message):
    with pytest.raises(UserError, match=message):
        best_candidates(Measured(CONDITIONS, cells), rules, 3)


def test_densities_of_another_device():
    elsewhere = Measured(dict(device='another machine'), ALL)
    with pytest.raises(UserError, match='the densities are of another machine, but this is'):
        suggest(elsewhere, Rules(22.0), 1, TORCH_BACKENDS, Conditions())
