"""The protocol of all that runs a graph: arrays by name in, arrays by name out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ...errors import UserError

Arrays = Mapping[str, np.ndarray]
Profiles = tuple[Mapping[str, 'ShapeLimits'], ...]


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph.

    Attributes:
        name: Its name.
        shape: Its sides; None where any will do.
        dtype: What it holds; object where NumPy has no such type.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype


@dataclass(frozen=True)
class ShapeLimits:
    """The shapes of an input that a graph takes.

    Attributes:
        least: The smallest.
        most: The largest, None where there is no limit.
    """

    least: tuple[int, ...]
    most: tuple[int | None, ...]

    def __contains__(self, shape: Sequence[int]) -> bool:
        return len(shape) == len(self.least) and all(
            least <= side and (most is None or side <= most)
            for least, side, most in zip(self.least, shape, self.most)
        )


class TimedOut(UserError):
    """A run of a graph did not end in the time that it was given."""


class NoMemory(UserError):
    """A graph asks for more memory than there is."""


class Session(Protocol):
    """A loaded graph; threads may share it.

    Attributes:
        backend: Name of what runs it.
        inputs: The inputs.
        outputs: The outputs.
        profiles: The shapes that it takes, for each input by name: one set of limits or several, of
            which one has to hold for all inputs of a run.
    """

    backend: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    profiles: Profiles

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Runs the graph once.

        Args:
            inputs: An array for each input; others are ignored.

        Raises:
            TimedOut: If it takes longer than it may.
            NoMemory: If it asks for more memory than there is.
            UserError: If an input is missing, or of another type or shape than the graph takes.
        """


def any_shape(tensors: Sequence[Tensor]) -> Profiles:
    """The profile of a graph that takes any size where its inputs have no fixed one."""
    return (
        {
            each.name: ShapeLimits(tuple(side or 1 for side in each.shape), each.shape)
            for each in tensors
        },
    )


SIZES = 'sizes'  # heights and widths of images without padding, (B, 2), float32


def resizes(session: Session) -> bool:
    """Whether a graph resizes images itself: it returns to what sizes."""
    return any(each.name == SIZES for each in session.outputs)


def image_input(session: Session) -> Tensor:
    """The input that takes images.

    Raises:
        StopIteration: If the graph has no input of that name, see :func:`require`.
    """
    return next(each for each in session.inputs if each.name == 'input')


def max_batch(session: Session) -> int | None:
    """Most images that a session takes at once, None for any number."""
    limits = [profile['input'].most[0] for profile in session.profiles]
    sizes = [most for most in limits if most is not None]
    return max(sizes) if len(sizes) == len(limits) else None


def checked(tensors: Sequence[Tensor], inputs: Arrays, source: str | Path) -> dict[str, np.ndarray]:
    """Picks the inputs of a graph, as contiguous arrays.

    Args:
        tensors: The inputs that it takes.
        inputs: Arrays by name.
        source: The graph, for messages.

    Raises:
        UserError: If one is missing or of another type.
    """
    if any(each.name not in inputs for each in tensors):
        raise UserError(
            f'{source} takes {", ".join(each.name for each in tensors)}, but got '
            f'{", ".join(inputs)}.'
        )
    for each in tensors:
        if each.dtype not in (inputs[each.name].dtype, object):
            raise UserError(
                f'{each.name} is of {inputs[each.name].dtype}, but {source} takes {each.dtype}.'
            )
    return {each.name: np.asarray(inputs[each.name], order='C') for each in tensors}


def require(
    tensors: Sequence[Tensor], expected: Sequence[str], *, what: str, source: str | Path
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
