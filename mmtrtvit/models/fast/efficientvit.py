"""EfficientViT's blocks for inference: the same numbers from fewer and larger operations.

Feature maps are in the memory format ``channels_last``, so their tokens are a view of them. Beside
BatchNorm, each block folds linear operations into its weights when it is made:

* the identity beside a depthwise convolution into the centre of its kernel, and its bias into the
  layers after it;
* the query's depthwise convolution, with its zero padding, and the scale of attention into one
  matrix over the tokens of a window for each channel;
* the bias of values into the layers after it, since the weights of attention sum up to 1.

The bias of keys is dropped, since softmax does not depend on it.

Each block is made of one of :mod:`.efficientvit` in eval mode, under ``torch.no_grad``, and shares
no weight with it.
"""

from collections.abc import Iterable
from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from ..efficientvit import KEY_CHANNELS, AttentionHead, LocalMixing, PatchMerging, WindowAttention
from ..windows import merge_tokens, split_tokens
from . import triton_attention
from .folding import folded
from .layers import FastConv


class FastLocalMixing(nn.Module):
    """Computes :class:`~.efficientvit.LocalMixing`.

    Args:
        block: The block that it computes.
    """

    def __init__(self, block: LocalMixing) -> None:
        super().__init__()
        expand, reduce = map(folded, block.ffn.branch)
        self.interaction: nn.Module = nn.Identity()
        if hasattr(block, 'interaction'):
            interaction = folded(block.interaction.branch)
            _add_identity(interaction)
            expand.bias += expand.weight.flatten(1) @ interaction.bias
            reduce.bias += interaction.bias
            interaction.bias = None
            self.interaction = FastConv(interaction)
        self.expand, self.reduce = FastConv(expand, relu=True), FastConv(reduce)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C, H, W)``."""
        x = self.interaction(x)
        return self.reduce(self.expand(x), x)


class FastAttentionHead(nn.Module):
    """Computes :class:`~.efficientvit.AttentionHead`, for n windows of w * w tokens.

    Args:
        head: The head that it computes.
        bias: What it adds to the logits, ``(w * w, w * w)``.
        window_size: Side of a window, w.
        offset: Difference of the input of ``head`` to this input, in each token, ``(C,)``.

    Attributes:
        offset: Difference of the output of ``head`` to this output, ``(C,)``.
    """

    def __init__(
        self, head: AttentionHead, bias: Tensor, *, window_size: int, offset: Tensor
    ) -> None:
        super().__init__()
        key_channels = head.widths[0]
        qkv = folded(head.qkv)
        weight = qkv.weight.flatten(1)
        self.qkv = linear_layer(weight)
        self.widths = head.widths
        query_bias, _, self.offset = (qkv.bias + weight @ offset).split(head.widths)
        conv = folded(head.query_conv)
        impulses = torch.eye(window_size**2).to(bias).view(-1, 1, window_size, window_size)
        responses = conv2d(
            impulses.expand(-1, key_channels, -1, -1),
            conv.weight,
            None,
            1,
            conv.padding,
            1,
            key_channels,
        )
        constant = conv(query_bias.view(1, -1, 1, 1).expand(-1, -1, window_size, window_size))
        scale = key_channels**-0.5
        self.query_mixing = _frozen(responses.flatten(2).transpose(0, 1) * scale)  # (K, w^2, w^2)
        self.query_bias = _frozen(constant.flatten(2).transpose(0, 1) * scale)  # (K, 1, w * w)
        self.bias = _frozen(bias)
        self.reach = min(conv.kernel_size[0] // 2, window_size - 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, w * w, C) -> (n, w * w, C)``."""
        return self.attend(*self.qkv(x).split(self.widths, dim=2))

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Computes attention within windows.

        Args:
            query: ``(n, w * w, K)``.
            key: ``(n, w * w, K)``.
            value: ``(n, w * w, C)``.
        """
        query = query.permute(2, 0, 1).contiguous()  # (K, n, w * w)
        query = torch.baddbmm(self.query_bias, query, self.query_mixing)
        logits = torch.baddbmm(self.bias, query.permute(1, 2, 0), key.transpose(1, 2))
        return torch.bmm(logits.softmax(dim=-1), value)

    def taps(self, reach: int) -> Tensor:
        """Returns the query's depthwise kernel, times the scale of attention, channels last.

        Its shape is ``(2 * reach + 1, 2 * reach + 1, K)``.
        """
        window_size = isqrt(self.bias.shape[0])
        mixing = self.query_mixing.unflatten(2, (window_size, -1)).unflatten(1, (window_size, -1))
        offset = torch.arange(-reach, reach + 1)
        source, target = offset.clamp(min=0), (-offset).clamp(min=0)
        taps = mixing[:, source[:, None], source, target[:, None], target]
        return taps.permute(1, 2, 0).contiguous()


class FastWindowAttention(nn.Module):
    """Computes :class:`~.efficientvit.WindowAttention` and the residual connection around it.

    Args:
        block: The block that it computes, without the residual connection.
    """

    def __init__(self, block: WindowAttention) -> None:
        super().__init__()
        self.window_size = block.window_size
        attention = block.attention
        self.cascade = attention.cascade
        biases = attention.bias_table[:, attention.bias_index]
        self.widths = [head.widths[2] for head in attention.heads]
        no_offset = biases.new_zeros(self.widths[0])
        offset = no_offset
        self.heads = nn.ModuleList()
        for head, bias in zip(attention.heads, biases):
            self.heads.append(
                FastAttentionHead(head, bias, window_size=self.window_size, offset=offset)
            )
            offset = self.heads[-1].offset if self.cascade else no_offset
        offsets = torch.cat([head.offset for head in self.heads])
        # relu(x + offset) = max(x, -offset) + offset
        self.floor = _frozen(-offsets)
        proj = folded(attention.proj)
        proj.bias += proj.weight.flatten(1) @ offsets
        self.proj = FastConv(proj)
        # what the kernel computes: a cascade of heads with the published width of keys
        self.published = self.cascade and self.heads[0].widths[0] == KEY_CHANNELS
        # all heads' weights, from the kernel's first call until they change
        self._stacked: triton_attention.Weights | None = None

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C, H, W)``."""
        by_kernel = self.published and triton_attention.takes(x, self.floor, self.window_size)
        attend = self._by_one_kernel if by_kernel else self._head_by_head
        return self.proj(attend(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), x)

    def _head_by_head(self, tokens: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        channels = self.proj.in_channels
        height, width = tokens.shape[1:3]
        tokens = split_tokens(tokens, self.window_size, channels)
        tokens = attend(self.heads, tokens.split(self.widths, dim=2), cascade=self.cascade)
        tokens = merge_tokens(
            tokens, self.window_size, height=height, width=width, channels=channels
        )
        return torch.maximum(tokens, self.floor)

    def _by_one_kernel(self, tokens: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        if self._stacked is None:
            self._stacked = self._stack()
        return triton_attention.attend(tokens, self._stacked, self.window_size)

    def _stack(self) -> triton_attention.Weights:
        reach = max(head.reach for head in self.heads)
        qkv, taps, query_bias, bias = map(
            torch.stack,
            zip(
                *(
                    (head.qkv.weight, head.taps(reach), head.query_bias.squeeze(1), head.bias)
                    for head in self.heads
                )
            ),
        )
        reaches = torch.tensor([head.reach for head in self.heads], dtype=torch.int32)
        return triton_attention.Weights(
            qkv, taps, query_bias, bias, self.floor, reaches.to(self.floor.device)
        )

    def _apply(self, *args, **kwargs) -> nn.Module:
        self._stacked = None
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args) -> None:
        self._stacked = None
        super()._load_from_state_dict(*args)


class FastPatchMerging(nn.Module):
    """Computes :class:`~.efficientvit.PatchMerging`.

    Args:
        block: The block that it computes.
    """

    def __init__(self, block: PatchMerging) -> None:
        super().__init__()
        self.expand, self.reduce = (
            FastConv(folded(part), relu=True) for part in (block.expand, block.reduce)
        )
        fc1, fc2 = (
            linear_layer(conv.weight.flatten(1), conv.bias)
            for conv in (block.squeeze_excite.fc1, block.squeeze_excite.fc2)
        )
        self.squeeze_excite = nn.Sequential(fc1, nn.ReLU(), fc2, nn.Sigmoid())
        self.project = FastConv(folded(block.project))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C', ceil(H / 2), ceil(W / 2))``."""
        x = self.reduce(self.expand(x))
        scale = self.squeeze_excite(x.mean(dim=(2, 3)))
        return self.project(x.mul_(scale[:, :, None, None]))


def attend(heads: Iterable[nn.Module], groups: Iterable[Tensor], *, cascade: bool) -> Tensor:
    """Applies heads, each to its group of channels.

    Args:
        heads: One for each group.
        groups: Tokens of each group, ``(n, w * w, C)``.
        cascade: Whether each head's input has the last head's output added.

    Returns:
        The outputs of all heads, ``(n, w * w, heads * C)``.
    """
    outputs: list[Tensor] = []
    for head, group in zip(heads, groups):
        outputs.append(head(group + outputs[-1] if cascade and outputs else group))
    return torch.cat(outputs, dim=2)


def linear_layer(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """Returns a layer with frozen copies of a weight, ``(C', C)``, and a bias, ``(C',)``."""
    layer = nn.Linear(*weight.shape[::-1], device='meta')
    layer.weight, layer.bias = _frozen(weight), None if bias is None else _frozen(bias)
    return layer


def _frozen(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach().clone(memory_format=torch.contiguous_format), False)


def _add_identity(conv: nn.Conv2d) -> None:
    """Makes a depthwise convolution add its input, in place."""
    centre = conv.kernel_size[0] // 2
    conv.weight[:, 0, centre, centre] += 1
