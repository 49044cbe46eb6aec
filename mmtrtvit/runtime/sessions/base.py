"""ONNX Runtime, TensorRT or a Triton server behind one interface: arrays in, arrays out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ...errors import UserError

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph.

    Attributes:
        name: Its name.
        shape: Its sides; None where any will do.
        dtype: What it holds.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype


@dataclass(frozen=True)
class Profile:
    """Shapes of the input ``input`` that a graph takes.

    Attributes:
        least: The smallest.
        most: The largest, None where there is no limit.
    """

    least: tuple[int, ...]
    most: tuple[int | None, ...]


class Session(Protocol):
    """A loaded graph; threads may share it.

    Attributes:
        inputs: The inputs.
        outputs: The outputs.
        profiles: The shapes of images that it takes, one or several ranges.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    profiles: tuple[Profile, ...]

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Runs the graph once, on contiguous arrays of the right types."""


def require(
    tensors: Sequence[Tensor], expected: Sequence[str], what: str, source: str | Path
) -> None:
    """Refuses a graph that lacks inputs or outputs.

    Raises:
        UserError: With what it has and what it should have.
    """
    names = [tensor.name for tensor in tensors]
    if missing := [name for name in expected if name not in names]:
        raise UserError(
            f'{source} has the {what} {", ".join(names)}, but not {", ".join(missing)}. Expected a '
            'graph that tools/deploy.py wrote.'
        )


def device_number(device: str) -> int:
    """Number of a GPU written as ``cuda:0`` or ``cuda``.

    Raises:
        UserError: If it is written in another way.
    """
    kind, _, number = device.partition(':')
    if kind != 'cuda' or not (number or '0').isdecimal():
        raise UserError(
            f'the device is {device!r}, expected cuda or cuda:0, or cpu for an ONNX file.'
        )
    return int(number or 0)
