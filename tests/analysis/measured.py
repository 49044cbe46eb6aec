"""What tests/analysis/test_timing.py measures in processes of their own."""

import itertools

import torch

from mmtrtvit.analysis.timing import peak_memory


def held_megabytes(count, kept):
    """Peak of a call that fills ``count`` MB and frees them, but for what it returns."""
    result = []

    def call():
        values = [torch.ones(250_000) for _ in range(count)]
        result.extend(values[:kept])

    return peak_memory(call) / 1e6


def peak_of_a_small_call_behind_a_large_one():
    large = torch.ones(100_000_000)
    del large
    return held_megabytes(20, 0)


def peak_where_memory_was_freed():
    def blocks():
        return [bytearray(100_000) for _ in range(500)]

    freed, kept = blocks(), bytearray(100_000)  # which keeps the heap from shrinking
    del freed
    return len(kept) and peak_memory(blocks) / 1e6


def counter(start):
    count = itertools.count(start + 1)
    return lambda: next(count)
