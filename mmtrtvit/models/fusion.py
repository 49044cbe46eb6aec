"""A copy of a model for inference: the same outputs, sooner."""

import copy
from collections.abc import Mapping

import torch
from torch import nn

from ..errors import UserError
from .backbone import Backbone
from .efficientvit import LocalMixing, PatchMerging, Residual, WindowAttention
from .fast_efficientvit import (
    FastLocalMixing,
    FastPatchMerging,
    FastWindowAttention,
    FoldedLocalMixing,
)
from .fast_trt_vit import FastBottleNeck, FastTransformer
from .folding import fold_pairs
from .trt_vit import BottleNeck, Transformer

FAST_BLOCKS = {
    LocalMixing: FastLocalMixing,
    PatchMerging: FastPatchMerging,
    BottleNeck: FastBottleNeck,
    Transformer: FastTransformer,
}
BLOCKS_FOR_ONNX = {**FAST_BLOCKS, LocalMixing: FoldedLocalMixing}


class FusedBackbone(Backbone):
    """What :func:`fuse` makes of a backbone. It returns the same maps, and cannot be trained.

    Args:
        backbone: The backbone, in eval mode; it is used up.
        blocks: What replaces each kind of block.
    """

    def __init__(
        self, backbone: Backbone, blocks: Mapping[type[nn.Module], type[nn.Module]]
    ) -> None:
        last = backbone.out_indices[-1]
        super().__init__(
            backbone.stem,
            backbone.stages[:last + 1],
            dict(zip(backbone.out_indices, backbone.out_channels)),
            dict(zip(backbone.out_indices, backbone.out_strides)),
            backbone.out_indices)
        _replace_blocks(self, blocks)
        fold_pairs(self)
        self.eval()

    def train(self, mode: bool = True) -> 'FusedBackbone':
        if mode:
            raise UserError('a fused copy only predicts: train the model that it was made of')
        return super().train(False)

    def _load_from_state_dict(self, *args) -> None:
        super(Backbone, self)._load_from_state_dict(*args)  # its names are no one else's


@torch.no_grad()
def fuse(model: nn.Module, for_onnx: bool = False) -> nn.Module:
    """A copy of a backbone, a detector or a segmentor that computes the same, faster.

    The backbones of this package get blocks made for inference, every other BatchNorm is folded
    into the convolution in front of it where :mod:`.folding` knows the pair, and all weights are in
    the memory format ``channels_last``. Outputs are those of ``model`` in eval mode but for
    rounding.

    Args:
        model: Any model; it stays as it is. One that is fused already gives an equal copy.
        for_onnx: Make the copy that is faster in ONNX Runtime instead of the one that is faster in
            PyTorch. Both compute everywhere.

    Returns:
        The copy, in eval mode and without gradients. Its state dict has names of its own: it loads
        into a fused copy of the same model.
    """
    fused = copy.deepcopy(model).eval().requires_grad_(False)
    blocks = BLOCKS_FOR_ONNX if for_onnx else FAST_BLOCKS
    if isinstance(fused, Backbone):
        fused = _fused_backbone(fused, blocks)
    for module in list(fused.modules()):
        for name, child in module.named_children():
            if isinstance(child, Backbone):
                setattr(module, name, _fused_backbone(child, blocks))
    fold_pairs(fused)
    return fused.to(memory_format=torch.channels_last).requires_grad_(False)


def _fused_backbone(
    backbone: Backbone, blocks: Mapping[type[nn.Module], type[nn.Module]]
) -> FusedBackbone:
    return backbone if isinstance(backbone, FusedBackbone) else FusedBackbone(backbone, blocks)


def _replace_blocks(
    module: nn.Module, blocks: Mapping[type[nn.Module], type[nn.Module]]
) -> None:
    for name, child in module.named_children():
        if type(child) in blocks:
            setattr(module, name, blocks[type(child)](child))
        elif isinstance(child, Residual) and isinstance(child.branch, WindowAttention):
            setattr(module, name, FastWindowAttention(child.branch))
        else:
            _replace_blocks(child, blocks)
