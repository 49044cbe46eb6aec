"""Signals that end a program in order: Ctrl-C, and SIGTERM as Slurm and Docker send it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ENDING = signal.SIGINT, signal.SIGTERM


class Terminated(KeyboardInterrupt):
    """SIGTERM told the program to end."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """Returns what a program ends with, as shells have it: 143 after SIGTERM, 130 after Ctrl-C."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


@contextmanager
def terminable() -> Iterator[None]:
    """Lets SIGTERM raise :class:`Terminated` while the block runs, as Ctrl-C raises its exception.

    Outside of the main thread, which alone may listen to signals, nothing changes.
    """

    def end(*_: Any) -> None:
        raise Terminated

    if not _can_listen():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def put_off() -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM wait until the block is done, so that it is not left half way."""
    if not _can_listen():
        yield
        return
    told: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: told.append(number))
        for number in ENDING
        if signal.getsignal(number) is not None  # else it is none of Python's
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if told:
        signal.raise_signal(told[0])


def _can_listen() -> bool:
    return threading.current_thread() is threading.main_thread()
