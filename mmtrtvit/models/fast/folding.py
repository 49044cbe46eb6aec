"""Folding of BatchNorm into the convolution before it, wherever the two are known to be a pair.

A convolution and a norm are a pair if they are neighbours in an ``nn.Sequential``, conv and norm of
an mmcv ``ConvModule``, or ``conv1`` and ``bn1``, ``conv2`` and ``bn2``, ... of a ResNet as
torchvision and MMDetection write it. Everything else stays as it is: other norms (GroupNorm,
LayerNorm), a convolution that several norms share (heads with a norm for each level), a norm
without statistics, and layers that may do more than their names say: subclasses and layers with
hooks.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..layers import ConvNorm

CONVOLUTIONS = 'Conv1d', 'Conv2d', 'Conv3d', 'ConvTranspose2d'  # PyTorch's, and mmcv's of that name
# The last is what MMEngine makes of a SyncBatchNorm where there is one process only.
NORMS = 'BatchNorm1d', 'BatchNorm2d', 'BatchNorm3d', 'SyncBatchNorm', '_BatchNormXd'
RESNETS = 'ResNet', 'BasicBlock', 'Bottleneck'


def fold(conv: nn.Module, norm: nn.Module) -> nn.Module:
    """Returns a convolution that computes what a convolution and its BatchNorm do, in eval mode."""
    return fuse_conv_bn_eval(conv, norm, transpose=isinstance(conv, nn.ConvTranspose2d))


def folded(block: ConvNorm) -> nn.Conv2d:
    """Returns a block's convolution and norm as one convolution, without its ReLU."""
    return fold(block.conv, block.norm)


def fold_pairs(model: nn.Module) -> None:
    """Folds all pairs of a model in eval mode, in place; each norm becomes an ``nn.Identity``."""
    uses = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    for module in list(model.modules()):
        for conv_name, norm_name in _pairs(module):
            conv, norm = getattr(module, conv_name), getattr(module, norm_name)
            if _foldable(conv, norm) and uses[id(conv)] == uses[id(norm)] == uses[id(module)]:
                setattr(module, conv_name, fold(conv, norm))
                setattr(module, norm_name, nn.Identity())
                if type(module).__name__ == 'ConvModule':
                    module.turn_on_efficient_conv_bn_eval(False)  # it would look for the norm


def _pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Yields names of two children of which the second takes only the output of the first."""
    kind = type(module)
    if kind.forward is nn.Sequential.forward:
        yield from pairwise(module._modules)
    elif kind.__name__ == 'ConvModule' and 'conv norm' in ' '.join(module.order):
        if module.with_norm:
            yield 'conv', module.norm_name
    elif kind.__name__ in RESNETS:
        for name in module._modules:
            norm_name = name.replace('conv', 'bn')
            if norm_name != name and hasattr(module, norm_name):
                yield name, norm_name


def _foldable(conv: nn.Module, norm: nn.Module) -> bool:
    if type(conv).__name__ not in CONVOLUTIONS or type(norm).__name__ not in NORMS:
        return False
    hooked = any(each._forward_hooks or each._forward_pre_hooks for each in (conv, norm))
    grouped_transpose = isinstance(conv, nn.ConvTranspose2d) and conv.groups > 1
    return not hooked and not grouped_transpose and norm.running_mean is not None
