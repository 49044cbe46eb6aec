"""The terminal during a run: a short summary, progress and what matters; all else is in the log.

MMEngine logs its environment, its config and its hooks, some 300 lines, before anything happens.
They go to the log file alone unless the level is DEBUG.
"""

import logging
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.utils.data import DataLoader
from tqdm import tqdm

from ..classification.stream import SeededSamples
from ..tables import format_table
from .hosts import without_lines
from .interruption import shielded

HOSTS = 'mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain'
# Warnings of other packages that a user can do nothing about, by their first words.
IDLE_WARNINGS = (
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
    'The prefix is not set in metric class',
    'init_cfg without layer key',
    'The `experiment_name` of runner',
    'Failed to search registry with scope',
)
IDLE_PYTHON_WARNINGS = (
    'faster_coco_eval is not installed',
    'torch.meshgrid: in an upcoming release',
    'pkg_resources is deprecated',
    'Detected call of `lr_scheduler.step()` before',
    'The given NumPy array is not writable',
    'Please consider using `MSDeformAttn`',
    'Warning: The bbox is out of bounds',
    'Warning: The polygon is out of bounds',
)
# What MMEngine and pycocotools print, by its first words; the metrics are in a line of their own.
IDLE_PRINTS = (
    'Loads checkpoint by local backend',
    'loading annotations into memory',
    'creating index',
    'index created',
    'Done (t=',
    'DONE (t=',
    'Loading and preparing results',
    'Running per image evaluation',
    'Evaluate annotation type',
    'Accumulating evaluation results',
    ' Average Precision',
    ' Average Recall',
)
SHOWN = 'eta', 'lr', 'loss', 'grad_norm'  # numbers of a training's line


def level_of(name: str | int) -> int:
    """Returns the number of a level of logs, such as ``'INFO'``."""
    return logging.Handler(name).level


class ScreenRunner(Runner):
    """MMEngine's runner, but of its log only what matters appears on the terminal.

    The workers of its data loaders leave SIGTERM to the training, see :mod:`.interruption`.
    """

    @staticmethod
    def build_dataloader(*args: Any, **kwargs: Any) -> DataLoader:
        """Builds a data loader whose workers do not end before the training."""
        return shielded(Runner.build_dataloader(*args, **kwargs))

    def build_logger(self, log_level: Any = 'INFO', **kwargs: Any) -> MMLogger:
        """Builds a logger that writes INFO and above to the file, whatever the terminal shows."""
        level = level_of(log_level)
        logger = super().build_logger(min(level, logging.INFO), **kwargs)
        calm(logger, level)
        return logger


def calm(logger: MMLogger, level: int) -> None:
    """Has a logger show on the terminal what :class:`ScreenFilter` lets through, in short lines."""
    for handler in logger.handlers:
        if type(handler) is logging.StreamHandler:
            handler.setLevel(max(level, handler.level))
            if level > logging.DEBUG:
                handler.addFilter(ScreenFilter())
                handler.setFormatter(ScreenFormatter())


class ScreenFilter(logging.Filter):
    """Lets through warnings that matter, progress, and what is said by others than the hosts."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether the terminal shows a record."""
        if record.levelno >= logging.WARNING:
            return not str(record.msg).startswith(IDLE_WARNINGS)
        if record.module == 'logger_hook':
            line = record.getMessage()
            return '  ' in shortened(line) and not (ProgressHook.shown and '(train)' in line)
        return not _of_a_host(record.pathname)


def _of_a_host(path: str) -> bool:
    parts = Path(path).parts
    return any(host in parts for host in HOSTS) and 'mmtrtvit' not in parts


class ScreenFormatter(logging.Formatter):
    """Writes the numbers that one looks at; the log file has the others."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line or lines of a record."""
        ProgressHook.make_room()
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            return f'{record.levelname.lower()}: {text}'
        return shortened(text) if record.module == 'logger_hook' else text


