"""Trainings by iterations that go on from any checkpoint with the very next samples.

The samples of a training are one endless stream, which its seed alone determines: one permutation
of the data set after the other. Process r of n takes the places r, r + n, r + 2 n, ... of it, so no
sample is left out or taken twice, whatever the number of processes and workers. Random numbers are
drawn anew for each place (augmentation) and each iteration (Mixup, drop path), so a training that
goes on needs to know no more than the number of its iterations. It loads nothing twice.
"""

import random
from collections.abc import Iterator, Sized
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info, get_rank, sync_random_seed
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import DATA_SAMPLERS, DATASETS, HOOKS, LOOPS
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.utils import set_random_seed
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import UserError

STREAM = 'stream'  # key of a checkpoint


class Position(int):
    """The index of a sample that knows which place of which stream it has.

    Args:
        index: Of the sample in the data set.
        seed: Of the stream.
        place: In the stream.
    """

    seed: int
    place: int

    def __new__(cls, index: int, seed: int, place: int) -> 'Position':
        """Makes an integer with two more attributes."""
        self = super().__new__(cls, index)
        self.seed, self.place = seed, place
        return self

    def __reduce__(self) -> tuple:
        return type(self), (int(self), self.seed, self.place)


@DATA_SAMPLERS.register_module()
class StreamSampler(Sampler):
    """The stream of samples of one process: endless, and begun at any place without cost.

    Its length is that of one epoch of this process, with which schedules are counted.

    Args:
        dataset: The data set.
        shuffle: Whether each epoch has another order.
        seed: Of the orders; default: one that all processes agree on.
        repeats: How often an image follows itself, each time augmented anew: repeated augmentation
            (arXiv 1901.09335) with 3. An epoch still has as many samples as the data set, and so
            holds one image in ``repeats`` of them.
    """

    def __init__(
        self, dataset: Sized, shuffle: bool = True, *, seed: int | None = None, repeats: int = 1
    ) -> None:
        if not isinstance(repeats, int) or repeats < 1:
            raise UserError(
                f'train_dataloader.sampler.repeats is {repeats!r}: expected a whole number of 1 or '
                'more.'
            )
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.repeats = repeats
        self._first = 0
        self._order: tuple[int, torch.Tensor] | None = None  # of the epoch at hand

    def __iter__(self) -> Iterator[Position]:
        """Yields the samples of this process, without end."""
        place = self._first * self.world_size + self.rank
        while True:
            epoch, offset = divmod(place, self.size)
            yield Position(self._index(epoch, offset), self.seed, place)
            place += self.world_size

    def __len__(self) -> int:
        """Returns the samples of one epoch that this process takes."""
        return self.size // self.world_size

    def skip(self, count: int) -> None:
        """Begins after the first ``count`` samples of this process."""
        self._first = count

    def set_epoch(self, epoch: int) -> None:
        """Does nothing: the stream has no end at which to begin anew."""

    def _index(self, epoch: int, offset: int) -> int:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, self._permutation(epoch)
        return int(self._order[1][offset // self.repeats])

    def _permutation(self, epoch: int) -> torch.Tensor:
        if not self.shuffle:
            return torch.arange(self.size)
        entropy = np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(entropy[0]) >> 1)
        return torch.randperm(self.size, generator=generator)


@DATASETS.register_module()
class SeededSamples(Dataset):
    """A data set whose random numbers depend on the place of a sample in the stream alone.

    Args:
        dataset: The data set, or its config.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset

    @property
    def metainfo(self) -> dict[str, Any]:
        """What the data set says of its classes."""
        return getattr(self.dataset, 'metainfo', {})

    def full_init(self) -> None:
        """Reads the data set's annotations."""
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        if isinstance(index, Position):
            _seed(index.seed, index.place)
        return self.dataset[int(index)]


def _seed(*numbers: int) -> None:
    first, second, third = np.random.SeedSequence(numbers).generate_state(3).tolist()
    random.seed(first)
    np.random.seed(second)
    torch.manual_seed(third)


def seed_samples(config: Config) -> None:
    """Wraps the training data of a config that takes :class:`StreamSampler`.

    Args:
        config: Changed in place.
    """
    loader = config.get('train_dataloader') or {}
    kind = (loader.get('sampler') or {}).get('type')
    if kind == 'StreamSampler' and loader['dataset'].get('type') != 'SeededSamples':
        loader['dataset'] = dict(type='SeededSamples', dataset=loader['dataset'])


@LOOPS.register_module()
class StreamLoop(IterBasedTrainLoop):
    """MMEngine's loop over iterations, whose length may be told in epochs of a StreamSampler.

    Args:
        runner: Of the training.
        dataloader: The data loader, or its config, with a :class:`StreamSampler`.
        max_epochs: Length of the training; ``max_iters`` in its place counts iterations.
        max_iters: Length of the training in iterations.
        val_begin: First iteration after which there may be an evaluation.
        val_interval: Epochs between two evaluations; iterations with ``max_iters``.

    Raises:
        UserError: If a batch is larger than what a process has, the sampler is another one, or not
            exactly one of the two lengths is given.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        max_epochs: float | None = None,
        *,
        max_iters: int | None = None,
        val_begin: int = 1,
        val_interval: int = 1,
    ) -> None:
        if (max_epochs is None) == (max_iters is None):
            raise UserError('train_cfg of StreamLoop needs either max_epochs or max_iters.')
        super().__init__(
            runner, dataloader, max_iters or 1, val_begin=val_begin, val_interval=val_interval
        )
        self.epoch_length = self._checked_epoch()
        if max_epochs is not None:
            self._max_epochs = max_epochs  # where schedulers end that are told in epochs
            self._max_iters = round(max_epochs * self.epoch_length)
            self.val_interval = val_interval * self.epoch_length

    def _checked_epoch(self) -> int:
        """Returns the full batches in what an epoch has for this process."""
        sampler, batch = self.dataloader.sampler, self.dataloader.batch_size
        if not isinstance(sampler, StreamSampler):
            raise UserError(
                f'train_cfg is a StreamLoop, and train_dataloader.sampler is '
                f"{type(sampler).__name__}: it needs sampler=dict(type='StreamSampler')."
            )
        if len(sampler) < batch:
            raise UserError(
                f'train_dataloader.batch_size={batch} is more than the images of a process, '
                f'{len(sampler)}. Set --cfg-options '
                f'train_dataloader.batch_size={max(len(sampler), 1)}'
            )
        return len(sampler) // batch

    def run(self) -> Any:
        """Trains from the iteration at hand to the end."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.dataloader.sampler.skip(self._iter * self.dataloader.batch_size)
        batches = iter(self.dataloader)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
            if self.runner.val_loop is not None and self._iter >= self.val_begin and due:
                self.runner.val_loop.run()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model


@HOOKS.register_module()
class StreamHook(Hook):
    """Draws random numbers anew in each iteration, and refuses to go on in another stream."""

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Refuses checkpoints between two updates, which lack the gradients so far.

        Raises:
            UserError: If their interval is no multiple of the accumulated iterations.
        """
        counts = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and not hook.by_epoch and hook.interval % counts:
                raise UserError(
                    f'default_hooks.checkpoint.interval={hook.interval} is no multiple of '
                    f'optim_wrapper.accumulative_counts={counts}: a checkpoint between two updates '
                    f'would lack gradients. Set --cfg-options default_hooks.checkpoint.interval='
                    f'{-(-hook.interval // counts) * counts}'
                )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seeds the random numbers by the seed of the run, the iteration and the process."""
        sequence = np.random.SeedSequence([runner.seed, runner.iter, get_rank()])
        set_random_seed(int(sequence.generate_state(1)[0]))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds what the number of an iteration means: how many samples of which stream."""
        if isinstance(runner.train_loop, StreamLoop):
            checkpoint[STREAM] = _stream_of(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compares the stream of a checkpoint to go on from with that of this training.

        Raises:
            UserError: If the samples that come next would be others.
        """
        before = checkpoint.get(STREAM)
        if not (before and runner.cfg.get('resume') and isinstance(runner.train_loop, StreamLoop)):
            return
        now = _stream_of(runner)
        if before != now:
            was, is_now = (
                ', '.join(f'{value} {name}' for name, value in stream.items() if name in other)
                for stream, other in ((before, now), (now, before))
            )
            raise UserError(
                f'the checkpoint was written by a training with {was}; this one has {is_now}, and '
                'would leave out samples or take them twice. Go on with the same, or start from '
                'its weights: --cfg-options load_from=CHECKPOINT, without --resume.'
            )


def _stream_of(runner: Runner) -> dict[str, int]:
    loader = runner.train_loop.dataloader
    return {
        'process(es)': runner.world_size,
        'images in a batch of each': loader.batch_size,
        'images': loader.sampler.size,
        'repeat(s)': loader.sampler.repeats,
    }
