"""A model on an NVIDIA Triton server as a session: the images stay here, the graph runs there."""

from typing import Any

import numpy as np

from ...errors import UserError
from .base import Arrays, ShapeLimits, Tensor, any_shape, checked


class TritonSession:
    """A model on a Triton server, over gRPC.

    Args:
        address: Host and port of the server's gRPC service, ``'localhost:8001'``.
        name: Name of the model.
        timeout: Seconds that an answer may take.

    Raises:
        UserError: If tritonclient is not installed, or the server does not answer, or does not know
            the model.
    """

    backend = 'triton server'
    TIMEOUT = 60.0

    def __init__(self, address: str, name: str, timeout: float = TIMEOUT) -> None:
        try:
            from tritonclient import grpc, utils
        except ImportError as error:
            raise UserError(
                f'a Triton server needs its client: pip install "tritonclient[grpc]" ({error}).'
            ) from error
        self._grpc, self._utils = grpc, utils
        self._name, self._address, self._timeout = name, address, timeout
        self._client = grpc.InferenceServerClient(address)
        metadata = self._ask('get_model_metadata', name)
        config = self._ask('get_model_config', name).config
        self.inputs = tuple(self._tensor(each) for each in metadata.inputs)
        self.outputs = tuple(self._tensor(each) for each in metadata.outputs)
        self.profiles = any_shape(self.inputs)
        if batch := config.max_batch_size:
            self.profiles = tuple(
                {
                    name: ShapeLimits((1, *limits.least[1:]), (batch, *limits.most[1:]))
                    for name, limits in profile.items()
                }
                for profile in self.profiles
            )

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Lets the server run the graph once.

        Raises:
            UserError: If an input is missing or of another type, or with the server's words if it
                does not answer or refuses.
        """
        values = []
        for name, array in checked(self.inputs, inputs, f'the model {self._name}').items():
            dtype = self._utils.np_to_triton_dtype(array.dtype)
            value = self._grpc.InferInput(name, array.shape, dtype)
            value.set_data_from_numpy(array)
            values.append(value)
        answer = self._ask('infer', self._name, values)
        return {tensor.name: answer.as_numpy(tensor.name) for tensor in self.outputs}

    def _ask(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._client, method)(*arguments, client_timeout=self._timeout)
        except self._utils.InferenceServerException as error:
            raise UserError(
                f'the Triton server at {self._address} says about the model '
                f'{self._name}: {error.message()}'
            ) from error

    def _tensor(self, metadata: Any) -> Tensor:
        shape = tuple(side if side >= 0 else None for side in metadata.shape)
        return Tensor(
            metadata.name, shape, np.dtype(self._utils.triton_to_np_dtype(metadata.datatype))
        )
