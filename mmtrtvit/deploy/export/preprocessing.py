"""Preprocessing in the graph: what a model's data preprocessor does."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ...errors import UserError
from ...runtime.pipeline import Resize
from ...runtime.sessions.base import SIZES
from .resizing import resized


class WithPreprocessing(nn.Module):
    """A module that takes images as OpenCV reads them: ``(B, H, W, 3)[, (B, 2)] -> outputs``.

    The host resizes, and puts images of different sizes into one batch by filling up at the right
    and at the bottom with anything. The graph swaps the channels, normalises, sets what is not part
    of an image to the model's padding, and pads to the model's size divisor: the numbers that the
    network sees are exactly those of MMDetection and MMSegmentation.

    With ``resize`` the host leaves even that: ``(B, H, W, 3) -> outputs, sizes``. The images of a
    batch are of one size; ``sizes``, ``(B, 2)``, float32, says what height and width they got, and
    detections are in pixels of these.

    Args:
        module: What :func:`.support.module_to_export` returns, also in half precision.
        preprocessor: The model's ``data_preprocessor``.
        resize: How the graph resizes images; None if the host does.

    Attributes:
        output_names: Those of the module, and ``sizes`` where the graph resizes.

    Raises:
        UserError: If the preprocessor pads in a way that is not known here.
    """

    def __init__(
        self, module: nn.Module, preprocessor: nn.Module, resize: Resize | None = None
    ) -> None:
        super().__init__()
        self.model = module
        self.resize = resize
        self.output_names = module.output_names
        self.takes_sizes = 'dets' in module.output_names
        if resize:
            self.output_names = (*module.output_names, SIZES)
        self.swaps_channels = swaps_channels(preprocessor)
        self.normalises = preprocessor._enable_normalize
        if self.normalises:
            self.register_buffer('mean', preprocessor.mean.clone())  # (3, 1, 1)
            self.register_buffer('std', preprocessor.std.clone())
        self.pad_value = float(preprocessor.pad_value)
        self.divisor = _size_divisor(preprocessor)

    def forward(self, input: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        """See the module.

        Args:
            input: uint8 images, BGR, ``(B, H, W, 3)``.
            sizes: Height and width of each image, ``(B, 2)``, float32; for detectors of which the
                host resizes the images.
        """
        if self.resize:
            input, given = resized(input, self.resize)
            return (*self.predict(input, given if self.takes_sizes else None), given)
        return self.predict(input, sizes)

    def predict(self, input: Tensor, sizes: Tensor | None) -> tuple[Tensor, ...]:
        """What the module makes of images that are resized; see :meth:`forward`."""
        x = input.to(torch.float32).permute(0, 3, 1, 2)
        if self.swaps_channels:
            x = x[:, [2, 1, 0]]
        if self.normalises:
            x = (x - self.mean) / self.std
        if sizes is not None:
            x = torch.where(_inside(x, sizes), x, self.pad_value)
        if self.divisor > 1:
            height, width = x.shape[2:]
            x = pad(x, (0, -width % self.divisor, 0, -height % self.divisor), value=self.pad_value)
        return self.model(x) if sizes is None else self.model(x, sizes)


def swaps_channels(preprocessor: nn.Module) -> bool:
    """Whether a host's data preprocessor makes RGB of BGR."""
    own = 'to_rgb' if hasattr(preprocessor, 'to_rgb') else '_channel_conversion'
    return getattr(preprocessor, own)


def _inside(x: Tensor, sizes: Tensor) -> Tensor:
    """Which pixels of ``(B, C, H, W)`` belong to the images: ``(B, 1, H, W)``, bool."""
    rows = torch.arange(x.shape[2], device=x.device).to(sizes.dtype).reshape(1, 1, -1, 1)
    columns = torch.arange(x.shape[3], device=x.device).to(sizes.dtype).reshape(1, 1, 1, -1)
    height, width = sizes.reshape(-1, 2, 1, 1).split(1, dim=1)  # (B, 1, 1, 1) each
    return (rows < height) & (columns < width)


def _size_divisor(preprocessor: nn.Module) -> int:
    """What height and width are padded to a multiple of when the model is tested."""
    if not hasattr(preprocessor, 'test_cfg'):  # not MMSegmentation's
        return preprocessor.pad_size_divisor
    test_cfg = preprocessor.test_cfg or {}
    if test_cfg.get('size') is not None:
        raise UserError(
            f'data_preprocessor.test_cfg.size is {test_cfg["size"]}: padding to a fixed size is no '
            'part of the graph. Set size_divisor, or onnx_config.preprocessing=False.'
        )
    return test_cfg.get('size_divisor') or 1
