"""BatchNorm that is fast for 8 or 24 channels and right for one image, in training on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

VECTOR = 16  # numbers that AVX-512 works on at once
# From this many numbers in a feature map on, the additional calls pay. To measure again with the
# training mode of benchmarks/versus_timm.py.
LARGE = 2**20


class BatchNorm2d(nn.BatchNorm2d):
    """``torch.nn.BatchNorm2d`` with the same state dict, faster in one case and right in another.

    On a CPU, PyTorch (2.4.1 and 2.14.1 were tried) misreads the gradient of a single image whose
    pixels lie as in ``channels_last`` but whose batch stride is another, as the tokens of one
    attention window give it. It is copied to plain strides first.

    PyTorch's kernel for ``channels_last`` computes the channels of a pixel in whole vectors and the
    remaining ones one by one, several times as slowly. In training on a CPU, large feature maps
    with such a remainder are viewed as rows of 16 pixels, and the statistics of a channel's 16
    places in a row are pooled.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalises ``(B, C, H, W) -> (B, C, H, W)`` and tracks the statistics in training."""
        if not (self.training and self.affine and self.track_running_stats and _has_rest(x)):
            y = super().forward(x)
            if y.requires_grad and not torch.compiler.is_compiling() and len(x) == 1:
                y.register_hook(_with_plain_strides)
            return y
        mean, var = _statistics(x.detach())
        self._track(mean, var, x.numel() // x.shape[1])
        return _Normalise.apply(x, self.weight, self.bias, mean, (var + self.eps).rsqrt())

    def _track(self, mean: Tensor, var: Tensor, count: int) -> None:
        self.num_batches_tracked.add_(1)
        factor = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, factor)
        self.running_var.lerp_(var * (count / (count - 1)), factor)


class _Normalise(torch.autograd.Function):
    """BatchNorm by the mean of the batch and the inverse of its deviation, each ``(C,)``."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, inverse)
        scale = weight * inverse
        y = torch.empty_like(x)
        torch.addcmul(_row(bias - mean * scale), _rows(x), _row(scale), out=_rows(y))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        count = x.numel() // x.shape[1]
        rows, grads = _rows(x), _rows(grad.contiguous(memory_format=torch.channels_last))
        # In eval mode, PyTorch's backward pass sums up the gradients of weight and bias alone.
        _, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grads,
            rows,
            None,
            _row(mean),
            _row(inverse**-2),
            None,
            None,
            False,
            0.0,
            (False, True, True),
        )
        grad_weight, grad_bias = _pool(grad_weight), _pool(grad_bias)
        # weight * inverse * (grad - grad_bias / count - normalised x * grad_weight / count)
        scale = weight * inverse
        slope = -scale * inverse * grad_weight / count
        offset = -scale * grad_bias / count - slope * mean
        grad_x = torch.empty_like(x)
        torch.addcmul(_row(offset), grads, _row(scale), out=_rows(grad_x)).addcmul_(
            rows, _row(slope)
        )
        return grad_x, grad_weight, grad_bias, None, None


def _with_plain_strides(grad: Tensor) -> Tensor:
    """A gradient ``(1, C, H, W)`` in a layout that PyTorch's kernels read right."""
    return grad if grad.stride(0) >= grad[0].numel() else grad.contiguous()


def _has_rest(x: Tensor) -> bool:
    channels = x.shape[1]
    return (
        channels % VECTOR != 0
        and x.numel() // channels % VECTOR == 0
        and x.numel() >= LARGE
        and x.device.type == 'cpu'
        and x.dtype == torch.float32
        and x.is_contiguous(memory_format=torch.channels_last)
        and not torch.compiler.is_compiling()
    )


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel of ``(B, C, H, W)``."""
    means, variances = (
        each.view(VECTOR, -1) for each in torch.batch_norm_update_stats(_rows(x), None, None, 0.0)
    )
    mean = means.mean(0)
    return mean, variances.mean(0) + (means - mean).square().mean(0)


def _rows(x: Tensor) -> Tensor:
    """``(B, C, H, W) -> (B * H * W / 16, 16 * C)``, a view."""
    return x.permute(0, 2, 3, 1).view(-1, VECTOR * x.shape[1])


def _row(channels: Tensor) -> Tensor:
    """``(C,) -> (16 * C,)``, one value for each place of a row."""
    return channels.repeat(VECTOR)


def _pool(row: Tensor) -> Tensor:
    """``(16 * C,) -> (C,)``, the sum over the pixels of a row."""
    return row.view(VECTOR, -1).sum(0)
