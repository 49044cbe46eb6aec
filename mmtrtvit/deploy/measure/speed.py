"""Speed of a file of lower precision beside the one of single precision, on the same images."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...analysis.timing import Timing, time_side_by_side
from ...runtime.sessions.base import Session

SECONDS = 20.0  # that the rounds may take together, beyond the fewest
FEWEST, MOST = 3, 15  # rounds

Inputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Speed:
    """Times of two files, from arrays in memory to arrays in memory.

    Attributes:
        runtime: What ran them.
        precision: That of the file beside the one of single precision.
        fp32: Times of an image in single precision.
        lower: Those in the lower precision.
        images: On how many images.
        rounds: How often both ran on each of them, in turn.
    """

    runtime: str
    precision: str
    fp32: Timing
    lower: Timing
    images: int
    rounds: int

    @property
    def ratio(self) -> float:
        """How many times as fast the lower precision is."""
        return self.fp32.milliseconds / self.lower.milliseconds

    @property
    def slower(self) -> bool:
        """Whether lower precision costs time instead of saving it."""
        return self.ratio < 1


def measure_speed(fp32: Session, lower: Session, inputs: Sequence[Inputs], precision: str) -> Speed:
    """Times two files in turn, so that whatever slows the machine down slows both of them.

    Args:
        fp32: The file of single precision.
        lower: The other one.
        inputs: Inputs of both, of an image each.
        precision: That of the other one.
    """
    sessions = dict(fp32=fp32, lower=lower)
    start = time.perf_counter()
    for session in sessions.values():
        _run(session, inputs)
    once = time.perf_counter() - start
    rounds = int(np.clip(SECONDS / once, FEWEST, MOST))
    runs = {name: partial(_run, session, inputs) for name, session in sessions.items()}
    times = {
        name: Timing(each.milliseconds / len(inputs), each.fastest / len(inputs), each.spread)
        for name, each in time_side_by_side(runs, rounds, warmup=0).items()
    }
    return Speed(lower.backend, precision, **times, images=len(inputs), rounds=rounds)


def _run(session: Session, inputs: Sequence[Inputs]) -> None:
    for each in inputs:
        session.run(each)