def shortened(line: str) -> str:
    """Returns a line of MMEngine's ``LoggerHook`` with fewer numbers.

    Of a training those in ``SHOWN``, of an evaluation all but the times.
    """
    head, *_ = re.split(r'(?<![\[\s])\s{2,}', line, maxsplit=1)  # but not those of [  10/1480]
    training = '(train)' in head
    pairs = re.findall(r'([\w/@.-]+): (\d+ days?, [\d:]+|\S+)', line[len(head) :])
    pairs = [
        (name.rpartition('/')[2], value)
        for name, value in pairs
        if (name in SHOWN if training else name not in ('eta', 'time', 'data_time', 'memory'))
    ]
    return '  '.join([re.sub(r'\s+', ' ', head), *(f'{name} {value}' for name, value in pairs)])


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows a bar over a training or an evaluation where the output is a terminal."""

    priority = 'VERY_LOW'
    shown: tqdm | None = None
    stream: TextIO | None = None

    def before_train(self, runner: Runner) -> None:
        """Opens the bar."""
        self.open(runner.max_iters, runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Moves the bar; every tenth iteration it tells the loss."""
        bar = ProgressHook.shown
        if bar is None:
            return
        if self.every_n_train_iters(runner, 10) and outputs:
            loss = float(torch.as_tensor(outputs.get('loss', 0.0)).detach())
            bar.set_postfix(loss=f'{loss:.4f}', refresh=False)
        bar.update()
        first = bar.n == bar.initial + 1
        bar.set_description(f'epoch {runner.epoch + 1}', refresh=first)

    def after_train(self, runner: Runner) -> None:
        """Closes the bar."""
        self.close()

    def before_test(self, runner: Runner) -> None:
        """Opens the bar."""
        self.open(len(runner.test_dataloader), unit='batch')

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Moves the bar."""
        if ProgressHook.shown is not None:
            ProgressHook.shown.update()

    def after_test(self, runner: Runner) -> None:
        """Closes the bar."""
        self.close()

    @classmethod
    def open(cls, total: int, initial: int = 0, unit: str = 'it') -> None:
        """Opens the bar of the first process, if there is a terminal.

        Args:
            total: How many iterations there are.
            initial: How many of them are done.
            unit: What they are called.
        """
        stream = cls.stream or sys.stdout
        if is_main_process() and stream.isatty():
            options = dict(unit=unit, dynamic_ncols=True, file=stream, leave=False)
            cls.shown = tqdm(total=total, initial=initial, **options)

    @classmethod
    def close(cls) -> None:
        """Closes the bar, if there is one."""
        if cls.shown is not None:
            cls.shown.close()
        cls.shown = None

    @classmethod
    def make_room(cls) -> None:
        """Clears the line of the bar for something else; it comes back with the next iteration."""
        if cls.shown is not None:
            cls.shown.clear()


@contextmanager
def screen() -> Iterator[None]:
    """Leaves out idle warnings and prints of other packages while the block runs."""
    ProgressHook.stream = sys.stdout
    with warnings.catch_warnings(), without_lines(IDLE_PRINTS):
        for text in IDLE_PYTHON_WARNINGS:
            warnings.filterwarnings('ignore', message=re.escape(text))
        try:
            yield
        finally:
            ProgressHook.close()
            ProgressHook.stream = None


@contextmanager
def quiet() -> Iterator[None]:
    """Leaves out what :func:`screen` does, and all of the log but warnings, as a trial needs it."""
    logging.disable(logging.INFO)
    try:
        with screen():
            yield
    finally:
        logging.disable(logging.NOTSET)


def summary(runner: Runner, config: Config, *, training: bool) -> str:
    """Returns what a run is about to do, as aligned rows.

    Args:
        runner: Of the run.
        config: Its config.
        training: Whether it trains; else it evaluates.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    rows: dict[str, Any] = {'model': _model(model, config)}
    if training:
        rows['training'] = _data(runner.train_dataloader)
        if runner.val_loop is not None:
            rows['validation'] = _data(runner.val_dataloader)
        rows['schedule'] = _schedule(runner, config)
        rows['starts from'] = _start(config)
    else:
        rows['data'] = _data(runner.test_dataloader)
        rows['weights'] = config.get('load_from') or 'none'
    if isinstance(model, torch.nn.Module):
        rows['device'] = _device(model, runner.world_size)
    rows['work dir'] = runner.work_dir
    rows['log'] = next(Path(runner.log_dir).glob('*.log'), runner.log_dir)
    return format_table(rows)


def _model(model: torch.nn.Module, config: Config) -> str:
    backbone = config.model.get('backbone') or {}
    kind = str(backbone.get('type', '')).rpartition('.')[2]
    arch = backbone.get('arch')
    variant = f' {arch.upper()}' if isinstance(arch, str) else ''
    suffix = f' with {kind}{variant}' if kind else ''
    if not isinstance(model, torch.nn.Module):  # FlexibleRunner builds it later
        return f'{config.model.get("type")}{suffix}'
    count = sum(parameter.numel() for parameter in model.parameters())
    name = type(model).__name__ + suffix
    return f'{name}, {count / 1e6:.1f} M parameters'


def _data(loader: Any) -> str:
    data = loader.dataset
    data = data.dataset if isinstance(data, SeededSamples) else data
    classes = (getattr(data, 'metainfo', None) or {}).get('classes') or ()
    return f'{len(data)} images, {len(classes)} classes ({type(data).__name__})'


def _schedule(runner: Runner, config: Config) -> str:
    loop = runner.train_loop
    optimizer = config.optim_wrapper.get('optimizer') or {}
    length = f'{loop.max_iters} iterations'
    if getattr(loop, 'max_epochs', 0) and hasattr(loop, 'run_epoch'):
        length = f'{loop.max_epochs} epochs of {len(loop.dataloader)} iterations'
    batch = getattr(loop.dataloader, 'batch_size', None)
    each = f', batch {batch} x {runner.world_size}' if batch else ''
    mixed = ', mixed precision' if 'Amp' in str(config.optim_wrapper.get('type')) else ''
    rate = optimizer.get('lr')
    return f'{length}{each}, {optimizer.get("type", "")} at {rate:g}{mixed}' if rate else length


def _start(config: Config) -> str:
    if config.get('resume') and config.get('load_from'):
        return f'{config.load_from}, resumed'
    if config.get('load_from'):
        return str(config.load_from)
    init = (config.model.get('backbone') or {}).get('init_cfg') or {}
    checkpoint = init.get('checkpoint') if isinstance(init, dict) else None
    return f'{checkpoint} (backbone)' if checkpoint else 'scratch'


def _device(model: torch.nn.Module, world_size: int) -> str:
    device = next(model.parameters()).device
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else 'CPU'
    return f'{world_size} x {name}' if world_size > 1 else name
