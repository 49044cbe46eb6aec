"""EfficientViT's blocks for inference: the same numbers from fewer and larger operations.

Maps are in the memory format ``channels_last``: the tokens of a map, ``(B * H * W, C)``, are a view
of it, and pointwise convolutions are products of matrices. Beside BatchNorm, each block folds what
is linear into its weights when it is made:

* the identity beside a depthwise convolution into the centre of its kernel;
* the bias of an FFN's second layer into the depthwise convolution in front, whose output the FFN
  is added to;
* the query's depthwise convolution, with its zero padding, and the scale of attention into one
  matrix over the tokens of a window for each channel;
* the bias of values into what comes behind, since the weights of attention sum up to 1, and the
  bias of keys into nothing, since softmax does not feel it.

Each block is made of one of :mod:`.efficientvit` in eval mode, under ``torch.no_grad``, and shares
no weight with it.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from .efficientvit import KEY_CHANNELS, AttentionHead, LocalMixing, PatchMerging, WindowAttention
from .folding import folded
from .layers import ConvNorm
from .windows import merge_tokens, split_tokens


class FastLocalMixing(nn.Module):
    """Computes :class:`~.efficientvit.LocalMixing`: ``(B, C, H, W) -> (B, C, H, W)``.

    Args:
        block: The block that it computes.
    """

    def __init__(self, block: LocalMixing) -> None:
        super().__init__()
        self.interaction = folded(block.interaction.branch)
        _add_identity(self.interaction)
        expand, reduce = map(_pointwise, block.ffn.branch)
        self.interaction.bias += reduce.bias
        self.expand_weight = _frozen(expand.weight)  # (2C, C)
        self.expand_bias = _frozen(expand.bias - expand.weight @ reduce.bias)
        self.reduce_weight = _frozen(reduce.weight.t())  # (2C, C)

    def forward(self, x: Tensor) -> Tensor:
        x = self.interaction(x)
        tokens = x.permute(0, 2, 3, 1).flatten(0, 2)  # (B * H * W, C)
        hidden = linear(tokens, self.expand_weight, self.expand_bias).relu_()
        tokens = tokens.addmm_(hidden, self.reduce_weight)
        batch, channels, height, width = x.shape
        return tokens.reshape(batch, height, width, channels).permute(0, 3, 1, 2)


class FoldedLocalMixing(nn.Module):
    """Computes :class:`~.efficientvit.LocalMixing` with convolutions, which runtimes for ONNX have
    faster kernels for than for products of matrices: ``(B, C, H, W) -> (B, C, H, W)``.

    Args:
        block: The block that it computes.
    """

    def __init__(self, block: LocalMixing) -> None:
        super().__init__()
        self.interaction = folded(block.interaction.branch)
        _add_identity(self.interaction)
        self.expand, self.reduce = map(folded, block.ffn.branch)

    def forward(self, x: Tensor) -> Tensor:
        x = self.interaction(x)
        return x.add_(self.reduce(self.expand(x).relu_()))


class FastAttentionHead(nn.Module):
    """Computes :class:`~.efficientvit.AttentionHead`, for n windows of w * w tokens:
    ``(n * w * w, C) -> (n * w * w, C)``.

    Args:
        head: The head that it computes.
        bias: What it adds to the logits, ``(w * w, w * w)``.
        window_size: Side of a window, w.
        offset: What the input lacks of that of ``head``, in each token, ``(C,)``.

    Attributes:
        offset: What the output lacks of that of ``head``, ``(C,)``.
    """

    def __init__(self, head: AttentionHead, bias: Tensor, window_size: int, offset: Tensor) -> None:
        super().__init__()
        self.num_tokens = window_size**2
        self.widths = head.widths[1:]
        qkv = _pointwise(head.qkv)
        self.query_weight = _frozen(qkv.weight[:KEY_CHANNELS])  # (16, C)
        self.key_value_weight = _frozen(qkv.weight[KEY_CHANNELS:].t())  # (C, 16 + C)
        query_bias, _, self.offset = (qkv.bias + qkv.weight @ offset).split(head.widths)
        conv = folded(head.query_conv)
        impulses = torch.eye(self.num_tokens).to(bias).view(-1, 1, window_size, window_size)
        responses = conv2d(
            impulses.expand(-1, KEY_CHANNELS, -1, -1), conv.weight, None, 1, conv.padding, 1,
            KEY_CHANNELS)
        constant = conv(query_bias.view(1, -1, 1, 1).expand(-1, -1, window_size, window_size))
        scale = KEY_CHANNELS**-.5
        self.query_mixing = _frozen(responses.flatten(2).transpose(0, 1) * scale)  # (16, w^2, w^2)
        self.query_bias = _frozen(constant.flatten(2).transpose(0, 1) * scale)  # (16, 1, w * w)
        self.bias = _frozen(bias)

    def forward(self, x: Tensor) -> Tensor:
        query = (self.query_weight @ x.t()).reshape(KEY_CHANNELS, -1, self.num_tokens)
        query = torch.baddbmm(self.query_bias, query, self.query_mixing)  # (16, n, w * w)
        key_value = (x @ self.key_value_weight).reshape(-1, self.num_tokens, sum(self.widths))
        key, value = key_value.split(self.widths, dim=2)  # (n, w * w, 16 or C)
        logits = torch.baddbmm(self.bias, query.permute(1, 2, 0), key.transpose(1, 2))
        return torch.bmm(logits.softmax(dim=-1), value).flatten(0, 1)


class FastWindowAttention(nn.Module):
    """Computes :class:`~.efficientvit.WindowAttention` and the residual connection around it:
    ``(B, C, H, W) -> (B, C, H, W)``.

    Args:
        block: The block that it computes, without the residual connection.
    """

    def __init__(self, block: WindowAttention) -> None:
        super().__init__()
        self.window_size = block.window_size
        attention = block.attention
        biases = attention.bias_table[:, attention.bias_index]
        offsets = [biases.new_zeros(attention.heads[0].widths[2])]
        self.heads = nn.ModuleList()
        for head, bias in zip(attention.heads, biases):
            self.heads.append(FastAttentionHead(head, bias, self.window_size, offsets[-1]))
            offsets.append(self.heads[-1].offset)
        offsets = torch.cat(offsets[1:])
        proj = _pointwise(attention.proj)
        # relu(x + offset) = max(x, -offset) + offset
        self.floor = _frozen(-offsets)
        self.proj_weight = _frozen(proj.weight)
        self.proj_bias = _frozen(proj.bias + proj.weight @ offsets)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        tokens = split_tokens(x.permute(0, 2, 3, 1), self.window_size)
        groups = tokens.chunk(len(self.heads), dim=1)
        outputs = []
        for head, group in zip(self.heads, groups):
            outputs.append(head(group + outputs[-1] if outputs else group))
        tokens = merge_tokens(torch.cat(outputs, dim=1), self.window_size, height, width)
        update = linear(torch.maximum(tokens, self.floor), self.proj_weight, self.proj_bias)
        return x.add_(update.permute(0, 3, 1, 2))


class FastPatchMerging(nn.Module):
    """Computes :class:`~.efficientvit.PatchMerging`:
    ``(B, C, H, W) -> (B, C', ceil(H / 2), ceil(W / 2))``.

    Args:
        block: The block that it computes.
    """

    def __init__(self, block: PatchMerging) -> None:
        super().__init__()
        self.expand = folded(block.expand)
        self.reduce = folded(block.reduce)
        self.squeeze_excite = nn.Sequential(
            _linear(block.squeeze_excite.fc1), nn.ReLU(), _linear(block.squeeze_excite.fc2),
            nn.Sigmoid())
        self.project = folded(block.project)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(self.expand(x).relu_()).relu_()
        scale = self.squeeze_excite(x.mean(dim=(2, 3)))
        return self.project(x.mul_(scale[:, :, None, None]))


def _pointwise(conv_norm: ConvNorm) -> nn.Linear:
    """A 1x1 convolution and its norm as a linear layer: weight ``(C', C)``, bias ``(C',)``."""
    return _linear(folded(conv_norm))


def _linear(conv: nn.Conv2d) -> nn.Linear:
    layer = nn.Linear(conv.in_channels, conv.out_channels, device='meta')
    layer.weight, layer.bias = _frozen(conv.weight.flatten(1)), _frozen(conv.bias)
    return layer


def _frozen(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach().clone(memory_format=torch.contiguous_format), False)


def _add_identity(conv: nn.Conv2d) -> None:
    """Makes a depthwise convolution add its input, in place."""
    centre = conv.kernel_size[0] // 2
    conv.weight[:, 0, centre, centre] += 1
