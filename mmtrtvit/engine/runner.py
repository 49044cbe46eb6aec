"""Training and evaluation of a config, for detection, segmentation and classification."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn

from ..classification.stream import seed_samples
from ..errors import UserError
from ..files import write_whole
from ..weights.checkpoints import (
    Best,
    best_checkpoint,
    checkpoint_file,
    is_sharded,
    newest_checkpoint,
    read_weights,
    require_readable,
)
from . import sharded  # noqa: F401  registers the strategy
from .checks import check_batch, check_data, check_epoch, check_numbers, check_widths
from .command_line import command_line
from .data import check_annotations
from .distributed import MeanLossHook, join_processes
from .finite import FiniteHook
from .hooks import CheckWeightsHook
from .hosts import import_host
from .interruption import InterruptionHook, use_epoch_loop
from .lock import locked
from .mistakes import explaining
from .outputs import make_dump
from .schedules import leave_out_idle
from .screen import ProgressHook, ScreenRunner, calm, level_of, screen, summary
from .trackers.tracking import check_trackers, tracked

COMMAND = 'command.txt'  # beside the log: what the training was started with


@dataclass
class TrainResult:
    """Where a training left its results; None for what it did not write.

    Attributes:
        work_dir: Its folder.
        checkpoint: The newest checkpoint.
        best: The best checkpoint, with its metric.
        log: The log file.
        curves: The numbers of the curves.
    """

    work_dir: Path
    checkpoint: Path | None
    best: Best | None
    log: Path | None
    curves: Path | None


def train(
    config: Config, resume: str | Path | None = None, *, ignore_findings: bool = False
) -> TrainResult:
    """Trains a model.

    Args:
        config: The config, as :func:`~.config.read_config` returns it.
        resume: A checkpoint to go on from, ``'auto'`` for the newest in the work dir, or None.
        ignore_findings: Log what is wrong with the annotations and train all the same. It may
            fail or learn something wrong.

    Raises:
        UserError: If the config, the data or a checkpoint cannot be used.
    """
    import_host(config.get('default_scope'))
    if not config.get('train_dataloader') or not config.get('train_cfg'):
        raise UserError(
            f'{config.filename} describes no training: it needs train_dataloader, '
            'train_cfg and optim_wrapper.'
        )
    check_numbers(
        config,
        ('train_dataloader', 'val_dataloader', 'train_cfg', 'optim_wrapper', 'default_hooks'),
    )
    trackers = check_trackers(config)
    splits = ('train', 'val') if config.get('val_dataloader') else ('train',)
    check_data(config, splits)
    ignored = _findings(config, splits)
    if ignored and not ignore_findings:
        raise UserError(f'{ignored}\n--ignore-findings trains all the same.')
    if resume is None and config.get('resume'):
        resume = config.get('load_from') or 'auto'
    if resume is not None:
        resume_from(config, resume)
    elif _is_file(config.get('load_from')):
        require_readable(config.load_from)
    use_epoch_loop(config)
    seed_samples(config)
    runner = build_runner(config)
    check_batch(config, runner.world_size)
    if config.get('load_from') and isinstance(runner.model, nn.Module):  # else it is built later
        _leave_out_pretrained(runner.model)
    if resume is not None and not config.resume:
        runner.logger.info(f'{config.work_dir} has no checkpoint: this training starts anew.')
    runner.logger.info(describe_learning_rate(config, runner.world_size))
    interruption = InterruptionHook()
    runner.register_hook(interruption)
    with explaining(config), interruption.listening(), locked(runner.work_dir), screen():
        check_epoch(runner.train_loop)
        leave_out_idle(runner)
        if ignored:
            runner.logger.warning(f'--ignore-findings: {ignored}')
        runner.logger.info(f'{summary(runner, config, training=True)}\n')
        log_dir = Path(runner.log_dir)
        if is_main_process():
            write_whole(log_dir / COMMAND, f'{command_line()}\n')
        with tracked(runner, trackers):
            runner.train()
    return TrainResult(
        work_dir=Path(runner.work_dir),
        checkpoint=newest_checkpoint(runner.work_dir),
        best=best_checkpoint(runner.work_dir),
        log=next(log_dir.glob('*.log'), None),
        curves=next(log_dir.glob('vis_data/scalars.json'), None),
    )


def _leave_out_pretrained(model: nn.Module) -> None:
    """Loads no weights (``init_cfg``) that those of a whole model will replace at once."""
    for module in model.modules():
        init = getattr(module, 'init_cfg', None)
        if isinstance(init, dict) and init.get('type') == 'Pretrained':
            module.init_cfg = None


def _findings(config: Config, splits: Sequence[str]) -> str:
    """Returns what is wrong with the annotations of splits; nothing if nothing is."""
    try:
        check_annotations(config, splits)
    except UserError as error:
        return str(error)
    return ''


def evaluate(
    config: Config,
    checkpoint: str | Path | None,
    *,
    out: str | Path | None = None,
    show_dir: str | Path | None = None,
    hooks: Sequence[Hook] = (),
) -> dict[str, float]:
    """Evaluates a checkpoint on the test data of a config.

    Args:
        config: The config, as :func:`~.config.read_config` returns it.
        checkpoint: Weights of exactly this model, or the work dir of a run, for its best ones;
            None if a hook brings a model.
        out: Pickle file to write the predictions to.
        show_dir: Folder for images of the predictions.
        hooks: Further hooks of the test, such as :class:`~.fusion.FuseHook`.

    Returns:
        The metrics by name.

    Raises:
        UserError: If the config, the data or the checkpoint cannot be used, or if the evaluator
            gives no metric.
    """
    if out is not None and Path(out).suffix not in ('.pkl', '.pickle'):
        raise UserError(f'--out {out}: predictions are pickled, so name a file that ends with .pkl')
    import_host(config.get('default_scope'))
    if not config.get('test_dataloader') or not config.get('test_evaluator'):
        raise UserError(
            f'{config.filename} describes no evaluation: it needs test_dataloader, '
            'test_cfg and test_evaluator.'
        )
    if _is_file(checkpoint):
        checkpoint = checkpoint_file(checkpoint)
        require_readable(checkpoint)
    check_numbers(config, ('test_dataloader', 'default_hooks'))
    check_data(config, ('test',))
    check_annotations(config, ('test',))
    config.load_from = None if checkpoint is None else str(checkpoint)
    config.resume = False
    config.pop('strategy', None)  # FlexibleRunner's, for a training
    if show_dir is not None:
        draw_to(config, show_dir)
    runner = build_runner(config)
    if out is not None:
        kind = 'DumpDetResults' if config.get('default_scope') == 'mmdet' else 'DumpResults'
        out = Path(out).absolute()
        out.parent.mkdir(parents=True, exist_ok=True)
        runner.test_evaluator.metrics.append(make_dump(kind, out))
    for hook in hooks:
        runner.register_hook(hook)
    with explaining(config), screen():
        runner.logger.info(f'{summary(runner, config, training=False)}\n')
        metrics = runner.test()
    if not metrics:
        raise UserError(
            f'{checkpoint or config.filename}: the evaluator gave no metric. Detectors get none if '
            'they find nothing in any image: train longer, or lower model.test_cfg.score_thr.'
        )
    return metrics


def build_runner(config: Config) -> Runner:
    """Builds the config's Runner, which checks every checkpoint that it loads."""
    join_processes(config)
    if config.get('visualizer'):  # one of its name may be there, which writes into another work dir
        config.visualizer.pop('name', None)
    with explaining(config):
        if 'runner_type' in config:
            _without_best_checkpoint(config)
            runner = RUNNERS.build(config)
            calm(runner.logger, level_of(config.get('log_level') or 'INFO'))
        else:
            runner = ScreenRunner.from_cfg(config)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    check_widths(config, getattr(model, 'backbone', None))
    if not any(isinstance(hook, CheckWeightsHook) for hook in runner.hooks):
        runner.register_hook(CheckWeightsHook())
    if not any(isinstance(hook, FiniteHook) for hook in runner.hooks):
        runner.register_hook(FiniteHook())
    runner.register_hook(ProgressHook())
    if runner.world_size > 1:
        runner.register_hook(MeanLossHook())
    return runner


