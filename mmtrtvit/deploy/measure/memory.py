"""The most memory that a model holds: its weights, and what its runs take beyond them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch

from ...analysis.timing import ResidentMemory
from ...errors import UserError


class _Memory(Protocol):
    def held(self) -> int: ...

    def peak(self) -> int: ...


class MemoryMeter:
    """Adds up what is held by a model that is opened and run bit by bit, with others between.

    On a CPU it is the process's physical memory, which Linux tells. On a GPU it is what the GPU has
    less for all, since each library has an allocator of its own; these give nothing back, so the
    peak is what is held.

    Args:
        device: Where the model runs.

    Attributes:
        peak: The most bytes so far; None where they cannot be told.
    """

    def __init__(self, device: str) -> None:
        self.peak: int | None = 0
        self._held = 0
        self._cuda = device.startswith('cuda') and torch.cuda.is_available()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Counts what is done inside of it for the model."""
        if self.peak is None:
            yield
            return
        try:
            memory: _Memory = _DeviceMemory() if self._cuda else ResidentMemory()
        except UserError:  # not Linux
            self.peak = None
            yield
            return
        yield
        self.peak = max(self.peak, self._held + memory.peak())
        self._held += memory.held()


class _DeviceMemory:
    """What the GPU has less than at the beginning."""

    def __init__(self) -> None:
        torch.cuda.empty_cache()
        self._before = torch.cuda.mem_get_info()[0]

    def held(self) -> int:
        torch.cuda.synchronize()
        return self._before - torch.cuda.mem_get_info()[0]

    peak = held
