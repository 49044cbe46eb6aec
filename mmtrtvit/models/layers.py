"""Layers and helpers that both families use."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .batch_norm import BatchNorm2d


class ConvNorm(nn.Sequential):
    """Convolution without bias, BatchNorm and an optional ReLU.

    Its shapes are ``(B, C, H, W) -> (B, C', H', W')``.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        kernel_size: Side of the kernel; the padding keeps ``ceil(H / stride)``.
        stride: Stride of the convolution.
        groups: Groups of the convolution, ``in_channels`` for a depthwise one.
        act: Append a ReLU.
        norm_weight: Initial scale of the BatchNorm; 0 starts a residual branch as the identity.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: bool = False,
        norm_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            kernel_size // 2,
            groups=groups,
            bias=False,
        )
        self.norm = BatchNorm2d(out_channels)
        nn.init.constant_(self.norm.weight, norm_weight)
        if act:
            self.act = nn.ReLU(inplace=True)


def channels_last(x: Tensor) -> Tensor:
    """Returns images in the memory format ``channels_last``, ``(B, C, H, W)``.

    For images of a few channels, stacking the channels is PyTorch's fastest way to this format.
    """
    if x.is_contiguous(memory_format=torch.channels_last):
        return x
    return torch.stack(x.unbind(1), dim=-1).permute(0, 3, 1, 2)


def added(x: Tensor, other: Tensor | None, relu: bool) -> Tensor:
    """Adds ``other``, if given, and makes negative values zero, in place."""
    if other is not None:
        x = x.add_(other)
    return x.relu_() if relu else x


def replace_modules(
    model: nn.Module, kind: type[nn.Module], make: Callable[[nn.Module], nn.Module]
) -> None:
    """Replaces every child of a kind by ``make(child)``, at any depth of the model."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, kind):
                setattr(module, name, make(child))


def is_traced() -> bool:
    """Whether a graph is recorded: by torch.compile, torch.export or torch.jit.trace."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def is_exported() -> bool:
    """Whether that graph is for other programs, which have PyTorch's operators only."""
    # older PyTorch does not tell torch.export from torch.compile
    exporting = getattr(torch.compiler, 'is_exporting', torch.compiler.is_compiling)
    return torch.jit.is_tracing() or exporting()


def init_weights(module: nn.Module) -> None:
    """Initialises one convolution or linear layer; use with ``nn.Module.apply``."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
