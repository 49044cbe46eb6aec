"""What times can tell apart, on constructed timings."""

import math
import random

import pytest

from mmtrtvit.analysis.noise import SAME, TOO_FEW, compare_times, noise_of


def drawn(seed, median=10.0, spread=0.05, count=200):
    order = random.Random(seed)
    return [median * order.lognormvariate(0, spread) for _ in range(count)]


@pytest.mark.parametrize('seed', range(5))
def test_the_same_work_is_not_told_apart(seed):
    found = compare_times(drawn(seed), drawn(seed + 100), 'other')
    assert found.verdict == found.text == SAME and found.ratio is None
    assert found.bounds[0] < 1.01 and found.bounds[1] > 0.99


def test_what_slows_down_both_does_not_count():
    """The machine gets three times as slow on the way; the medians alone would tell nothing."""
    slow = [1 + 2 * number / 200 + (number % 7 == 0) for number in range(200)]
    one, other = ([a * b for a, b in zip(drawn(seed, 10), slow)] for seed in (1, 2))
    found = compare_times([1.1 * time for time in one], other, 'other')
    assert found.verdict == 'slower' and found.ratio == pytest.approx(1.1, rel=0.03)
    assert found.text == f'{found.ratio:.3g} x' and found.to == 'other'
    back = compare_times(other, [1.1 * time for time in one], 'one')
    assert back.verdict == 'faster' and back.bounds[1] < 0.99
    assert compare_times(one, other, 'other').verdict == SAME


@pytest.mark.parametrize('share, verdict', [(1.005, SAME), (1.03, 'slower'), (0.97, 'faster')])
def test_less_than_a_hundredth_is_not_told_apart(share, verdict):
    times = drawn(3, spread=0.001)
    assert compare_times([share * time for time in times], times, 'x').verdict == verdict


def test_too_few_rounds():
    found = compare_times([9.0] * 7, [1.0] * 7, 'x')
    assert found.verdict == TOO_FEW and found.ratio is None and found.bounds is None
    assert compare_times([9.0] * 8, [1.0] * 8, 'x').ratio == 9


@pytest.mark.parametrize(
    'times, verdict',
    [
        (drawn(1, spread=0.01), 'quiet'),
        (drawn(1, spread=0.1), 'noisy'),
        (drawn(1, spread=0.3), 'very noisy'),
        ([1.0] * 50 + [1.05] * 50, 'noisy'),
        ([1.0] * 50 + [1.15] * 50, 'very noisy'),
        ([1.0] * 3, TOO_FEW),
    ],
)
def test_the_noisiest_counts(times, verdict):
    found = noise_of(dict(still=[2.0] * len(times), other=times))
    assert found.verdict == verdict and verdict in found.text


def test_images_that_take_other_times_are_no_noise():
    times = [10.0 * 2 ** (number % 3) for number in range(30)]
    assert noise_of(dict(a=times), kinds=3).verdict == 'quiet'
    assert noise_of(dict(a=times)).verdict == 'very noisy'
    assert noise_of(dict(a=times[:5]), kinds=3).spread is None
    assert math.isclose(noise_of(dict(a=times), kinds=3).drift, 0)
