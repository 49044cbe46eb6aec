"""Hooks that make a run repeatable and its checkpoints trustworthy. They need MMEngine alone."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import get_rank, is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import FUNCTIONS, HOOKS
from mmengine.runner import Runner
from mmengine.runner.utils import set_random_seed
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from ..weights.checkpoints import state_dict_of
from ..weights.matching import class_layers, compare_weights, require_match
from . import outputs  # noqa: F401  registers the backend


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds Python, NumPy and PyTorch in each epoch from the run's seed, the epoch and the rank.

    What an epoch draws (drop path, augmentation) then depends on nothing that came before, so that
    a resumed run goes on like one that was never interrupted, on a CPU bit for bit. For the workers
    of the training data set ``worker_init_fn=dict(type='keep_worker_seed')`` and leave
    ``persistent_workers`` off. A run by iterations is one epoch that never ends: it is not repeated
    exactly.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Warns where the data loader keeps random numbers of past epochs."""
        if getattr(runner.train_dataloader, 'persistent_workers', False):
            runner.logger.warning(
                'train_dataloader.persistent_workers=True keeps random numbers of past epochs: '
                'a resumed run will differ from one that was not interrupted.'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Seeds the random numbers by the seed of the run, the epoch and the process."""
        first = getattr(runner.train_loop, 'first_iter', runner.iter)
        sequence = np.random.SeedSequence([runner.seed, first, get_rank()])
        set_random_seed(int(sequence.generate_state(1)[0]))


@FUNCTIONS.register_module()
def keep_worker_seed(worker_id: int) -> None:
    """A ``worker_init_fn`` that keeps the seeds which PyTorch draws for each epoch's workers.

    MMEngine's own gives the workers the same seeds in every epoch.
    """


@HOOKS.register_module()
class CheckWeightsHook(Hook):
    """Refuses a checkpoint that does not fit the model, which MMEngine only logs.

    Testing and resuming take every key. A training that starts from ``load_from`` also takes other
    classes, and says which layers start anew. Bare weights get the place where MMEngine's EMAHook
    looks for them.
    """

    priority = 'HIGH'  # before EMAHook

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compares the names and shapes of a checkpoint with those of the model.

        Raises:
            UserError: If they do not fit.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        name = str(runner.cfg.get('load_from') or 'The checkpoint to resume from')
        whole = get_model_state_dict(  # unlike state_dict(), not this process's part of it
            runner.model, options=StateDictOptions(full_state_dict=True)
        )
        weights = state_dict_of(checkpoint)
        report = compare_weights(whole, weights)
        starts_training = isinstance(runner.optim_wrapper, OptimWrapper) and not runner.cfg.get(
            'resume'
        )
        others = class_layers(report, model) if starts_training else set()
        require_match(report, name, meta=checkpoint.get('meta'), allowed=others)
        if others:
            runner.logger.warning(
                f'{name} is for other classes; these layers start untrained:\n{report}'
            )
        checkpoint.setdefault('state_dict', weights)


class _RemoveLater(LocalBackend):
    """Local files and folders whose removal waits for :meth:`flush`."""

    def __init__(self) -> None:
        self._doomed: list[Path] = []

    def remove(self, filepath: str | Path) -> None:
        self._doomed.append(Path(filepath))

    rmtree = remove  # of a sharded training

    def flush(self, keep: set[Path]) -> None:
        """Removes what was to be removed, except for ``keep``."""
        for path in self._doomed:
            if path.is_dir() and path not in keep:
                shutil.rmtree(path)
            elif path not in keep:
                path.unlink(missing_ok=True)
        self._doomed.clear()


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's hook, but at any time the disk holds a whole checkpoint, even of one to be kept.

    A file gets its name when it is complete (:class:`~.outputs.AtomicBackend`), and only after that
    the older one goes, which MMEngine removes before it writes. Takes the arguments of
    ``CheckpointHook``; for local folders.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{'backend_args': dict(backend='atomic'), **kwargs})

    def before_train(self, runner: Runner) -> None:
        """As MMEngine, but files are removed later."""
        super().before_train(runner)
        self.file_backend = _RemoveLater()

    def after_train_epoch(self, runner: Runner) -> None:
        """Saves at the end of an epoch, then removes older checkpoints."""
        super().after_train_epoch(runner)
        self._remove_outdated()

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Saves where it is due, then removes older checkpoints."""
        super().after_train_iter(runner, *args, **kwargs)
        self._remove_outdated()

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Saves the best checkpoint, then removes older ones."""
        super().after_val_epoch(runner, metrics)
        self._remove_outdated()

    def _remove_outdated(self) -> None:
        backend = getattr(self, 'file_backend', None)  # not there in a validation alone
        if isinstance(backend, _RemoveLater) and is_main_process():
            best = [getattr(self, 'best_ckpt_path', None)]
            best += getattr(self, 'best_ckpt_path_dict', {}).values()
            backend.flush({Path(path) for path in (self.last_ckpt, *best) if path})

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        lacking = {*(getattr(self, 'key_indicators', None) or ())} - {'auto', *metrics}
        if lacking:
            runner.logger.warning(
                f'The evaluation has no {", ".join(sorted(lacking))}, by which the best '
                f'checkpoint is chosen (default_hooks.checkpoint.save_best), but '
                f'{", ".join(metrics)}.'
            )
        else:
            super()._save_best_checkpoint(runner, metrics)
