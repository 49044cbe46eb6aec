"""Densities of blocks: multiply-adds and parameters that a device gets through in a second.

TeraFLOPS and TeraParams as "TRT-ViT: TensorRT-oriented Vision Transformer" (arXiv 2205.09579)
defines them: FLOPs and parameters of a block over its latency. As in both papers a multiply-add
counts as one FLOP, here and in the peaks.
"""

import argparse
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from typing import Any

import torch

from ... import __version__
from ...engine.command_line import command_line
from ...environment import device_name, require_device
from ...errors import UserError
from ..cost import cost_of
from ..cuda import ColdCache
from ..estimates import Estimate, measure_until_certain, uncertainty, wall_clock
from ..timing import threads as torch_threads
from .blocks import Block, Stage, build
from .peaks import copies, matrix_products
from .runners import DTYPES, Backend, Call, Job, check_backend

CONVENTION = 'a multiply-add is one FLOP'
TERA = 1e12


@dataclass(frozen=True)
class Conditions:
    """Under what blocks are measured.

    Attributes:
        device: ``'cpu'`` or ``'cuda'``.
        threads: On the CPU; 0 for one per core.
        cuda_graphs: Whether PyTorch's kernels are recorded once and replayed.
        rounds: Least rounds.
        most_uncertainty: The uncertainty of a latency beyond which there is no number.
        seconds: Most time for the blocks of one batch size and precision.
    """

    device: str = 'cpu'
    threads: int = 0
    cuda_graphs: bool = False
    rounds: int = 15
    most_uncertainty: float = 0.1
    seconds: float = 600.0

    @classmethod
    def of(cls, args: argparse.Namespace) -> 'Conditions':
        """The conditions that the options of :func:`.options.add_conditions` ask for."""
        return cls(
            args.device,
            args.threads,
            args.cuda_graphs,
            args.rounds,
            args.max_spread,
            args.time_limit,
        )


@dataclass(frozen=True)
class Peaks:
    """What the device does at best, in a precision.

    Attributes:
        macs: Multiply-adds a second, of the best product of two matrices; None where PyTorch has
            none.
        bytes: Bytes read and written a second, of a copy.
    """

    macs: float | None
    bytes: float


@dataclass(frozen=True)
class Density:
    """A block at a stage.

    Attributes:
        block: Its name.
        backend: What ran it.
        precision: Of the computation.
        batch: Feature maps at once.
        stage: Number of the stage.
        channels: Of the input, as the next two.
        height: Rows.
        width: Columns.
        parameters: Number of them.
        macs: Multiply-adds for the batch.
        bytes: What its operators read and write for the batch if nothing is kept in caches; None
            for int8, where that depends on the backend.
        milliseconds: Median latency; None if it is not certain enough.
        quartiles: Of the latencies, milliseconds.
        bounds: Where the median lies with a probability of 95 %, milliseconds; None of too few
            rounds.
        rounds: Number of them.
        peak_macs: Multiply-adds a second of the device at best; None for int8.
        peak_bytes: Bytes a second of the device at best.
    """

    block: str
    backend: str
    precision: str
    batch: int
    stage: int
    channels: int
    height: int
    width: int
    parameters: int
    macs: int
    bytes: int | None
    milliseconds: float | None
    quartiles: tuple[float, float]
    bounds: tuple[float, float] | None
    rounds: int
    peak_macs: float | None
    peak_bytes: float

    @property
    def uncertainty(self) -> float:
        """See :func:`.estimates.uncertainty`; infinite without bounds."""
        return math.inf if self.bounds is None else uncertainty(self.bounds)

    @property
    def teraflops(self) -> float | None:
        """Compute density: 1e12 multiply-adds a second."""
        return self._per_second(self.macs)

    @property
    def teraparams(self) -> float | None:
        """Parameter density: 1e12 parameters a second, those of one block for a batch."""
        return self._per_second(self.parameters)

    @property
    def intensity(self) -> float | None:
        """Arithmetic intensity: multiply-adds per byte."""
        return None if self.bytes is None else self.macs / self.bytes

    @property
    def share_of_peak(self) -> float | None:
        """TeraFLOPS over those of the best product of matrices."""
        if self.teraflops is None or self.peak_macs is None:
            return None
        return self.teraflops * TERA / self.peak_macs

    @property
    def share_of_roof(self) -> float | None:
        """TeraFLOPS over what the roofline allows: the peak, or intensity times copying speed."""
        if self.share_of_peak is None or self.intensity is None or self.peak_macs is None:
            return None
        roof = min(1.0, self.intensity * self.peak_bytes / self.peak_macs)
        return self.share_of_peak / roof if roof else None

    def _per_second(self, count: int) -> float | None:
        return count / self.milliseconds * 1000 / TERA if self.milliseconds else None


@dataclass(frozen=True)
class Measured:
    """What was measured, and under what.

    Attributes:
        conditions: As plain data, for people.
        cells: A row for each block, stage, backend, precision and batch.
    """

    conditions: dict[str, Any]
    cells: tuple[Density, ...]


