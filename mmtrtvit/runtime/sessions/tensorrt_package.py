"""TensorRT where it is installed, and a clear word where it is not."""

import os
from types import ModuleType
from typing import Any

from ...errors import UserError

# Allows code for the host in every engine that is opened.
HOST_CODE = 'MMTRTVIT_ENGINE_HOST_CODE'


class NoTensorRT(UserError):
    """There is no TensorRT or no GPU here: the message is a sentence that says which."""


def import_tensorrt() -> ModuleType:
    """Imports TensorRT's Python package.

    Raises:
        NoTensorRT: If it is not installed, or its library is not.
    """
    try:
        import tensorrt
    except ImportError as error:
        raise NoTensorRT(f'TensorRT is not installed here ({error}).') from error
    except OSError as error:  # of the library's loader
        raise NoTensorRT(f'TensorRT cannot be loaded here ({error}).') from error
    return tensorrt


def create(make: Any, *args: Any) -> Any:
    """Makes TensorRT's builder or runtime.

    Raises:
        NoTensorRT: If there is no GPU that it can use.
    """
    try:
        made = make(*args)
    except TypeError as error:  # "factory function returned nullptr"
        raise NoTensorRT(
            f'TensorRT finds no GPU here that it can use (its {make.__name__} could not be '
            f'created; nvidia-smi shows the GPUs and the driver).'
        ) from error
    return made


def host_code_allowed() -> bool:
    """Whether the user lets engines hold code for the host, as version-compatible ones do."""
    return os.environ.get(HOST_CODE) == '1'


def make_logger(trt: Any, verbose: bool = False) -> Any:
    """Makes a logger that keeps errors and warnings.

    Args:
        trt: The package.
        verbose: Whether to print all that TensorRT says.

    Returns:
        A ``tensorrt.ILogger`` with the lists ``errors`` and ``warnings``.
    """
    severity = trt.ILogger.Severity

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.warnings: list[str] = []

        def log(self, level: Any, message: str) -> None:
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                self.errors.append(message)
            elif level == severity.WARNING:
                self.warnings.append(message)
            if verbose:
                print(f'TensorRT: {message}')

    return Logger()
