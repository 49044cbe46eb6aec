"""Serving: how a Triton server runs a model, and the words for it in ``config.pbtxt``."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import UserError
from ..runtime.sessions.base import Tensor

WARM_UP = 'image_sizes'  # file with the input sizes of a warm-up


@dataclass(frozen=True)
class Serving:
    """How a server runs a model.

    Attributes:
        max_batch_size: Most images at once.
        instances: Copies of the model on each GPU, or on the CPU.
        gpus: Numbers of the GPUs; empty for the CPU.
        queue_delay: Microseconds that an image waits for others.
        version: Number of the version to write.
        versions: Which versions the server offers: ``'all'``, ``'latest:2'`` or ``'1,3'``; None
            for the latest one.
        warm_up: Height and width of an image that each copy runs before it takes requests.
        profiles: Numbers of the engine's profiles to use; empty for the first.
        response_cache: Whether the server answers the same request from its cache; it has to be
            started with ``--cache-config``.
        resources: How many of each resource a run of a copy takes, by name; it has to be started
            with ``--rate-limit execution_count``.
        priority: Whose turn it is where resources are scarce: 1 is first, 2 waits twice as often.
    """

    max_batch_size: int = 8
    instances: int = 1
    gpus: tuple[int, ...] = ()
    queue_delay: int = 2000
    version: int = 1
    versions: str | None = None
    warm_up: tuple[int, int] | None = None
    profiles: tuple[int, ...] = ()
    response_cache: bool = False
    resources: dict[str, int] = field(default_factory=dict)
    priority: int | None = None


def instance_group(serving: Serving) -> str:
    """Copies, where they run, and what they take."""
    parts = [f'count: {serving.instances}']
    if serving.gpus:
        parts += ['kind: KIND_GPU', f'gpus: [ {_list(serving.gpus)} ]']
    else:
        parts.append('kind: KIND_CPU')
    if serving.profiles:
        names = (f'"{number}"' for number in serving.profiles)
        parts.append(f'profile: [ {", ".join(names)} ]')
    if serving.resources or serving.priority:
        limits = [
            f'resources {{ name: "{name}" count: {count} }}'
            for name, count in serving.resources.items()
        ]
        limits += [f'priority: {serving.priority}'] if serving.priority else []
        parts.append(f'rate_limiter {{ {" ".join(limits)} }}')
    return f'instance_group {{ {" ".join(parts)} }}\n'


def version_policy(serving: Serving) -> str:
    """Which versions are offered; nothing for Triton's default.

    Raises:
        UserError: If it is written in another way than :attr:`Serving.versions` says.
    """
    text = serving.versions
    if text is None:
        return ''
    if text == 'all':
        return 'version_policy { all { } }\n'
    kind, _, number = text.rpartition(':')
    if kind == 'latest' and number.isdecimal() and int(number):
        return f'version_policy {{ latest {{ num_versions: {number} }} }}\n'
    numbers = text.split(',')
    if not all(each.isdecimal() and int(each) for each in numbers):
        raise UserError(f'versions is {text!r}, expected all, latest:2, or numbers as in 1,3.')
    return f'version_policy {{ specific {{ versions: [ {_list(numbers)} ] }} }}\n'


def response_cache(serving: Serving) -> str:
    """Whether answers are kept."""
    return 'response_cache { enable: true }\n' if serving.response_cache else ''


def warm_up(serving: Serving, inputs: Sequence[Tensor], batch: int) -> tuple[str, dict[str, bytes]]:
    """The image that each copy runs first, and the files that it needs in ``warmup/``.

    Raises:
        UserError: If the graph is of another size.
    """
    if serving.warm_up is None:
        return '', {}
    text, files = '', {}
    for tensor in inputs:
        sides = list(tensor.shape[1 if batch else 0 :])
        source = 'random_data: true'
        if tensor.name == 'sizes':
            value = np.array([serving.warm_up], np.float32)
            files[WARM_UP] = np.repeat(value, 1 if batch else tensor.shape[0], axis=0).tobytes()
            source = f'input_data_file: "{WARM_UP}"'
        else:
            sides = _of_size(sides, tensor, serving.warm_up)
        kind = {'float32': 'TYPE_FP32', 'float16': 'TYPE_FP16', 'uint8': 'TYPE_UINT8'}
        text += (
            f' inputs {{ key: "{tensor.name}" value {{ data_type: {kind[tensor.dtype.name]}'
            f' dims: [ {_list(sides)} ] {source} }} }}'
        )
    return f'model_warmup {{ name: "one image" batch_size: 1{text} }}\n', files


def _of_size(sides: list, tensor: Tensor, size: tuple[int, int]) -> list[int]:
    """Sides of an input with the height and width where they are open."""
    first = -3 if tensor.dtype == np.uint8 else -2
    for index, side in zip((first, first + 1), size):
        if sides[index] not in (None, side):
            raise UserError(
                f'warm_up is {size[0]} x {size[1]}, but the graph takes {sides[first]} x '
                f'{sides[first + 1]} pixels alone.'
            )
        sides[index] = side
    return sides


def _list(values: Sequence) -> str:
    return ', '.join(map(str, values))
