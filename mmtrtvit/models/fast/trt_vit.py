"""TRT-ViT's blocks for inference: without drop path, and with additions and ReLUs in place.

Each block is made of one of :mod:`.trt_vit` in eval mode, under ``torch.no_grad``. Feature maps are
in the memory format ``channels_last``, so their tokens are a view of them.
"""

from torch import Tensor, nn

from ..trt_vit import BottleNeck, Transformer
from .folding import folded
from .layers import FastConv


class FastBottleNeck(nn.Module):
    """Computes :class:`~.trt_vit.BottleNeck`.

    Args:
        block: The block that it computes.
    """

    def __init__(self, block: BottleNeck) -> None:
        super().__init__()
        reduce, conv, expand = map(folded, block.branch)
        self.branch = nn.Sequential(FastConv(reduce, relu=True), FastConv(conv, relu=True))
        self.expand = FastConv(expand, relu=True)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C, H, W)``."""
        return self.expand(self.branch(x), x)


class FastTransformer(nn.Module):
    """Computes :class:`~.trt_vit.Transformer`.

    Args:
        block: The block that it computes; its layers are taken over.
    """

    def __init__(self, block: Transformer) -> None:
        super().__init__()
        self.attention = nn.Sequential(block.norm1, block.attention)
        self.mlp = nn.Sequential(block.norm2, block.mlp)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C, H, W)``; each position is a token."""
        batch, channels, height, width = x.shape
        x = x.permute(0, 2, 3, 1).reshape(batch, -1, channels)  # (B, H * W, C)
        x = self.attention(x).add_(x)
        x = self.mlp(x).add_(x)
        return x.reshape(batch, height, width, channels).permute(0, 3, 1, 2)
