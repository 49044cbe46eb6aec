"""Latency of a graph for a batch, from arrays in memory to arrays in memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...analysis.timing import times_side_by_side
from ...errors import UserError
from ...runtime.sessions.base import Session, image_input


@dataclass(frozen=True)
class Latency:
    """Times of one batch, from arrays in memory to arrays in memory.

    Attributes:
        median: Milliseconds of the median round.
        p95: Milliseconds that 95 of 100 rounds do not exceed.
        throughput: Images per second of back-to-back batches.
        rounds: Number of rounds.
    """

    median: float
    p95: float
    throughput: float
    rounds: int


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
    times = times_side_by_side(functions, rounds, warmup=warmup)
    return {
        name: Latency(
            float(np.median(values)),
            float(np.percentile(values, 95)),
            batch * len(values) / sum(values) * 1000,
            len(values),
        )
        for name, values in times.items()
    }


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
    channels_last = expected[3] == 3 and expected[1] != 3
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