def _without_best_checkpoint(config: Config) -> None:
    """Switches ``save_best`` off for MMEngine's FlexibleRunner.

    With it, the checkpoint of an epoch is written again after the validation, and then says that
    it belongs to the next one: a resumed training would leave out an epoch.
    """
    checkpoint = (config.get('default_hooks') or {}).get('checkpoint') or {}
    if checkpoint.get('save_best'):
        checkpoint['save_best'] = None


def _is_file(path: Any) -> bool:
    """Returns whether MMEngine takes ``path`` for a local file and not for an address."""
    return bool(path) and '://' not in str(path)


def resume_from(config: Config, checkpoint: str | Path) -> None:
    """Sets a config to go on from a checkpoint, with the random seed of that run.

    Args:
        config: Changed in place.
        checkpoint: A file, or ``'auto'`` for the newest in the config's work dir. Where that has
            none, the training starts anew.

    Raises:
        UserError: If the checkpoint is damaged or lacks the state of a training.
    """
    if str(checkpoint) == 'auto':
        checkpoint = newest_checkpoint(config.work_dir)
    config.resume = checkpoint is not None
    if checkpoint is None:
        return
    config.load_from = str(checkpoint)
    if not _is_file(checkpoint):
        return
    if is_sharded(checkpoint) and config.get('runner_type') == 'FlexibleRunner':
        return
    checkpoint = checkpoint_file(checkpoint)
    config.load_from = str(checkpoint)
    try:
        state = read_weights(checkpoint)
    except UserError as error:
        raise UserError(f'{error}{_way_out(Path(checkpoint))}') from error
    lacking = {'meta', 'message_hub', 'optimizer'} - set(state)
    if lacking:
        raise UserError(
            f'{checkpoint} lacks the state of a training ({", ".join(sorted(lacking))}). To start '
            f'a training from its weights: --cfg-options load_from={checkpoint}'
        )
    randomness = config.get('randomness') or {}
    if randomness.get('seed') is None:
        config.randomness = dict(randomness, seed=state['meta'].get('seed'))


