"""What a device can do at best: products of matrices for its arithmetic, copies for its memory."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from ...models.fast.layers import FastLinear

SIDES = dict(cpu=(512, 1024, 2048, 4096), cuda=(4096, 8192))  # of square matrices
ENOUGH = 0.05  # seconds of a product, beyond which a larger one tells nothing new
COPIED = dict(cpu=2**26, cuda=2**30)  # bytes, more than caches hold


class Work(NamedTuple):
    """A call and how much it does.

    Attributes:
        call: Does it once.
        amount: Multiply-adds of a product; bytes read and written of a copy.
    """

    call: Callable[[], Any]
    amount: int


def matrix_products(device: str, dtype: torch.dtype) -> dict[str, Work]:
    """Products of square matrices, as PyTorch computes them and as the layers of fused copies do.

    Args:
        device: ``'cpu'`` or ``'cuda'``.
        dtype: Of the matrices.
    """
    work = {}
    for side in SIDES[device]:
        matrix = torch.randn(side, side, device=device).to(dtype)
        layer = FastLinear(nn.Linear(side, side, bias=False)).to(device, dtype)
        layer.requires_grad_(False)
        calls: dict[str, Callable[[], Any]] = dict(
            product=partial(torch.matmul, matrix, matrix), linear=partial(layer, matrix)
        )
        for name, call in calls.items():
            work[f'{name} {side}'] = Work(call, side**3)
        if device == 'cpu' and _seconds(calls['product']) > ENOUGH:
            break
    return work


def copies(device: str) -> dict[str, Work]:
    """Copies of memory that no cache holds."""
    size = COPIED[device]
    source, target = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
    return {f'copy {size}': Work(lambda: target.copy_(source), 2 * size)}


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
