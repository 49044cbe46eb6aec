"""Calls on a GPU, timed without the CPU that gives them to it: CUDA graphs, events, cold caches."""

from collections.abc import Callable
from typing import Any

import torch

WARM_UPS = 3  # calls before one is recorded, as CUDA graphs need
FLUSHED = 2  # how many times the L2 cache is written over between two calls


class Recorded:
    """Replays the kernels of a call as a CUDA graph.

    A graph holds addresses alone: the call, with the weights and inputs that it reads, is kept.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                call()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.outputs = call()

    def __call__(self) -> Any:
        """Replays the graph and returns its outputs, which the next call overwrites."""
        self.graph.replay()
        return self.outputs


class ColdCache:
    """Times calls on a GPU by its own clock, each with an L2 cache that holds nothing of it.

    Args:
        device: ``'cuda'`` or ``'cuda:0'``.
    """

    def __init__(self, device: str = 'cuda') -> None:
        size = torch.cuda.get_device_properties(device).L2_cache_size
        self._waste = torch.empty(FLUSHED * size, dtype=torch.uint8, device=device)
        self._start, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def __call__(self, call: Callable[[], Any]) -> float:
        """Returns how many milliseconds a call took."""
        self._waste.zero_()
        self._start.record()
        call()
        self._end.record()
        self._end.synchronize()
        return self._start.elapsed_time(self._end)
