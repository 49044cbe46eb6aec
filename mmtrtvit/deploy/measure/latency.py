"""Latency of a graph for a batch, from arrays in memory to arrays in memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...analysis.estimates import bounds_of_median, times_until_certain, uncertainty
from ...errors import UserError
from ...runtime.sessions.base import Session, Tensor, image_input

SIZE = 480, 640  # of images where nothing tells another


@dataclass(frozen=True)
class Latency:
    """Times of one batch, from arrays in memory to arrays in memory.

    Attributes:
        median: Milliseconds of the median round.
        p90: Milliseconds that 90 of 100 rounds do not exceed.
        p95: The same of 95 rounds.
        p99: The same of 99 rounds.
        throughput: Images per second of back-to-back batches.
        rounds: Number of rounds.
        bounds: Where the median lies with a probability of 95 %; None of fewer than 6 rounds.
    """

    median: float
    p90: float
    p95: float
    p99: float
    throughput: float
    rounds: int
    bounds: tuple[float, float] | None

    @property
    def uncertainty(self) -> float | None:
        """Half of the distance between the bounds over their middle."""
        return uncertainty(self.bounds) if self.bounds else None


def latency_of(times: Sequence[float], batch: int = 1) -> Latency:
    """Summarises the milliseconds of rounds, each of a batch of so many images."""
    median, p90, p95, p99 = map(float, np.percentile(times, (50, 90, 95, 99)))
    throughput = batch * len(times) / sum(times) * 1000
    return Latency(median, p90, p95, p99, throughput, len(times), bounds_of_median(times))


def measure_latency(
    functions: Mapping[str, Callable[[], Any]], batch: int, *, rounds: int = 50, warmup: int = 5
) -> dict[str, Latency]:
    """Times functions in turn, so that whatever slows the machine down slows all of them.

    Args:
        functions: What to time, by name; each returns when its results are there.
        batch: Images in a call.
        rounds: Rounds that count; each calls every function once.
        warmup: Calls of each before them.
    """
    times = times_until_certain(functions, rounds=rounds, warm_ups=warmup)
    return {name: latency_of(values, batch) for name, values in times.items()}


def common_size(
    sessions: Mapping[str, Session], size: tuple[int, int] | None = None
) -> tuple[int, int]:
    """Returns the size of images for all sessions: height and width.

    Args:
        sessions: By name.
        size: What is asked for; default: the one of a session that takes no other.

    Raises:
        UserError: If two take images of one size each, and not the same.
    """
    fixed: dict[tuple[int, int], str] = {}
    for name, session in sessions.items():
        shape = image_input(session).shape
        height, width = shape[1:3] if _is_channels_last(image_input(session)) else shape[2:]
        if height and width:
            fixed.setdefault((height, width), name)
    if size is None and len(fixed) > 1:
        takes = ', '.join(f'{name} of {side[0]}x{side[1]}' for side, name in fixed.items())
        raise UserError(
            f'these take images of one size each, which are not the same: {takes}. Time them '
            'apart, or on --images, each resized as its own pipeline says.'
        )
    return size or next(iter(fixed), SIZE)


def _is_channels_last(images: Tensor) -> bool:
    return images.shape[3] == 3 and images.shape[1] != 3


def random_inputs(
    session: Session, batch: int, *, size: tuple[int, int], seed: int = 0
) -> dict[str, np.ndarray]:
    """Noise in the place of images.

    Args:
        session: The graph.
        batch: Number of images.
        size: Their height and width.
        seed: Of the noise.

    Returns:
        ``input``, float32 ``(B, 3, H, W)``, or uint8 ``(B, H, W, 3)`` for a graph that takes that;
        and ``sizes``, float32 ``(B, 2)``, if the graph takes it.

    Raises:
        UserError: If the graph does not take images of that size.
    """
    generator = np.random.default_rng(seed)
    expected = image_input(session).shape
    channels_last = _is_channels_last(image_input(session))
    shape = (batch, *size, 3) if channels_last else (batch, 3, *size)
    if any(fixed not in (None, side) for fixed, side in zip(expected, shape)):
        fixed = 'x'.join('?' if side is None else str(side) for side in expected)
        raise UserError(
            f'the graph takes images of {fixed}, not '
            f'{"x".join(map(str, shape))}: give another --shape or --batch.'
        )
    images = (
        generator.integers(0, 256, shape, np.uint8)
        if channels_last
        else (generator.standard_normal(shape, np.float32))
    )
    inputs = dict(input=images, sizes=np.tile(np.array(size, np.float32), (batch, 1)))
    return {each.name: inputs[each.name] for each in session.inputs}
