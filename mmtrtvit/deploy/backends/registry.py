"""Registry of backends: rooms of this folder by name, each loaded when it is asked for."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from ...runtime.sessions.opening import runner_of
from .backend import Backend

BACKENDS = 'onnxruntime', 'tensorrt', 'openvino'


def find_backend(name: str) -> Backend:
    """Returns the backend of a name in :data:`BACKENDS`."""
    return import_module(f'.{name}.backend', __package__).BACKEND


def all_backends() -> Iterator[Backend]:
    """Yields every backend."""
    return map(find_backend, BACKENDS)


def backend_of(path: str | Path, device: str | None = None) -> Backend:
    """Returns the backend that runs a file on a device.

    Raises:
        UserError: If none does.
    """
    return find_backend(runner_of(Path(path), device))
