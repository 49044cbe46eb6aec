import importlib
import platform
import time
from pathlib import Path

import pytest
import torch

from mmtrtvit.analysis import timing
from mmtrtvit.analysis.timing import OwnProcess, in_new_process, threads, time_side_by_side


def test_functions_are_timed_in_turn():
    calls = []
    pauses = dict(short=0.002, long=0.02)

    def pause(name):
        calls.append(name)
        time.sleep(pauses[name])

    timings = time_side_by_side(
        {name: lambda name=name: pause(name) for name in pauses}, rounds=5, warmup=2
    )
    assert calls == ['short', 'short', 'long', 'long'] + ['short', 'long'] * 5
    for name, result in timings.items():
        assert result.milliseconds >= result.fastest >= pauses[name] * 1000
        assert result.milliseconds < 3 * pauses[name] * 1000 + 5
        assert result.spread >= 0


def test_the_median_and_the_spread(monkeypatch):
    clock = iter(
        [0.0, 1.0, 1.0, 3.0, 3.0, 6.0, 6.0, 10.0, 10.0, 110.0]
    )  # 1, 2, 3, 4 and 100 seconds
    monkeypatch.setattr(timing.time, 'perf_counter', lambda: next(clock))
    result = time_side_by_side(dict(x=int), rounds=5, warmup=0)['x']
    assert (result.milliseconds, result.fastest) == (3000, 1000)
    assert result.spread == pytest.approx((52 - 1.5) / 3)


def test_one_round_has_no_spread():
    assert time_side_by_side(dict(x=int), rounds=1)['x'].spread == 0


def test_threads_are_set_and_set_back():
    before = torch.get_num_threads()
    for count in (1, None):
        with threads(count):
            assert torch.get_num_threads() == (count or before)
        assert torch.get_num_threads() == before
    with pytest.raises(RuntimeError), threads(before + 1):
        raise RuntimeError
    assert torch.get_num_threads() == before


@pytest.fixture
def measured(monkeypatch):
    """A module that a new process finds, whatever else is called tests there."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module('measured')


@pytest.mark.parametrize('count, kept', [(100, 0), (100, 100), (200, 50)])
def test_peak_memory_is_what_was_held_at_most(measured, count, kept):
    assert in_new_process(measured.held_megabytes, count, kept) == pytest.approx(count, rel=0.1)


def test_peak_memory_forgets_earlier_peaks(measured):
    assert in_new_process(measured.peak_of_a_small_call_behind_a_large_one) == pytest.approx(
        20, abs=5
    )


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='not glibc')
def test_peak_memory_counts_what_was_used_and_freed_before(measured):
    assert in_new_process(measured.peak_where_memory_was_freed) == pytest.approx(50, rel=0.1)


def test_an_error_in_the_new_process_is_raised_here():
    with pytest.raises(ZeroDivisionError):
        in_new_process(divmod, 1, 0)


def test_a_function_in_a_process_of_its_own(measured):
    with OwnProcess(measured.counter, 10) as count:
        assert [count(), count()] == [11, 12]
        assert 0 < count.seconds() < 1
        assert count() == 15  # two calls, of which the second was timed


def test_a_function_that_cannot_be_made_in_a_process_of_its_own():
    with pytest.raises(ZeroDivisionError):
        OwnProcess(divmod, 1, 0)
