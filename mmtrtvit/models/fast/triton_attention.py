"""Cascaded group attention in windows as one kernel, for half precision on a GPU.

It computes what :class:`.efficientvit.FastWindowAttention` computes before its projection, and
reads and writes the feature map once. Each program takes a window through all heads, and what the
next head needs stays in registers. Padding and cropping are masks. Products are accumulated, and
softmax is computed, in fp32. It is an operator of PyTorch, so that ``torch.compile`` keeps it.
"""

from functools import cache
from typing import NamedTuple

import torch
from mmengine.utils import digit_version
from torch import Tensor

from ..efficientvit import KEY_CHANNELS
from ..layers import is_exported, is_traced
from . import cudnn

try:
    import triton
    import triton.language as tl
except ImportError:  # PyTorch without CUDA comes without it
    triton = None
else:
    if digit_version(triton.__version__) < digit_version('3.2'):  # that of PyTorch 2.6
        triton = None

MOST_TOKENS = 64  # of a window; the products of more do not fit into a program's registers


class Weights(NamedTuple):
    """Weights of all heads: h heads of d channels, in windows of w * w tokens.

    Attributes:
        qkv: Weights of query, key and value, ``(h, 16 + 16 + d, d)``.
        taps: Depthwise kernels on the query, times the scale, ``(h, k, k, 16)``.
        query_bias: Added to the query after them, ``(h, 16, w * w)``.
        bias: Added to the logits, ``(h, w * w, w * w)``.
        floor: Lower limit of the output, ``(h * d,)``.
        reaches: How far each head's kernel reaches from its centre, at most ``k // 2``, int32:
            ``(h,)``.
    """

    qkv: Tensor
    taps: Tensor
    query_bias: Tensor
    bias: Tensor
    floor: Tensor
    reaches: Tensor


def takes(x: Tensor, weight: Tensor, window_size: int) -> bool:
    """Whether the kernel computes these feature maps: half precision on a GPU from Ampere on."""
    return (
        triton is not None
        and not is_exported()
        and cudnn.can_take(x, weight)
        and window_size**2 <= MOST_TOKENS
        and _is_possible(x.device)
    )


@torch.compiler.assume_constant_result
def _is_possible(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0) and _starts(device)


@cache
def _starts(device: torch.device) -> bool:
    """Whether Triton starts kernels, for which it needs a C compiler and not only a GPU."""
    x = torch.zeros(1, device=device)
    try:
        with torch.cuda.device_of(x):
            _write_one[(1,)](x)
    except Exception:  # whatever is missing, PyTorch's operators do without it
        return False
    return bool(x == 1)


def attend(x: Tensor, weights: Weights, window_size: int) -> Tensor:
    """Computes all heads over the windows of a feature map, without the projection after them.

    Args:
        x: Feature maps, ``(B, H, W, C)``.
        weights: Weights of all heads.
        window_size: Side of a window, w.

    Returns:
        Feature maps, ``(B, H, W, C)``.
    """
    # around a call, an operator takes longer than a function
    start = _operator if is_traced() else _start
    return start(x.contiguous(), list(weights), window_size)


