"""What a deployment asks of a backend, and what holds for one that does nothing special.

A new backend is a room beside this file. Its ``backend.py`` has a subclass of :class:`Backend` and
one object of it, ``BACKEND``; :mod:`.registry` knows the room by its name, and
:mod:`mmtrtvit.runtime.sessions.opening` the session by the suffix of the file.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UserError
from ...runtime.sessions.base import Session
from ...runtime.sessions.opening import open_session
from ..graphs.layer_times import LayerTime
from ..settings import DeploySettings

if TYPE_CHECKING:  # engines are built where there may be no PyTorch
    from torch import nn

    from ..graphs.quantize import Quantizer

Batches = Iterable[Mapping[str, np.ndarray]]


class Unavailable(UserError):
    """A backend cannot make its file here; the message ends with how to make it elsewhere."""


@dataclass(frozen=True)
class Refusal:
    """Why a backend would not take a graph.

    Attributes:
        by: The backend and its release.
        reasons: A sentence each.
    """

    by: str
    reasons: Sequence[str]


class Backend:
    """A runtime that takes the ONNX file as it is; others override what they do otherwise.

    Attributes:
        name: What deploy configs and :attr:`Session.backend` call it.
        title: What messages call it.
        precisions: Those that it computes in, of :data:`~..settings.PRECISIONS`.
        rests: Half precisions that it may compute what an INT8 file has in single precision in.
        options: Keys of ``backend_config.common_config`` that mean something to it alone.
        suffix: That of the file which it makes of the ONNX file; none if it runs that one itself.
        companions: Suffixes of what lies beside that file.
        needs: What it needs, for lists of configs.
        product: What that file is called.
        packages: Those whose versions ``detail.json`` tells.
        reads_onnx: Whether a backend with a suffix opens ONNX files as well.
        float_weights: Precisions of eight bits whose stored weights it wants in single precision.
        shapes_by_values: Whether shapes that depend on values cost it nothing.
    """

    name: str
    title: str
    precisions: tuple[str, ...]
    rests: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    suffix: str = ''
    companions: tuple[str, ...] = ()
    needs: str = 'a CPU'
    product: str = 'file'
    packages: tuple[str, ...] = ()
    reads_onnx: bool = False
    float_weights: tuple[str, ...] = ()
    shapes_by_values: bool = False

    def check(self, settings: DeploySettings) -> None:
        """Refuses settings as they are read.

        Raises:
            UserError: If the backend cannot do what they say.
        """

    def check_here(self, settings: DeploySettings) -> None:
        """Refuses settings before anything is computed.

        Raises:
            UserError: If the backend cannot do what they say on this machine.
        """

    def meant_for(self, settings: DeploySettings) -> str:
        """Returns for which other machines the file is, such as 'ARM'; '' if for this one, too."""
        return ''

    def onnx_precision(self, precision: str) -> str:
        """The precision of the ONNX file: another one where the backend itself converts it."""
        return precision

    def prepare(self, fused: 'nn.Module', settings: DeploySettings) -> 'nn.Module':
        """Gives a fused copy the form that the backend computes fastest; it may be changed."""
        return fused

    def refusal(self, path: Path, settings: DeploySettings) -> Refusal | None:
        """Returns why the backend would not take an ONNX file, None where it takes it."""
        return None

    def quantizer(
        self,
        source: Path,
        *,
        batches: Batches,
        settings: DeploySettings,
        timeout: float | None = None,
        called: Path | None = None,
    ) -> 'Quantizer':
        """Returns what writes an ONNX file of single precision as the backend takes eight bits.

        Args:
            source: The file.
            batches: Inputs that show the ranges.
            settings: With a precision of :data:`~..graphs.formats.FORMATS`.
            timeout: Most seconds of a run of a batch; None for no limit.
            called: What a message about the time calls the file; default: the source.

        Raises:
            UserError: See :class:`~..graphs.quantize.Quantizer`.
        """
        from ..graphs.formats import FORMATS
        from ..graphs.quantize import Quantizer

        return Quantizer(
            source,
            batches=batches,
            calibration=settings.calibration,
            kind=FORMATS[settings.precision],
            float_weights=settings.precision in self.float_weights,
            timeout=timeout,
            called=called,
        )

    def build(
        self,
        source: Path,
        target: Path,
        *,
        settings: DeploySettings,
        batches: Callable[[], Batches],
        progress: Callable[[str], None],
    ) -> list[str]:
        """Writes the backend's own file, where it has a suffix, and returns what is to be noted.

        Args:
            source: The ONNX file.
            target: The file to write.
            settings: What to make.
            batches: Gives inputs that show ranges, for backends that quantize themselves.
            progress: Gets the name of each phase.

        Raises:
            Unavailable: If it cannot be made on this machine.
            UserError: If it cannot be made of this file.
        """
        raise NotImplementedError(f'{self.name} makes no file of its own')

    def open(
        self,
        path: Path,
        device: str | None = None,
        threads: int = 0,
        timeout: float | None = None,
        *,
        trusted: bool = False,
    ) -> Session:
        """Opens a file of the backend.

        Args:
            path: The file.
            device: Where it runs; None for the default.
            threads: Threads of one operator on the CPU; 0 for one per core.
            timeout: Most seconds of a run; None for no limit.
            trusted: Whether the file was made here, so that it may hold code for the host.

        Raises:
            UserError: If the file or the device cannot be used.
        """
        return open_session(path, device, threads, timeout)

    def layer_times(
        self,
        session: Session,
        path: Path,
        inputs: Mapping[str, np.ndarray],
        *,
        rounds: int,
        warmup: int,
        threads: int = 0,
        timeout: float | None = None,
    ) -> list[LayerTime]:
        """Times of the layers of a file on inputs, none where the backend does not tell them.

        Args:
            session: The opened file.
            path: The file.
            inputs: Arrays by name.
            rounds: Runs that count.
            warmup: Runs before them.
            threads: As for :meth:`open`.
            timeout: As for :meth:`open`.
        """
        return []
