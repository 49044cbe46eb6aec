"""What times that were measured side by side can tell apart, and how noisy the machine was."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .estimates import bounds_of_median

CONFIDENCE = 0.99  # of comparisons, of which there are several in a run
ALIKE = 0.01  # differences up to it, which the same file shows beside itself
SAME, TOO_FEW = 'same within noise', 'too few rounds'
QUIET = 0.05, 0.02  # most spread and drift of a quiet machine
LOUD = 0.2, 0.1  # beyond which it is very noisy


@dataclass(frozen=True)
class Comparison:
    """The times of one beside those of another, from the same rounds.

    Attributes:
        to: Name of the other.
        verdict: ``'slower'``, ``'faster'``, :data:`SAME` or :data:`TOO_FEW`.
        ratio: How many times as long as the other it takes, None where they cannot be told apart.
        bounds: Where the ratio lies with a probability of 99 %; None of too few rounds.
    """

    to: str
    verdict: str
    ratio: float | None
    bounds: tuple[float, float] | None

    @property
    def text(self) -> str:
        """The ratio, or the verdict where there is none."""
        return self.verdict if self.ratio is None else f'{self.ratio:.3g} x'


def compare_times(times: Sequence[float], others: Sequence[float], to: str) -> Comparison:
    """Compares times round by round, so that what slows down both does not count.

    Args:
        times: Milliseconds, one for each round.
        others: Those of the other in the same rounds.
        to: Name of the other.
    """
    ratios = [one / other for one, other in zip(times, others, strict=True)]
    bounds = bounds_of_median(ratios, CONFIDENCE)
    if bounds is None:
        return Comparison(to, TOO_FEW, None, None)
    if bounds[0] <= 1 + ALIKE and bounds[1] >= 1 - ALIKE:
        return Comparison(to, SAME, None, bounds)
    ratio = statistics.median(ratios)
    return Comparison(to, 'slower' if ratio > 1 else 'faster', ratio, bounds)


@dataclass(frozen=True)
class Noise:
    """How much the times of the same work differ.

    Attributes:
        spread: Distance between the quartiles over the median, of the noisiest; None of too few
            rounds.
        drift: By what share the median of the second half of the rounds differs from that of the
            first, of the one with the largest difference; None of too few rounds.
        verdict: ``'quiet'``, ``'noisy'``, ``'very noisy'`` or :data:`TOO_FEW`.
    """

    spread: float | None
    drift: float | None
    verdict: str

    @property
    def text(self) -> str:
        """A sentence."""
        if self.spread is None or self.drift is None:
            return f'Noise: {self.verdict} to tell.'
        return (
            f'Noise: {self.verdict}. The middle half of the rounds lies {self.spread:.1%} apart, '
            f'and medians moved by {self.drift:.1%} during the run.'
        )


def noise_of(times: Mapping[str, Sequence[float]], kinds: int = 1) -> Noise:
    """Judges how noisy a run was.

    Args:
        times: Milliseconds of the rounds by name.
        kinds: How many kinds of work there were in turn, such as images of other sizes; times are
            compared with those of the same kind.
    """
    if any(len(values) < max(4, 2 * kinds) for values in times.values()):
        return Noise(None, None, TOO_FEW)
    relative = [_relative(values, kinds) for values in times.values()]
    spread = max(_spread(values) for values in relative)
    drift = max(_drift(values) for values in relative)
    verdict = 'noisy'
    if spread <= QUIET[0] and drift <= QUIET[1]:
        verdict = 'quiet'
    elif spread > LOUD[0] or drift > LOUD[1]:
        verdict = 'very noisy'
    return Noise(spread, drift, verdict)


def _relative(times: Sequence[float], kinds: int) -> list[float]:
    """Times over the median of those of the same kind."""
    medians = [statistics.median(times[kind::kinds]) for kind in range(kinds)]
    return [time / medians[index % kinds] for index, time in enumerate(times)]


def _spread(values: Sequence[float]) -> float:
    low, median, high = statistics.quantiles(values, n=4)
    return (high - low) / median


def _drift(values: Sequence[float]) -> float:
    middle = len(values) // 2
    return abs(statistics.median(values[middle:]) / statistics.median(values[:middle]) - 1)
