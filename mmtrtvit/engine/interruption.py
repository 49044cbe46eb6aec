"""Interruption of a training by SIGTERM, as Slurm's preemption and Docker's stop send it.

The current iteration is finished and a checkpoint is written, also inside an epoch. It holds the
number of batches of the epoch that were seen and the states of the random numbers, so the training
continues from there as if it had not been interrupted.
"""

import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, all_reduce, get_rank, is_distributed
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, LOOPS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from ..errors import UserError
from ..signals import Terminated, leave_sigterm_to_parent

INSIDE_EPOCH = 'inside_epoch'  # key of a checkpoint


@HOOKS.register_module()
class InterruptionHook(Hook):
    """Ends a training in order at SIGTERM, and goes on from a checkpoint inside an epoch."""

    priority = 'LOWEST'  # after all that belongs to an iteration

    def __init__(self) -> None:
        self._told_to_end = False
        self._extra: dict[str, Any] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listens to SIGTERM while the block runs, which only a main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def remember(*_: Any) -> None:
            self._told_to_end = True

        before = signal.signal(signal.SIGTERM, remember)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Ends the training after an update, if a process was told to."""
        wrapper = runner.optim_wrapper
        accumulating = isinstance(wrapper, OptimWrapper) and not wrapper.should_update()
        if not accumulating and self._ends(runner):
            self._end(runner, runner.iter + 1, batch_idx + 1)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Ends a validation between epochs or iterations."""
        if self._ends(runner):
            self._end(runner, runner.iter)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Tells the loop how far into its epoch the checkpoint is."""
        inside = checkpoint.get(INSIDE_EPOCH)
        if inside and runner.cfg.get('resume') and isinstance(runner.train_loop, EpochLoop):
            runner.train_loop.go_on_from(inside)

    def _ends(self, runner: Runner) -> bool:
        if not is_distributed():
            return self._told_to_end
        told = torch.tensor(int(self._told_to_end))
        all_reduce(told, 'max')
        return bool(told)

    def _end(self, runner: Runner, iteration: int, batches: int = 0) -> None:
        """Writes a checkpoint and ends the training.

        Args:
            runner: Of the training.
            iteration: How many iterations are done.
            batches: How many batches of an epoch are done; 0 between epochs.
        """
        loop = runner.train_loop
        if isinstance(loop, EpochBasedTrainLoop) and batches:
            if batches == len(loop.dataloader):
                return  # the epoch is done: its own checkpoint comes first
            if not isinstance(loop, EpochLoop):
                raise Terminated  # it can go on between epochs alone
            states = random_states()
            self._extra[INSIDE_EPOCH] = dict(
                batches=batches,
                of=len(loop.dataloader),
                random_states=all_gather_object(states) if is_distributed() else [states],
            )
        runner.save_checkpoint(
            runner.work_dir,
            f'iter_{iteration}.pth',
            meta=dict(epoch=runner.epoch, iter=iteration),
            by_epoch=False,
            backend_args=dict(backend='atomic'),
        )
        raise Terminated

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds where in its epoch a training was told to end."""
        checkpoint.update(self._extra)


@LOOPS.register_module()
class EpochLoop(EpochBasedTrainLoop):
    """MMEngine's loop over epochs, which can also begin inside one.

    The batches that were seen are loaded again and dropped, so that workers draw the same random
    numbers as before; nothing is computed for them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._inside: dict[str, Any] = {}

    @property
    def first_iter(self) -> int:
        """The iteration with which the epoch at hand began."""
        return self.iter - self._inside.get('batches', 0)

    def go_on_from(self, inside: dict[str, Any]) -> None:
        """Begins the next epoch after the batches that a checkpoint has seen of it.

        Raises:
            UserError: If the epoch has another number of batches, or the training had another
                number of processes.
        """
        processes = len(inside['random_states'])
        world_size = self.runner.world_size
        if inside['of'] != len(self.dataloader) or processes != world_size:
            raise UserError(
                f'the checkpoint was written after {inside["batches"]} of {inside["of"]} batches '
                f'of an epoch by {processes} process(es); this training has {len(self.dataloader)} '
                f'batches and {world_size} process(es). Go on with the same data, batch size and '
                'number of processes, or from a checkpoint at the end of an epoch.'
            )
        self._inside = inside

    def run_epoch(self) -> None:
        """Runs one epoch, or what is left of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        seen = self._inside.get('batches', 0)
        for index, batch in enumerate(self.dataloader):
            if index >= seen:
                self.run_iter(index, batch)
            elif index == seen - 1:
                set_random_states(self._inside['random_states'][get_rank()])
                self._inside = {}
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


def shielded(loader: DataLoader) -> DataLoader:
    """Returns a data loader whose workers no SIGTERM ends that is meant for the whole program."""
    if loader.num_workers:
        loader.worker_init_fn = partial(_start_worker, then=loader.worker_init_fn)
    return loader


def _start_worker(worker: int, then: Callable[[int], object] | None) -> None:
    leave_sigterm_to_parent()
    if then is not None:
        then(worker)


def use_epoch_loop(config: Config) -> None:
    """Lets a training by epochs take :class:`EpochLoop`, unless it has a loop of its own."""
    settings = config.get('train_cfg') or {}
    if 'runner_type' in config:  # FlexibleRunner has its own way with loops
        return
    if settings.get('type') == 'EpochBasedTrainLoop' or settings.get('by_epoch'):
        settings.pop('by_epoch', None)
        settings['type'] = 'EpochLoop'


def random_states() -> dict[str, Any]:
    """Returns the states of all random numbers that a process draws, in plain types and tensors."""
    state: Any = np.random.get_state()  # of two kinds by NumPy's hints
    name, keys, position, has_gauss, gauss = state
    return dict(
        python=random.getstate(),
        numpy=(name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    )


def set_random_states(states: dict[str, Any]) -> None:
    """Sets what :func:`random_states` returned."""
    random.setstate(states['python'])
    name, keys, *rest = states['numpy']
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states['torch'].cpu())
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all([state.cpu() for state in states['cuda']])