def _way_out(damaged: Path) -> str:
    previous = newest_checkpoint(damaged.parent, before=damaged)
    return f'\nGo on from the one before with: --resume {previous.resolve()}' if previous else ''


def use_scaled_lr(config: Config) -> None:
    """Lets MMEngine scale the learning rate with the batch size.

    Raises:
        UserError: If the config does not say which batch size its learning rate is for.
    """
    if not (config.get('auto_scale_lr') or {}).get('base_batch_size'):
        raise UserError(
            '--auto-scale-lr needs the batch size that the learning rate is for: '
            'auto_scale_lr=dict(base_batch_size=16) in the config.'
        )
    config.auto_scale_lr.enable = True


def describe_learning_rate(config: Config, world_size: int = 1) -> str:
    """Returns a line about the batch size, the learning rate, and whether they belong together."""
    loader = config.train_dataloader
    batch = loader.get('batch_size') or (loader.get('batch_sampler') or {}).get('batch_size')
    rate = (config.optim_wrapper.get('optimizer') or {}).get('lr')
    if not batch or not rate:
        return "Batch size and learning rate are set by the config's own parts."
    scaling = config.get('auto_scale_lr') or {}
    base = scaling.get('base_batch_size')
    total = batch * world_size
    line = f'Batch size {total} ({world_size} x {batch}), learning rate {rate:g}'
    if not base or base == total:
        return f'{line}.'
    scaled = f'{rate * total / base:g}'
    if scaling.get('enable'):
        return f'{line} for a batch of {base}, scaled to {scaled}.'
    return f'{line}, meant for a batch of {base}; --auto-scale-lr would make it {scaled}.'


def draw_to(config: Config, folder: str | Path) -> None:
    """Sets a config to draw its predictions, beside the ground truth, into a folder.

    Raises:
        UserError: If the config's host has no means to draw.
    """
    if config.get('launcher', 'none') != 'none':
        raise UserError(
            '--show-dir: of several processes, MMEngine lets only the first one draw, '
            'and its images alone. Use tools/test.py without --launcher.'
        )
    folder = str(Path(folder).absolute())
    scope = config.get('default_scope')
    hooks = config.get('default_hooks') or {}
    hook = hooks.get('visualization') or {}
    if scope == 'mmdet':
        hook = dict(hook, type='DetVisualizationHook', draw=True, test_out_dir=folder)
        config.setdefault('visualizer', dict(type='DetLocalVisualizer'))
    elif scope == 'mmseg':
        hook = dict(hook, type='SegVisualizationHook', draw=True)
        config.setdefault('visualizer', dict(type='SegLocalVisualizer'))
        config.visualizer.vis_backends = [dict(type='PictureBackend', img_save_dir=folder)]
    elif scope == 'mmpretrain':
        hook = dict(hook, type='VisualizationHook', enable=True, interval=1, out_dir=folder)
        config.setdefault('visualizer', dict(type='UniversalVisualizer'))
    elif hook:
        hook = dict(hook, draw=True, test_out_dir=folder)
    else:
        raise UserError('--show-dir: the config has no default_hooks.visualization that draws.')
    config.default_hooks = dict(hooks, visualization=hook)
