"""Latencies that are measured until they are certain enough."""

import itertools
import math
import time

import pytest

from mmtrtvit.analysis.estimates import (
    bounds_of_median,
    estimate,
    measure_until_certain,
    times_until_certain,
    uncertainty,
)


def test_the_bounds_of_a_median():
    """Of 20 values, tables of the sign test leave out 5 at either end; 5 are too few."""
    found = estimate([float(value) for value in range(20, 0, -1)])
    assert found.median == 10.5 and found.rounds == 20
    assert found.bounds == (6, 15) and found.quartiles == (5.25, 15.75)
    assert found.uncertainty == uncertainty((6, 15)) == 9 / 21
    assert estimate([1.0] * 5).bounds is None and estimate([1.0] * 5).uncertainty == math.inf
    assert estimate([3.0, 1.0, 2.0, 5.0, 4.0, 6.0]).bounds == (1, 6)
    assert estimate([2.0]).quartiles == (2, 2)


def test_only_what_is_uncertain_goes_on():
    """The noisy one begins with a quiet machine's opposite and settles."""
    calls = []
    times = dict(
        still=itertools.repeat(1.0), noisy=itertools.chain([1.0, 9.0] * 4, itertools.repeat(2.0))
    )
    found = measure_until_certain(
        {name: lambda name=name: name for name in times},
        rounds=8,
        most_uncertainty=0.1,
        clock=lambda call: calls.append(call()) or next(times[call()]),
    )
    assert calls[:4] == ['still', 'noisy'] * 2
    assert found['still'].rounds == 8 < found['noisy'].rounds < 60
    assert calls[16:] == ['noisy'] * (found['noisy'].rounds - 8)
    assert found['noisy'].median == 2 and found['noisy'].uncertainty <= 0.1


def test_time_is_up():
    times = itertools.cycle([1.0, 9.0])
    found = measure_until_certain(
        dict(noisy=int), rounds=8, most_uncertainty=0.1, seconds=0.05, clock=lambda _: next(times)
    )
    assert found['noisy'].rounds >= 8 and found['noisy'].uncertainty > 0.1


@pytest.mark.parametrize('seconds', [0.0, 0.01])
def test_no_round_begins_after_the_end(seconds):
    def clock(call):
        time.sleep(0.02)
        return 1.0

    found = measure_until_certain(dict(slow=int), rounds=50, seconds=seconds, clock=clock)
    assert found['slow'].rounds == 1 and found['slow'].bounds is None


def test_few_rounds_that_need_not_be_certain():
    found = times_until_certain(dict(a=int, b=int), rounds=3, clock=lambda _: 1.0)
    assert found == dict(a=[1.0] * 3, b=[1.0] * 3)


def test_bounds_of_another_confidence():
    """Tables of the sign test: 1 of 10 at either end for 95 %, none for 99 %; 7 tell nothing."""
    values = [float(value) for value in range(10)]
    assert bounds_of_median(values) == (1, 8) and bounds_of_median(values, 0.99) == (0, 9)
    assert bounds_of_median(values[:7], 0.99) is None
    low, high = bounds_of_median([float(value) for value in range(5000)])
    assert low + high == 4999 and high - low == pytest.approx(1.96 * 5000**0.5, rel=0.02)


def test_all_go_on_together_in_other_orders():
    """No call follows itself, and the n-th times of all are of one round."""
    calls = []
    names = 'still', 'noisy', 'other'
    times = {name: itertools.repeat(1.0) for name in names}
    times['noisy'] = itertools.chain([1.0, 9.0] * 4, itertools.repeat(2.0))
    found = times_until_certain(
        {name: lambda name=name: name for name in names},
        rounds=8,
        most_uncertainty=0.1,
        warm_ups=1,
        together=True,
        clock=lambda call: calls.append(call()) or next(times[call()]),
    )
    assert {len(values) for values in found.values()} == {len(found['noisy'])}
    assert len(found['noisy']) > 8 and estimate(found['noisy']).uncertainty <= 0.1
    rounds = [tuple(calls[start : start + 3]) for start in range(0, len(calls), 3)]
    assert all({*each} == {*names} for each in rounds) and len({*rounds}) > 3
    assert all(before != after for before, after in itertools.pairwise(calls))