@dataclass(frozen=True)
class _Cell:
    block: Block
    stage: Stage
    backend: Backend
    batch: int
    precision: str

    @property
    def key(self) -> str:
        return f'{self.block.name} {self.stage.number} {self.backend.name}'


def measure_densities(
    blocks: Sequence[Block],
    stages: Sequence[Stage],
    names: Sequence[str],
    conditions: Conditions,
    *,
    backends: Mapping[str, Backend],
    precisions: Sequence[str] = ('fp32',),
    batches: Sequence[int] = (1,),
) -> Measured:
    """Measures blocks in turn with the peaks of the device.

    Args:
        blocks: What to measure.
        stages: At which sizes and widths.
        names: Names of backends.
        conditions: Under what.
        backends: The known ones by name.
        precisions: Of the computation.
        batches: Feature maps at once.

    Raises:
        UserError: If the device or a backend is not there, a backend does not have a precision, or
            a block cannot be built for a stage.
    """
    require_device(conditions.device)
    if conditions.cuda_graphs and conditions.device != 'cuda':
        raise UserError('--cuda-graphs needs --device cuda')
    for name, precision in itertools.product(names, precisions):
        check_backend(dict(backends), name, precision=precision, device=conditions.device)
    pairs = [(block, each) for block in blocks for each in stages if each.number in block.stages]
    for block, stage in pairs:
        build(block, stage, 'meta')
    chosen = [backends[name] for name in names]
    cells: list[Density] = []
    with torch_threads(conditions.threads or None):
        for precision, batch in itertools.product(precisions, batches):
            group = [_Cell(*pair, each, batch, precision) for each in chosen for pair in pairs]
            cells += _measure_group(group, precision, conditions)
        count = torch.get_num_threads()
    packages = ['torch', *dict.fromkeys(name for each in chosen for name in each.packages)]
    known = dict(
        device=device_name(conditions.device),
        threads=count,
        versions=' '.join([f'mmtrtvit {__version__}', *map(_versioned, packages)]),
        date=date.today().isoformat(),
        convention=CONVENTION,
        rounds=conditions.rounds,
        most_uncertainty=conditions.most_uncertainty,
        cuda_graphs=conditions.cuda_graphs,
        caches='the L2 cache is written over before each call'
        if conditions.device == 'cuda'
        else 'each call follows one of another block',
        command=command_line(folders=False),
    )
    return Measured(known, tuple(cells))


def _measure_group(group: list[_Cell], precision: str, conditions: Conditions) -> list[Density]:
    device = conditions.device
    products = matrix_products(device, DTYPES[precision]) if precision in DTYPES else {}
    copied = copies(device)
    calls: dict[str, Call] = {name: work.call for name, work in {**products, **copied}.items()}
    for cell in group:
        calls[cell.key] = _prepared(cell, conditions)
    found = measure_until_certain(
        calls,
        rounds=conditions.rounds,
        most_uncertainty=conditions.most_uncertainty,
        seconds=conditions.seconds,
        clock=ColdCache(device) if device == 'cuda' else wall_clock,
    )

    def best(work: Mapping[str, Any]) -> float:
        return max(work[name].amount / found[name].median * 1000 for name in work)

    peaks = Peaks(best(products) if products else None, best(copied))
    return [_density(cell, found[cell.key], peaks, conditions) for cell in group]


def _prepared(cell: _Cell, conditions: Conditions) -> Call:
    job = Job(
        build(cell.block, cell.stage),
        (cell.batch, *cell.block.shape(cell.stage)),
        cell.precision,
        conditions.device,
        conditions.threads,
        cell.block.fuse,
        conditions.cuda_graphs,
    )
    try:
        return cell.backend.prepare(job)
    except UserError as error:
        raise UserError(f'{cell.block.name} in {cell.backend.name}: {error}') from error


def _density(cell: _Cell, found: Estimate, peaks: Peaks, conditions: Conditions) -> Density:
    dtype = DTYPES.get(cell.precision, torch.float32)
    module = build(cell.block, cell.stage, 'meta').to(dtype)
    shape = cell.block.shape(cell.stage)
    x = torch.empty(cell.batch, *shape, device='meta', dtype=dtype)
    total = cost_of(module, lambda: module(x), [x]).total
    certain = found.uncertainty <= conditions.most_uncertainty
    return Density(
        cell.block.name,
        cell.backend.name,
        cell.precision,
        cell.batch,
        cell.stage.number,
        *shape,
        total.parameters,
        total.macs,
        total.bytes if cell.precision in DTYPES else None,
        found.median if certain else None,
        found.quartiles,
        found.bounds,
        found.rounds,
        peaks.macs,
        peaks.bytes,
    )


def _versioned(package: str) -> str:
    return f'{package} {import_module(package).__version__.partition("-")[0]}'  # not its build
