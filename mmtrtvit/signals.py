"""Signals that end a program in order: Ctrl-C, and SIGTERM as Slurm and Docker send it."""

import multiprocessing
import os
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


def leave_sigterm_to_parent() -> None:
    """Lets SIGTERM end this process only if the one that started it sends it.

    ``timeout`` and Slurm send it to all processes of a program at once. A worker that died of it
    would take the program along before that could end in order. For processes of
    :mod:`multiprocessing`, where the system can wait for signals (not on macOS and Windows).
    """
    parent = multiprocessing.parent_process()
    if parent is None or not hasattr(signal, 'sigwaitinfo'):
        return
    sender = parent.pid

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != sender:
            pass
        os._exit(0)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=wait, daemon=True).start()


def _can_listen() -> bool:
    return threading.current_thread() is threading.main_thread()