def _start(x: Tensor, stacked: list[Tensor], window_size: int) -> Tensor:
    weights = Weights(*stacked)
    batch, height, width, _ = x.shape
    heads, _, head_width = weights.qkv.shape
    rows, columns = -(-height // window_size), -(-width // window_size)
    windows = batch * rows * columns
    tokens, block = (max(16, triton.next_power_of_2(each)) for each in (window_size**2, head_width))
    out = torch.empty_like(x)
    queries = x.new_empty(windows, tokens, KEY_CHANNELS)
    with torch.cuda.device_of(x):
        _attend[(windows,)](
            x,
            out,
            queries,
            *weights,
            height,
            width,
            rows,
            columns,
            heads,
            head_width,
            window_size,
            weights.taps.shape[1],
            tokens,
            block,
            KEY_CHANNELS,
        )
    return out


_operator = torch.library.custom_op('mmtrtvit::window_attention', _start, mutates_args=())


@_operator.register_fake
def _(x: Tensor, *_) -> Tensor:
    return torch.empty_like(x)


if triton is not None:

    @triton.jit
    def _write_one(x):
        tl.store(x, 1.0)

    @triton.jit
    def _depthwise(
        queries,
        taps,
        reach,
        mixed,
        token,
        key_channel,
        WINDOW: tl.constexpr,
        SIDE: tl.constexpr,
        KEY: tl.constexpr,
    ):
        """Adds a depthwise convolution of a window's queries to ``mixed``.

        The queries are in memory, so that each thread can read those of others.
        """
        y, x = token // WINDOW, token % WINDOW
        for row in range(SIDE):
            dy = row - SIDE // 2
            if dy * dy <= reach * reach:
                in_rows = (token < WINDOW * WINDOW) & (y + dy >= 0) & (y + dy < WINDOW)
                for column in tl.static_range(SIDE):
                    dx = column - SIDE // 2
                    inside = in_rows & (x + dx >= 0) & (x + dx < WINDOW)
                    neighbour = tl.load(
                        queries + (token + dy * WINDOW + dx)[:, None] * KEY + key_channel[None, :],
                        inside[:, None],
                        other=0.0,
                    )
                    weights = tl.load(taps + (row * SIDE + column) * KEY + key_channel)
                    mixed += neighbour.to(tl.float32) * weights.to(tl.float32)[None, :]
        return mixed

    # one compiled kernel for feature maps of any size
    @triton.jit(do_not_specialize=['height', 'width', 'rows', 'columns'])
    def _attend(
        x,
        out,
        queries,
        qkv,
        taps,
        query_bias,
        bias,
        floor,
        reaches,
        height,
        width,
        rows,
        columns,
        HEADS: tl.constexpr,
        WIDTH: tl.constexpr,
        WINDOW: tl.constexpr,
        SIDE: tl.constexpr,
        TOKENS: tl.constexpr,
        BLOCK: tl.constexpr,
        KEY: tl.constexpr,
    ):
        window = tl.program_id(0).to(tl.int64)
        column, row = window % columns, window // columns % rows
        image = window // (columns * rows)
        token = tl.arange(0, TOKENS)
        in_window = token < WINDOW * WINDOW
        map_y, map_x = row * WINDOW + token // WINDOW, column * WINDOW + token % WINDOW
        in_map = in_window & (map_y < height) & (map_x < width)
        place = ((image * height + map_y) * width + map_x) * (HEADS * WIDTH)
        channel, key_channel = tl.arange(0, BLOCK), tl.arange(0, KEY)
        in_head = channel < WIDTH
        mask = in_map[:, None] & in_head[None, :]
        own_queries = queries + window * (TOKENS * KEY)
        pairs_mask = in_window[:, None] & in_window[None, :]
        dtype = x.dtype.element_ty

        previous = tl.zeros([TOKENS, BLOCK], tl.float32)
        for head in range(HEADS):
            channels = head * WIDTH + channel
            own = tl.load(x + place[:, None] + channels[None, :], mask, other=0.0)
            own = (own.to(tl.float32) + previous).to(dtype)
            weight = qkv + head * ((2 * KEY + WIDTH) * WIDTH) + channel[:, None]
            to_key = key_channel[None, :] * WIDTH
            query_weight = tl.load(weight + to_key, in_head[:, None], other=0.0)
            key_weight = tl.load(weight + KEY * WIDTH + to_key, in_head[:, None], other=0.0)
            value_weight = tl.load(
                weight + 2 * KEY * WIDTH + channel[None, :] * WIDTH,
                in_head[:, None] & in_head[None, :],
                other=0.0,
            )

            query = tl.dot(own, query_weight).to(dtype)
            tl.store(own_queries + token[:, None] * KEY + key_channel[None, :], query)
            tl.debug_barrier()
            mixed = tl.load(
                query_bias
                + (head * KEY + key_channel[None, :]) * (WINDOW * WINDOW)
                + token[:, None],
                in_window[:, None],
                other=0.0,
            ).to(tl.float32)
            mixed = _depthwise(
                own_queries,
                taps + head * (SIDE * SIDE * KEY),
                tl.load(reaches + head),
                mixed,
                token,
                key_channel,
                WINDOW,
                SIDE,
                KEY,
            )
            tl.debug_barrier()

            key = tl.dot(own, key_weight).to(dtype)
            logits = tl.dot(mixed.to(dtype), tl.trans(key))
            logits += tl.load(
                bias
                + (head * (WINDOW * WINDOW) + token[:, None]) * (WINDOW * WINDOW)
                + token[None, :],
                pairs_mask,
                other=0.0,
            ).to(tl.float32)
            logits = tl.where(in_window[None, :], logits, float('-inf'))
            shares = tl.exp(logits - tl.max(logits, axis=1)[:, None])
            shares /= tl.sum(shares, axis=1)[:, None]
            value = tl.dot(own, value_weight).to(dtype)
            previous = tl.dot(shares.to(dtype), value)
            least = tl.load(floor + channels, in_head, other=0.0).to(tl.float32)
            tl.store(
                out + place[:, None] + channels[None, :],
                tl.maximum(previous, least[None, :]).to(dtype),
                mask,
            )
