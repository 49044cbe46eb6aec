"""Classifiers as modules from an image to the probabilities of its classes."""

import copy
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ...runtime import Classifier
from ..graphs.steps import CLASS_LOGITS

if TYPE_CHECKING:
    from mmpretrain.models import ImageClassifier


class ExportedClassifier(nn.Module):
    """A backbone, the mean of its last map and a linear layer: ``(B, 3, H, W) -> output``.

    Args:
        model: MMPretrain's classifier; its parts are copied.

    Attributes:
        output_names: Names of what ``forward`` returns, of all that :meth:`steps` computes.
        step_names: Names of what lies in front of the softmax.
    """

    output_names: tuple[str, ...] = Classifier.output_names
    step_names = (CLASS_LOGITS,)

    def __init__(self, model: 'ImageClassifier') -> None:
        super().__init__()
        self.backbone = copy.deepcopy(model.backbone)
        self.neck = copy.deepcopy(model.neck) if model.with_neck else nn.Identity()
        self.head = copy.deepcopy(model.head)

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        """Maps ``(B, 3, H, W)`` to probabilities ``(B, C)``."""
        values = self.steps(input)
        return tuple(values[name] for name in self.output_names)

    def steps(self, input: Tensor) -> dict[str, Tensor]:
        """The output, and the logits in front of it, by name; see :meth:`forward`."""
        logits = self.head(self.neck(self.backbone(input))).float()
        return {'output': logits.softmax(dim=1), CLASS_LOGITS: logits}
