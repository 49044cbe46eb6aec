"""Latencies that are measured until they are certain enough, or time is up."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

CONFIDENCE = 0.95
WARM_UPS = 2

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
    ordered = sorted(times)
    count = len(ordered)
    outside = _left_out(count)
    bounds = None if outside is None else (ordered[outside], ordered[count - 1 - outside])
    low, _, high = statistics.quantiles(ordered, n=4) if count > 1 else ordered * 3
    return Estimate(statistics.median(ordered), (low, high), bounds, count)


def _left_out(count: int) -> int | None:
    """How many of the ordered times lie outside the bounds of the median, at either end.

    The median is below the k-th smallest of n times with the probability that a coin shows fewer
    than k heads in n throws.
    """
    most = (1 - CONFIDENCE) / 2
    fewest = None
    tail = 0.0
    for heads in range(count):
        tail += math.comb(count, heads) / 2**count
        if tail > most:
            break
        fewest = heads
    return fewest


def wall_clock(call: Callable[[], Any]) -> float:
    """Returns how many milliseconds a call took."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def measure_until_certain(
    calls: Mapping[str, Callable[[], Any]],
    *,
    rounds: int = 15,
    most_uncertainty: float = math.inf,
    seconds: float = math.inf,
    clock: Clock = wall_clock,
) -> dict[str, Estimate]:
    """Times calls in turn, so that whatever slows the machine down slows all of them.

    After ``rounds`` rounds only those go on that are not certain enough yet. Progress, with an
    estimate of the time that is left, is shown on a terminal.

    Args:
        calls: What to time, by name.
        rounds: Least rounds, each of which times every call once.
        most_uncertainty: The uncertainty at which a call is certain enough.
        seconds: Time after which no round begins.
        clock: Calls a function and returns its milliseconds.
    """
    end = time.monotonic() + seconds
    times: dict[str, list[float]] = {name: [] for name in calls}
    pending = list(calls)
    with tqdm(total=rounds * len(calls), unit='call', disable=None, leave=False) as bar:
        bar.set_description('warming up')
        for call in calls.values():
            for _ in range(WARM_UPS):
                call()
        bar.set_description('measuring')
        for number in range(1, 1_000_000):
            for name in pending:
                times[name].append(clock(calls[name]))
                bar.update()
            if number >= rounds:
                pending = [
                    name for name in pending if estimate(times[name]).uncertainty > most_uncertainty
                ]
                bar.total += len(pending)
                bar.set_description(f'{len(pending)} uncertain')
            if not pending or time.monotonic() > end:
                break
    return {name: estimate(values) for name, values in times.items()}
