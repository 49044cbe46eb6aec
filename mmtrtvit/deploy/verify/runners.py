"""Backends behind one interface: arrays by name in, arrays by name out."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from ...errors import UserError
from ...runtime.sessions.base import Arrays
from ...runtime.sessions.onnx import OnnxSession


class Runner(Protocol):
    """What runs a graph.

    Attributes:
        name: Name of the backend.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        shapes: Shape of each input, None where any size will do.
        max_batch: Most images at once, None for any number.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: dict[str, tuple[int | None, ...]]
    max_batch: int | None

    def infer(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Runs the graph once."""


class TorchRunner:
    """Runs a module in PyTorch.

    Args:
        module: Takes the inputs in the order of their names and has ``output_names``.
        inputs: Names of the inputs.
        device: Where to run.
    """

    name = 'pytorch'
    max_batch: int | None = None

    def __init__(self, module: nn.Module, inputs: tuple[str, ...], device: str = 'cpu') -> None:
        self.module = module.eval().to(device)
        self.inputs = inputs
        self.outputs = tuple(module.output_names)
        shapes = dict(input=(None, 3, None, None), sizes=(None, 2))
        self.shapes = {name: shapes[name] for name in inputs}
        self.device = device

    def infer(self, inputs: Arrays) -> dict[str, np.ndarray]:
        check_inputs(self.inputs, inputs)
        tensors = [torch.from_numpy(inputs[name]).to(self.device) for name in self.inputs]
        with torch.no_grad():
            outputs = self.module(*tensors)
        return {name: x.cpu().numpy() for name, x in zip(self.outputs, outputs)}


class OnnxRunner:
    """Runs an ONNX file in ONNX Runtime.

    Args:
        path: The file.
        device: ``'cpu'`` or ``'cuda:0'``.
        threads: Threads of one operator; 0 for one per core.

    Raises:
        UserError: If the file cannot be read or the device is not there.
    """

    name = 'onnxruntime'
    max_batch: int | None = None

    def __init__(self, path: str | Path, device: str = 'cpu', threads: int = 0) -> None:
        self._session = OnnxSession(path, device, threads)
        self.inputs = tuple(each.name for each in self._session.inputs)
        self.shapes = {each.name: each.shape for each in self._session.inputs}
        self.outputs = tuple(each.name for each in self._session.outputs)

    def infer(self, inputs: Arrays) -> dict[str, np.ndarray]:
        check_inputs(self.inputs, inputs)
        return self._session.run({name: inputs[name] for name in self.inputs})


def check_inputs(expected: tuple[str, ...], inputs: Arrays) -> None:
    """Refuses inputs of other names."""
    if set(expected) - set(inputs):
        raise UserError(f'the graph takes {", ".join(expected)}, but got {", ".join(inputs)}.')
