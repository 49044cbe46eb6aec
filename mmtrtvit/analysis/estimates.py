"""Latencies that are measured until they are certain enough, or time is up."""

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tqdm import tqdm

CONFIDENCE = 0.95
WARM_UPS = 2
MOST_ROUNDS = 1_000_000
JUDGED = 1.05  # times as many rounds, when certainty is looked at again

Clock = Callable[[Callable[[], Any]], float]


@dataclass(frozen=True)
class Estimate:
    """The latency of a call, in milliseconds.

    Attributes:
        median: Of all rounds.
        quartiles: The lower and the upper one.
        bounds: Where the median lies with a probability of 95 %, whatever the distribution of
            single calls; None of fewer than 6 rounds, which do not tell it.
        rounds: Number of them.
    """

    median: float
    quartiles: tuple[float, float]
    bounds: tuple[float, float] | None
    rounds: int

    @property
    def uncertainty(self) -> float:
        """See :func:`uncertainty`; infinite without bounds."""
        return math.inf if self.bounds is None else uncertainty(self.bounds)


def uncertainty(bounds: tuple[float, float]) -> float:
    """Half of the distance between bounds, over their middle."""
    low, high = bounds
    return (high - low) / (high + low)


def estimate(times: Sequence[float]) -> Estimate:
    """Summarises the milliseconds of rounds; of one round the quartiles are its time."""
    low, _, high = statistics.quantiles(times, n=4) if len(times) > 1 else [*times] * 3
    return Estimate(statistics.median(times), (low, high), bounds_of_median(times), len(times))


def bounds_of_median(
    values: Sequence[float], confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Returns where the median lies with a probability, whatever the distribution of the values.

    Args:
        values: What was drawn, each independent of the others.
        confidence: The probability.

    Returns:
        The bounds, None of too few values to tell them: fewer than 6 for 95 %, than 8 for 99 %.
    """
    ordered, outside = sorted(values), _left_out(len(values), confidence)
    return None if outside is None else (ordered[outside], ordered[-1 - outside])


@cache
def _left_out(count: int, confidence: float) -> int | None:
    """How many of the ordered values lie outside the bounds of the median, at either end.

    The median is below the k-th smallest of n values with the probability that a coin shows fewer
    than k heads in n throws.
    """
    most = 2**count * round((1 - confidence) / 2 * 10**9) // 10**9  # throws: a float would overflow
    fewest = None
    below, ways = 0, 1  # of the throws with fewer heads, and of those with as many
    for heads in range(count):
        below += ways
        if below > most:
            break
        fewest, ways = heads, ways * (count - heads) // (heads + 1)
    return fewest


def wall_clock(call: Callable[[], Any]) -> float:
    """Returns how many milliseconds a call took."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def measure_until_certain(
    calls: Mapping[str, Callable[[], Any]], **options: Any
) -> dict[str, Estimate]:
    """Summarises what :func:`times_until_certain` returns, whose arguments it takes."""
    return {name: estimate(each) for name, each in times_until_certain(calls, **options).items()}


def times_until_certain(
    calls: Mapping[str, Callable[[], Any]],
    *,
    rounds: int = 15,
    most_uncertainty: float = math.inf,
    seconds: float = math.inf,
    clock: Clock = wall_clock,
    warm_ups: int = WARM_UPS,
    together: bool = False,
) -> dict[str, list[float]]:
    """Times calls in turn, so that whatever slows the machine down slows all of them.

    Each round has an order of its own in which no call follows itself, so that none always follows
    the same other one. Progress, with an estimate of the time that is left, is shown on a terminal.

    Args:
        calls: What to time, by name.
        rounds: Least rounds, each of which times every call once.
        most_uncertainty: The uncertainty at which a call is certain enough.
        seconds: Time after which no round begins, counted from the first one.
        clock: Calls a function and returns its milliseconds.
        warm_ups: How often each is called before the first round.
        together: Whether all go on until all are certain, so that the n-th times of all are of one
            round. Otherwise only those go on, after the least rounds, that are not certain yet.

    Returns:
        Milliseconds of the rounds, in their order.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    pending, order, judged, expected = list(calls), random.Random(0), rounds, float(rounds)
    with tqdm(total=rounds * len(calls), unit='call', disable=None, leave=False) as bar:
        bar.set_description('warming up')
        for call in calls.values():
            for _ in range(warm_ups):
                call()
        bar.set_description('measuring')
        start = time.monotonic()
        for number in range(1, MOST_ROUNDS):
            for name in pending:
                times[name].append(clock(calls[name]))
                bar.update()
            elapsed = time.monotonic() - start
            if number >= judged:
                judged = max(number + 1, int(number * JUDGED))
                doubts = {name: estimate(times[name]).uncertainty for name in pending}
                uncertain = [name for name in pending if doubts[name] > most_uncertainty]
                pending = pending if together and uncertain else uncertain
                if uncertain:
                    expected = number * (max(doubts.values()) / most_uncertainty) ** 2
                    bar.set_description(f'{len(uncertain)} uncertain')
            left = min(expected, number * seconds / max(elapsed, 1e-9), MOST_ROUNDS) - number
            bar.total = bar.n + max(int(left), 1) * len(pending)
            if not pending or elapsed > seconds:
                break
            pending = _another_order(pending, order)
    return times


def _another_order(names: Sequence[str], order: random.Random) -> list[str]:
    """Shuffles names so that the last one does not come first."""
    if len(names) < 3:
        return [*names]
    *others, last = names
    first = order.choice(others)
    rest = [name for name in names if name != first]
    order.shuffle(rest)
    return [first, *rest]
