"""Timing: how long functions take and how much memory they need, measured side by side."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..glibc import give_back_freed

PROCESS = Path('/proc/self')


@dataclass(frozen=True)
class Timing:
    """How long a function took.

    Attributes:
        milliseconds: Median over the rounds.
        fastest: Least, in milliseconds.
        spread: Distance between the quartiles over the median.
    """

    milliseconds: float
    fastest: float
    spread: float


def time_side_by_side(
    functions: Mapping[str, Callable[[], Any]],
    rounds: int = 15,
    *,
    warmup: int = 2,
    device: str | torch.device = 'cpu',
) -> dict[str, Timing]:
    """Times functions in turn, so that whatever slows the machine down slows all of them.

    Args:
        functions: What to time, by name.
        rounds: How often each is timed; each round calls every function once.
        warmup: Calls of each before the first that counts.
        device: Where they compute; the clock stops when that has finished.
    """
    clock = clock_of(device)
    for function in functions.values():
        for _ in range(warmup):
            function()
    stopwatches = {name: partial(_seconds, function, clock) for name, function in functions.items()}
    return time_in_turn(stopwatches, rounds)


def time_in_turn(stopwatches: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Timing]:
    """Summarises what functions say that they took, in seconds; each round calls every one once."""
    times: dict[str, list[float]] = {name: [] for name in stopwatches}
    for _ in range(rounds):
        for name, seconds in stopwatches.items():
            times[name].append(seconds() * 1000)
    return {name: _summary(values) for name, values in times.items()}


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Lets PyTorch compute with ``count`` threads on the CPU; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_memory(function: Callable[[], Any], device: str | torch.device = 'cpu') -> int:
    """The most memory that a call holds beyond what was held before it, in bytes.

    On the CPU that is what the process has in physical memory, scratch space of libraries and what
    the allocator keeps included. What was freed earlier and is used again does not count; glibc is
    asked to give it back first, elsewhere call this in a fresh process (:func:`in_new_process`). On
    a GPU it is what PyTorch's allocator handed out.

    Raises:
        UserError: On the CPU of a system other than Linux.
    """
    device = torch.device(device)
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    memory = ResidentMemory()
    function()
    return memory.peak()


class ResidentMemory:
    """What the process has in physical memory beyond what it had at the beginning.

    Raises:
        UserError: On a system other than Linux.
    """

    def __init__(self) -> None:
        if not (PROCESS / 'clear_refs').exists():
            raise UserError('the memory of a process is measured on Linux only')
        give_back_freed()
        self._before = _resident_memory('VmRSS')
        (PROCESS / 'clear_refs').write_text('5')  # forget the highest value so far

    def held(self) -> int:
        """Returns the bytes now, without what was freed."""
        give_back_freed()
        return _resident_memory('VmRSS') - self._before

    def peak(self) -> int:
        """Returns the most bytes since the beginning."""
        return _resident_memory('VmHWM') - self._before


def in_new_process(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Returns what a function of a module returns, called in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
        return pool.submit(function, *args, **kwargs).result()


class OwnProcess:
    """A function in a process of its own, where nothing that others set or hold changes it.

    Args:
        make: Returns the function; called in the new process.
        args: Arguments of ``make``.
    """

    def __init__(self, make: Callable[..., Callable[[], Any]], *args: Any) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=get_context('spawn'))
        try:
            self._pool.submit(_make, make, args).result()
        except BaseException:
            self._pool.shutdown()
            raise

    def __call__(self) -> Any:
        """Calls the function."""
        return self._pool.submit(_call).result()

    def seconds(self) -> float:
        """Times a call on the CPU, right behind another one that is not timed."""
        return self._pool.submit(_time_second_call).result()

    def __enter__(self) -> 'OwnProcess':
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


def clock_of(device: str | torch.device) -> Callable[[], float]:
    """Returns a clock, in seconds, that waits for what a GPU still computes."""
    if torch.device(device).type != 'cuda':
        return time.perf_counter

    def clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


_function: Callable[[], Any]  # that of an OwnProcess, in that process


def _make(make: Callable[..., Callable[[], Any]], args: tuple) -> None:
    global _function
    _function = make(*args)


def _call() -> Any:
    return _function()


def _time_second_call() -> float:
    _function()
    return _seconds(_function, time.perf_counter)


def _seconds(function: Callable[[], Any], clock: Callable[[], float]) -> float:
    start = clock()
    function()
    return clock() - start


def _summary(times: list[float]) -> Timing:
    median = statistics.median(times)
    low, _, high = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
    return Timing(median, min(times), (high - low) / median)


def _resident_memory(field: str) -> int:
    lines = (PROCESS / 'status').read_text().splitlines()
    value = next(line.split(':')[1] for line in lines if line.startswith(f'{field}:'))
    return int(value.split()[0]) * 1024
