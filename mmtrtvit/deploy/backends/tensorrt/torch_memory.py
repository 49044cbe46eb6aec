"""Memory of a GPU by PyTorch, for engines where PyTorch is: they need no cuda-python then."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from ....errors import UserError
from ....runtime.sessions.tensorrt_package import NoTensorRT


class TorchMemory:
    """A stream of a GPU and a tensor for each name, as :class:`.TensorRTSession` wants them.

    BF16, which NumPy does not have, is float32 on the host.

    Args:
        device: ``'cuda'`` or ``'cuda:0'``, ...
        stream: The stream; default: one of its own.

    Raises:
        NoTensorRT: If PyTorch finds no GPU.
        UserError: If there is no such GPU.
    """

    def __init__(self, device: str = 'cuda:0', stream: torch.cuda.Stream | None = None) -> None:
        if not torch.cuda.is_available():
            raise NoTensorRT('PyTorch finds no GPU here, and an engine runs on nothing else.')
        self.device = torch.device(device)
        if self.device.type != 'cuda' or (self.device.index or 0) >= torch.cuda.device_count():
            raise UserError(
                f'--device {device}: an engine runs on cuda:0 to '
                f'cuda:{torch.cuda.device_count() - 1}.'
            )
        self.gpu = torch.cuda.get_device_name(self.device)
        self._stream = stream or torch.cuda.Stream(self.device)
        self.stream = self._stream.cuda_stream
        self._tensors: dict[str, torch.Tensor] = {}

    def another(self) -> 'TorchMemory':
        """Memory of the same GPU with a stream of its own."""
        return type(self)(str(self.device))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Lets everything inside run on the stream, and waits for it."""
        with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
            yield
            self._stream.synchronize()

    def host_dtype(self, dtype: str) -> np.dtype:
        """NumPy's type of a tensor on the host."""
        return np.dtype('float32' if dtype == 'bfloat16' else dtype)

    def write(self, name: str, value: np.ndarray, dtype: str) -> int:
        """Copies an array to the GPU."""
        return self._keep(name, torch.from_numpy(value).to(self.device, getattr(torch, dtype)))

    def reserve(self, name: str, shape: Sequence[int], dtype: str) -> int:
        """Makes room for a tensor."""
        return self._keep(
            name, torch.empty(tuple(shape), dtype=getattr(torch, dtype), device=self.device)
        )

    def read(self, name: str) -> np.ndarray:
        """A copy of the tensor on the host."""
        tensor = self._tensors[name]
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy()

    def _keep(self, name: str, tensor: torch.Tensor) -> int:
        self._tensors[name] = tensor
        return tensor.data_ptr()
