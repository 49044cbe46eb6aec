"""Classifiers of timm, with random weights, as what is timed beside our own models."""

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from ...analysis.networks import build_network
from ...engine.precision import in_precision
from ..graphs.steps import CLASS_LOGITS
from ..verify.torch_session import TorchSession

if TYPE_CHECKING:
    from collections.abc import Callable


class TimmClassifier(nn.Module):
    """A classifier from an image to the probabilities of its classes: ``(B, 3, H, W) -> (B, C)``.

    Args:
        name: As ``timm:NAME``.
        precision: As :func:`.in_precision` takes it; None for the model as timm has it.
    """

    output_names = ('output',)
    step_names = (CLASS_LOGITS,)

    def __init__(self, name: str, precision: str | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            self.backbone = build_network(name, 'cpu')[0]
        self.settings = self.backbone.pretrained_cfg
        if precision:
            self.backbone = in_precision(self, precision).backbone

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the images if it takes no others."""
        return self.settings['input_size'][1:] if self.settings.get('fixed_input_size') else None

    def forward(self, input: Tensor) -> tuple[Tensor]:
        """``(B, 3, H, W) -> ((B, C),)``."""
        return (self.backbone(input).softmax(dim=1),)


def open_timm(name: str, device: str = 'cpu', precision: str | None = None) -> TorchSession:
    """Opens a classifier of timm.

    Args:
        name: As ``timm:NAME``.
        device: Where it runs.
        precision: As for :class:`TimmClassifier`.

    Raises:
        UserError: If there is no timm or no such model.
    """
    classifier = TimmClassifier(name, precision)
    return TorchSession(classifier, device, classifier.size)


def timm_preparation(classifier: TimmClassifier) -> 'Callable[[np.ndarray], Tensor]':
    """Returns timm's own way from an image, ``(H, W, 3)``, BGR, to the input, ``(1, 3, h, w)``."""
    from PIL import Image
    from timm.data import create_transform, resolve_data_config

    transform = create_transform(**resolve_data_config(pretrained_cfg=classifier.settings))

    def prepare(pixels: np.ndarray) -> Tensor:
        return transform(Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)))[None]

    return prepare
