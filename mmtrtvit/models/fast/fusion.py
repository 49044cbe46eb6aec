"""fuse: a copy of a model for inference with the same outputs, but faster."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...errors import UserError
from ...glibc import keep_freed
from ..backbone import Backbone
from ..efficientvit import LocalMixing, PatchMerging, Residual, WindowAttention
from ..layers import ConvNorm, replace_modules
from ..trt_vit import BottleNeck, Transformer
from .efficientvit import FastLocalMixing, FastPatchMerging, FastWindowAttention
from .folding import fold_pairs, folded
from .layers import FastConv, FastStem, replace_linear
from .trt_vit import FastBottleNeck, FastTransformer

FAST_BLOCKS = {
    LocalMixing: FastLocalMixing,
    PatchMerging: FastPatchMerging,
    BottleNeck: FastBottleNeck,
    Transformer: FastTransformer,
}


class FusedBackbone(Backbone):
    """The copy that :func:`fuse` makes of a backbone: the same feature maps, no training.

    Args:
        backbone: The backbone, in eval mode; it must not be used afterwards. It may be fused
            already.
    """

    def __init__(self, backbone: Backbone) -> None:
        last = backbone.out_indices[-1]
        super().__init__(
            FastStem(*backbone.stem),
            backbone.stages[: last + 1],
            channels=dict(zip(backbone.out_indices, backbone.out_channels)),
            strides=dict(zip(backbone.out_indices, backbone.out_strides)),
            out_indices=backbone.out_indices,
        )
        _replace_blocks(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Computes feature maps, as :meth:`.Backbone.forward`.

        Images may have any precision, and the feature maps have the same. The precision of the
        weights is that of the computation.
        """
        dtype = self.stem[0].weight.dtype
        if x.dtype == dtype:
            return super().forward(x)
        return tuple(each.to(x.dtype) for each in super().forward(x.to(dtype)))

    def train(self, mode: bool = True) -> 'FusedBackbone':
        """Sets eval mode.

        Raises:
            UserError: If the mode is that of training.
        """
        if mode:
            raise UserError('a fused copy only predicts: train the model that it was made of')
        return super().train(False)

    def _load_from_state_dict(self, *args) -> None:
        super(Backbone, self)._load_from_state_dict(*args)  # no file has its names


@torch.no_grad()
def fuse(model: nn.Module) -> nn.Module:
    """Returns a copy of a backbone, a detector or a segmentor that computes the same, faster.

    The backbones of this package get blocks made for inference. Every other BatchNorm is folded
    into the convolution before it where :mod:`.folding` knows the pair. All weights are in the
    memory format ``channels_last``. Outputs are those of ``model`` in eval mode except for
    rounding. From then on the process keeps freed memory for the next image (:mod:`.glibc`).

    Args:
        model: Any model; it stays as it is. One that is fused already gives an equal copy.

    Returns:
        The copy, in eval mode and without gradients. Its state dict has names of its own: it loads
        into a fused copy of the same model.
    """
    return _finished(replace_backbones(copy.deepcopy(model).eval(), FusedBackbone))


@torch.no_grad()
def fuse_block(block: nn.Module) -> nn.Module:
    """Returns a copy of one block as it is inside a fused backbone.

    Args:
        block: A block of this package's backbones, or any other module; it stays as it is.

    Returns:
        The copy, in eval mode and without gradients.
    """
    fused = nn.Sequential(copy.deepcopy(block).eval())
    _replace_blocks(fused)
    return _finished(fused)


@torch.no_grad()
def fuse_stem(stem: nn.Sequential) -> nn.Module:
    """Returns a copy of a backbone's stem as it is inside a fused backbone."""
    fused = FastStem(*copy.deepcopy(stem).eval())
    _replace_blocks(fused)
    return _finished(fused)


def replace_backbones(model: nn.Module, make: Callable[[Backbone], Backbone]) -> nn.Module:
    """Returns a model whose backbones are replaced by ``make(backbone)``.

    The model is changed in place, unless it is a backbone itself.
    """
    if isinstance(model, Backbone):
        return make(model)
    replace_modules(model, Backbone, make)
    return model


def _finished(fused: nn.Module) -> nn.Module:
    keep_freed()
    fold_pairs(fused)
    replace_linear(fused)
    return fused.to(memory_format=torch.channels_last).requires_grad_(False).eval()


def _replace_blocks(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) in FAST_BLOCKS:
            setattr(module, name, FAST_BLOCKS[type(child)](child))
        elif type(child) is ConvNorm:
            setattr(module, name, FastConv(folded(child), relu=hasattr(child, 'act')))
        elif isinstance(child, Residual) and isinstance(child.branch, WindowAttention):
            setattr(module, name, FastWindowAttention(child.branch))
        else:
            _replace_blocks(child)
