"""Convolutions in half precision on an NVIDIA GPU, with bias, residual and ReLU in one kernel.

PyTorch computes a convolution's bias, a residual connection and a ReLU each in a pass of its own
over the feature map. cuDNN and cuBLASLt can compute them while they write the feature map, and the
operators called here ask them to.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from ..layers import added, is_traced


def takes(x: Tensor, weight: Tensor) -> bool:
    """Whether cuDNN computes these feature maps, which it does not in a graph that is traced."""
    return not is_traced() and can_take(x, weight)


def can_take(x: Tensor, weight: Tensor) -> bool:
    """Whether cuDNN can: half precision on an NVIDIA GPU, without gradients."""
    return (
        x.is_cuda
        and x.dtype in (torch.float16, torch.bfloat16)
        and x.dtype == weight.dtype
        and not x.requires_grad
        and torch.version.cuda is not None
        and torch.backends.cudnn.is_available()
        and torch.backends.cudnn.enabled
    )


def convolution(conv: nn.Conv2d, x: Tensor, other: Tensor | None) -> Tensor:
    """Computes a :class:`.layers.FastConv`: ``(B, C, H, W) -> (B, C', H', W')``."""
    settings = conv.stride, conv.padding, conv.dilation, conv.groups
    if conv.relu and other is not None:
        return torch.cudnn_convolution_add_relu(x, conv.weight, other, 1.0, conv.bias, *settings)
    if conv.pointwise:
        return _pointwise(conv, x, other)
    if conv.relu and conv.groups == 1:
        return torch.cudnn_convolution_relu(x, conv.weight, conv.bias, *settings)
    return added(conv2d(x, conv.weight, conv.bias, *settings), other, conv.relu)


def _pointwise(conv: nn.Conv2d, x: Tensor, other: Tensor | None) -> Tensor:
    tokens, weight = x.permute(0, 2, 3, 1), conv.weight.flatten(1)
    if conv.relu and conv.bias is not None:
        rows = torch._addmm_activation(conv.bias, tokens.flatten(0, 2), weight.t())
        return rows.unflatten(0, tokens.shape[:3]).permute(0, 3, 1, 2)
    x = linear(tokens, weight, conv.bias).permute(0, 3, 1, 2)
    return added(x, other, conv.relu)
