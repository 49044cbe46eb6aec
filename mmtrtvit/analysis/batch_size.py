"""The largest batch of a training that fits into the memory: ``--batch auto``."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from ..engine.checks import check_data
from ..engine.hosts import import_host
from ..engine.mistakes import explaining
from ..engine.screen import quiet
from ..errors import UserError
from .timing import peak_memory

AUTO = 'auto'
MACHINE = Path('/proc/meminfo')
GROUP = Path('/sys/fs/cgroup')  # of a container, whose limit may be below the machine's memory
MARGIN = 0.9  # of the batch that fits on a GPU: other images are larger, and memory is in pieces
SHARE = 0.6  # of the memory that is free, for a training on the CPU and its workers
MEASURED = 2, 4  # batches that are measured on a CPU
ITERATIONS = 10  # that an epoch keeps, at least
LOOKED_AT = 16  # images of which the largest is tried


@dataclass
class BatchSize:
    """What :func:`fitting_batch` found.

    Attributes:
        batch: Images in a batch of each process.
        lines: What was tried, for people to read.
    """

    batch: int = 0
    lines: list[str] = field(default_factory=list)


def use_batch(config: Config, batch: int | str) -> list[str]:
    """Sets the batch size of a training.

    Args:
        config: Changed in place.
        batch: Images of each process, or ``'auto'`` for as many as fit.

    Returns:
        What was tried, for people to read.

    Raises:
        UserError: If the config's data loader has its batches from a sampler of its own, or a
            batch cannot be found.
    """
    loader = config.get('train_dataloader') or {}
    if 'batch_size' not in loader:
        raise UserError(
            f'--batch {batch}: {config.filename} has no train_dataloader.batch_size to set.'
        )
    found = fitting_batch(config) if batch == AUTO else BatchSize(int(batch))
    loader['batch_size'] = found.batch
    return found.lines


def fitting_batch(config: Config) -> BatchSize:
    """Finds the largest batch that a step of the training fits into the memory with.

    On a GPU by trying, see :func:`largest_batch`; on a CPU by measuring two batches, see
    :func:`extrapolated_batch`. The largest of a few images of the training is taken as often as a
    batch has images. At least ten iterations of an epoch remain.

    Args:
        config: The config, as :func:`~.config.read_config` returns it; stays as it is.

    Raises:
        UserError: If the config or its data cannot be used, not even one image fits, or the device
            is another one.
    """
    device = get_device()
    if config.get('launcher', 'none') != 'none':
        raise UserError(
            '--batch auto tries in one process. Call it without --launcher, and give the number '
            'that it prints.'
        )
    if device not in ('cuda', 'cpu') or (device == 'cpu' and not MACHINE.exists()):
        raise UserError(
            f'--batch auto is for GPUs of NVIDIA and, under Linux, for CPUs; this device is '
            f'{device}. Give a number.'
        )
    import_host(config.get('default_scope'))
    check_data(config, ('train',))
    with (
        explaining(config),
        quiet(),
        DefaultScope.overwrite_default_scope(config.get('default_scope')),
    ):
        step, images = _trial(config, device)
        most = max(images // ITERATIONS, 1)
        search = largest_batch if device == 'cuda' else extrapolated_batch
        found = search(step, most)
    if not found.batch:
        raise UserError(
            '--batch auto: not even one image fits into the memory. Train with smaller images, '
            'model.backbone.with_cp=True or --amp.'
        )
    if found.batch == most:
        found.lines.append(
            f'more would leave less than {ITERATIONS} iterations of an epoch of {images} images'
        )
    found.lines.append(f'batch size {found.batch}, in train_dataloader.batch_size')
    return found


def _trial(config: Config, device: str) -> tuple[Callable[[int], None], int]:
    """Returns a function that trains for a step with a batch, and how many images there are."""
    settings = dict(copy.deepcopy(config.train_dataloader), num_workers=0)
    settings.pop('persistent_workers', None)
    loader = Runner.build_dataloader(settings, seed=0)
    data = loader.dataset
    samples = [data[index] for index in range(min(LOOKED_AT, len(data)))]
    largest = max(samples, key=lambda sample: sample['inputs'].numel())
    model: Any = MODELS.build(config.model).to(device).train()
    wrapper = dict(copy.deepcopy(config.optim_wrapper))
    wrapper.pop('accumulative_counts', None)
    optimizer = build_optim_wrapper(model, wrapper)

    def step(batch: int) -> None:
        values = loader.collate_fn([copy.deepcopy(largest) for _ in range(batch)])
        try:
            model.train_step(values, optimizer)
        finally:
            optimizer.zero_grad()

    return step, len(data)


def largest_batch(step: Callable[[int], None], most: int) -> BatchSize:
    """Finds the largest batch by trying: it doubles until the memory is full, then bisects.

    Args:
        step: Trains with a batch of so many images; raises PyTorch's OutOfMemoryError where they
            do not fit.
        most: The largest batch to try.

    Returns:
        Nine tenths of what fits, but one image at least; 0 if not even that fits.
    """
    found = BatchSize()

    def fits(batch: int) -> bool:
        fitted = _survives(step, batch)
        found.lines.append(f'batch {batch} {"fits" if fitted else "does not fit"}')
        return fitted

    low, high = 0, min(2, most)
    while fits(high):
        low, high = high, min(2 * high, most)
        if low == most:
            found.batch = most
            return found
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    found.batch = max(int(MARGIN * low), min(low, 1))
    if low:
        found.lines.append(f'{MARGIN:.0%} of {low}, as other images may be larger')
    return found


def _survives(step: Callable[[int], None], batch: int) -> bool:
    try:
        for _ in range(2):  # the first one makes the optimiser's state
            step(batch)
        return True
    except torch.cuda.OutOfMemoryError:
        return False
    finally:
        torch.cuda.empty_cache()  # does nothing without a GPU


def extrapolated_batch(step: Callable[[int], None], most: int) -> BatchSize:
    """Finds the largest batch from the memory of two: what an image takes, and what remains.

    Args:
        step: Trains with a batch of so many images.
        most: The largest batch.

    Returns:
        A batch that takes three fifths of the memory that is free; 0 if none does.
    """
    step(min(MEASURED))  # makes the optimiser's state
    room = int(SHARE * free_memory())
    found = BatchSize()
    peaks = []
    for batch in MEASURED:
        peaks.append(peak_memory(partial(step, batch)))
        found.lines.append(f'batch {batch} takes {peaks[-1] / 2**30:.2f} GB')
    each = max((peaks[1] - peaks[0]) / (MEASURED[1] - MEASURED[0]), 1.0)
    fitting = int((room - peaks[0]) / each) + MEASURED[0]
    found.batch = min(max(fitting, 0), most)
    found.lines.append(
        f'an image takes {each / 2**30:.3f} GB; {fitting} fit into {room / 2**30:.1f} GB, which '
        f'leaves {1 - SHARE:.0%} of the free memory'
    )
    return found


def free_memory() -> int:
    """Returns the bytes that a process can have more, without swapping, as Linux tells."""
    lines = dict(line.split(':') for line in MACHINE.read_text().splitlines())
    free = int(lines['MemAvailable'].split()[0]) * 1024
    try:
        limit, used = ((GROUP / f'memory.{name}').read_text() for name in ('max', 'current'))
        kinds = dict(line.split() for line in (GROUP / 'memory.stat').read_text().splitlines())
        return min(free, int(limit) - int(used) + int(kinds['inactive_file']))
    except (OSError, ValueError, KeyError):  # no group, or one without a limit, 'max'
        return free
