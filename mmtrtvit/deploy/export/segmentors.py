"""Segmentors as modules from an image to the logits of its classes or to its label map.

The host enlarges the logits to the size of the image, as MMSegmentation does; or the graph does
it and takes the best class, for hosts that want the label map of the network's input.
"""

import copy

from mmseg.models.segmentors import EncoderDecoder
from mmseg.models.utils import Upsample
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ...runtime import Segmentor
from ..graphs.steps import LOGITS
from .ops import AdaptiveAveragePool


class ExportedSegmentor(nn.Module):
    """UPerNet and Semantic FPN: ``(B, 3, H, W) -> output``.

    Args:
        model: MMSegmentation's segmentor; its parts are copied.
        with_argmax: Return the label map of the input, ``(B, H, W)``, int32, instead of the logits
            at the head's stride, ``(B, C, H / s, W / s)``, float32.

    Attributes:
        output_names: Names of what ``forward`` returns, of all that :meth:`steps` computes.
        step_names: Names of what lies in front of the best class.
    """

    output_names: tuple[str, ...] = Segmentor.output_names

    def __init__(self, model: EncoderDecoder, with_argmax: bool = False) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(model.backbone)
        self.neck = copy.deepcopy(model.neck) if model.with_neck else nn.Identity()
        self.decode_head = _for_any_size(copy.deepcopy(model.decode_head))
        self.align_corners = model.align_corners
        self.with_argmax = with_argmax
        self.step_names = (LOGITS,) if with_argmax else ()

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        """Maps ``(B, 3, H, W)`` to logits ``(B, C, H / s, W / s)`` or labels ``(B, H, W)``."""
        values = self.steps(input)
        return tuple(values[name] for name in self.output_names)

    def steps(self, input: Tensor) -> dict[str, Tensor]:
        """The output, and the logits behind a label map, by name; see :meth:`forward`."""
        logits = self.decode_head(self.neck(self.backbone(input))).float()
        if not self.with_argmax:
            return dict(output=logits)
        whole = interpolate(
            logits, input.shape[2:], mode='bilinear', align_corners=self.align_corners
        )
        return {'output': whole.argmax(dim=1).int(), LOGITS: logits}


def _for_any_size(head: nn.Module) -> nn.Module:
    """Replaces, in place, the layers of a head that would freeze the size of a traced image."""
    for module in list(head.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                setattr(module, name, AdaptiveAveragePool(child.output_size))
            elif isinstance(child, Upsample) and child.scale_factor:
                setattr(
                    module,
                    name,
                    nn.Upsample(None, child.scale_factor, child.mode, child.align_corners),
                )
    return head
