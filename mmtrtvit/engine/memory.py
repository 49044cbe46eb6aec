"""Memory of this process and of its machine, as Linux tells them."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STATUS = Path('/proc/self/statm')
MACHINE = Path('/proc/meminfo')
GROUP = Path('/sys/fs/cgroup')  # of a container, whose limit may be below the machine's memory
INTERVAL = 0.002  # seconds between two looks


def used_memory() -> int:
    """Returns the bytes that this process has in memory."""
    return int(STATUS.read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def free_memory() -> int:
    """Returns the bytes that a process can have more, without swapping."""
    lines = dict(line.split(':') for line in MACHINE.read_text().splitlines())
    free = int(lines['MemAvailable'].split()[0]) * 1024
    try:
        limit, used = ((GROUP / f'memory.{name}').read_text() for name in ('max', 'current'))
        kinds = dict(line.split() for line in (GROUP / 'memory.stat').read_text().splitlines())
        return min(free, int(limit) - int(used) + int(kinds['inactive_file']))
    except (OSError, ValueError, KeyError):  # no group, or one without a limit, 'max'
        return free


class Peak:
    """The most memory of this process during a block, see :func:`peak_memory`.

    Attributes:
        bytes: The most that was seen.
    """

    def __init__(self) -> None:
        self.bytes = used_memory()

    def look(self) -> None:
        """Looks once."""
        self.bytes = max(self.bytes, used_memory())


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Has a thread look at the memory of this process again and again while the block runs."""
    peak, ended = Peak(), threading.Event()

    def watch() -> None:
        while not ended.wait(INTERVAL):
            peak.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        peak.look()
        ended.set()
        thread.join()
