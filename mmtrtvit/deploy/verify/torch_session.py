"""A PyTorch module as a session: what an exported graph is compared with and timed beside."""

import numpy as np
import torch
from torch import nn

from ...runtime.sessions.base import Arrays, Tensor, any_shape, checked
from ..graphs.steps import CLASS_LOGITS

FLOAT, INT = np.dtype('float32'), np.dtype('int32')
TENSORS = {
    each.name: each
    for each in (
        Tensor('input', (None, 3, None, None), FLOAT),
        Tensor('sizes', (None, 2), FLOAT),
        Tensor('num_dets', (None, 1), INT),
        Tensor('dets', (None, None, 5), FLOAT),
        Tensor('labels', (None, None), INT),
        Tensor('masks', (None, None, None, None), FLOAT),
        Tensor('output', (None, None, None, None), FLOAT),
    )
}  # of the modules of mmtrtvit.deploy.export with default settings


class TorchSession:
    """Runs a module that would be exported, in PyTorch.

    Args:
        module: Made by :func:`mmtrtvit.deploy.export.support.module_to_export` with default
            settings.
        device: Where to run.
        size: Height and width of the images where the module takes no others.
    """

    backend = 'pytorch'

    def __init__(
        self, module: nn.Module, device: str = 'cpu', size: tuple[int, int] | None = None
    ) -> None:
        self.module = module.eval().to(device)
        self.device = device
        names = ('input', 'sizes') if 'dets' in module.output_names else ('input',)
        self.inputs = tuple(TENSORS[name] for name in names)
        if size:
            self.inputs = (Tensor('input', (None, 3, *size), FLOAT), *self.inputs[1:])
        self.outputs = tuple(TENSORS[name] for name in module.output_names)
        if CLASS_LOGITS in module.step_names:
            self.outputs = (Tensor('output', (None, None), FLOAT),)
        self.profiles = any_shape(self.inputs)

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Runs the module once.

        Raises:
            UserError: If an input is missing or of another type.
        """
        values = checked(self.inputs, inputs, 'the module').values()
        with torch.no_grad():
            outputs = self.module(*(torch.from_numpy(value).to(self.device) for value in values))
        return {each.name: x.cpu().numpy() for each, x in zip(self.outputs, outputs)}
