"""A training under the eyes of trackers: its config, metrics and some images of each validation."""

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.visualization.vis_backend import BaseVisBackend

from ...errors import UserError, did_you_mean
from ...files import write_whole
from ...images import read_image
from ...runtime.drawing import draw
from ...runtime.legend import Legend
from ...runtime.results import Detections
from ..results import result_of
from . import TRACKERS

RECORD = 'trackers.json'  # beside the log: where each tracker has the run
IMAGES = 4  # of each validation
SCORE = 0.3  # of drawn detections, at least
SECRET_KEY = re.compile(r'(api|access|secret|private)_?key|(api|access|auth)_?token|password', re.I)
LOGIN = re.compile(r'(?<=://)[^/@\s]+@')  # user and password of an address


def check_trackers(config: Config) -> tuple[str, ...]:
    """Returns the trackers of a config, ``trackers``, which may be one name or several.

    Raises:
        UserError: If there is no such tracker, its package is not installed, or the config holds
            a key, which a log would show.
    """
    given = config.get('trackers') or ()
    names = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        if name not in TRACKERS:
            hint = did_you_mean(str(name), TRACKERS)
            raise UserError(f'trackers={name!r}: expected some of {", ".join(TRACKERS)}.{hint}')
        if find_spec(name) is None:
            raise UserError(f'the tracker {name} is not installed: pip install {name}')
    shown = config if names else {key: config.get(key) for key in ('visualizer', 'vis_backends')}
    for key, value in _texts(dict(shown), ''):
        if value and (SECRET_KEY.search(key.rpartition('.')[2]) or LOGIN.search(value)):
            raise UserError(
                f'{key} holds a key or a password. A config ends in logs, in the work dir and on '
                "trackers: give it by the tracker's login or environment variable instead."
            )
    return names


def _texts(branch: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yields every text of a config with its dotted key."""
    if isinstance(branch, str):
        yield path, branch
    elif isinstance(branch, dict | list | tuple):
        for key, value in branch.items() if isinstance(branch, dict) else enumerate(branch):
            yield from _texts(value, f'{path}.{key}'.lstrip('.'))


@contextmanager
def tracked(runner: Runner, names: Sequence[str]) -> Iterator[None]:
    """Sends what a runner does in the block to trackers, as a new run of each.

    ``trackers.json`` in the folder of the log says where these are.

    Raises:
        UserError: If a tracker cannot start, such as one without a login.
    """
    if not names or not is_main_process():
        yield
        return
    from .backends import CLASSES

    log_dir = Path(runner.log_dir)
    run_name = f'{Path(runner.work_dir).absolute().name} {log_dir.name}'
    trackers: list[QuietTracker] = []
    failed = True
    try:
        for name in names:
            trackers.append(QuietTracker(name, CLASSES[name](log_dir, run_name)))
            with same_random_numbers():
                trackers[-1].start(runner.cfg)
        places = {tracker.name: tracker.place() for tracker in trackers}
        write_whole(log_dir / RECORD, json.dumps(places, indent=2))
        for name, place in places.items():
            runner.logger.info(f'tracker {name}: {place.get("url") or place.get("look", "")}')
        runner.visualizer._vis_backends.update({each.name: each for each in trackers})
        runner.register_hook(TrackedImagesHook(trackers))
        yield
        failed = False
    finally:
        for tracker in trackers:
            runner.visualizer._vis_backends.pop(tracker.name, None)
            tracker.end(failed)


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Leaves Python's, NumPy's and PyTorch's random numbers as they are, which ClearML seeds."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


class QuietTracker(BaseVisBackend):
    """A tracker that never ends a training: what fails there is one warning.

    Args:
        name: Of the tracker.
        backend: What does the work, see :class:`~.backends.Tracker`.
    """

    def __init__(self, name: str, backend: Any) -> None:
        super().__init__(save_dir='')
        self.name = name
        self._backend = backend
        self._warned = False

    def _init_env(self) -> None:
        pass

    @property
    def experiment(self) -> Any:
        """The object of the tracker's own package."""
        return self._backend.experiment

    def start(self, config: Config) -> None:
        """Starts the run and records the config.

        Raises:
            UserError: If it cannot start.
        """
        try:
            self._backend.add_config(config)
        except Exception as error:  # each has its own
            raise UserError(f'the tracker {self.name} cannot start: {_reason(error)}') from error

    def place(self) -> dict[str, str]:
        """Returns where the run is, without a user or password of an address."""
        found = self._backend.place()
        return {key: LOGIN.sub('', str(value)) for key, value in found.items() if value}

    def add_scalars(self, scalar_dict: dict, step: int = 0, *args: Any, **kwargs: Any) -> None:
        """Sends what are numbers of the values."""
        numbers = {
            key: float(value)
            for key, value in scalar_dict.items()
            if isinstance(value, int | float | np.number) and key != 'step'
        }
        self._try(self._backend.add_scalars, numbers, step)

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Sends a number."""
        self.add_scalars({name: value}, step)

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Sends an image ``(H, W, 3)``, uint8, RGB."""
        self._try(self._backend.add_image, name, image, step)

    def end(self, failed: bool) -> None:
        """Ends the run."""
        self._try(self._backend.end, failed)

    def _try(self, do: Callable, *args: Any) -> None:
        try:
            do(*args)
        except Exception as error:  # whatever it is, the training goes on
            if not self._warned:
                print_log(f'the tracker {self.name}: {_reason(error)}', 'current', 30)
            self._warned = True


def _reason(error: Exception) -> str:
    text = ' '.join(str(error).split()) or type(error).__name__
    return LOGIN.sub('', text)


class TrackedImagesHook(Hook):
    """Sends the first images of each validation, with what was found in them.

    Args:
        trackers: Who gets them.
    """

    def __init__(self, trackers: Sequence[QuietTracker]) -> None:
        self._trackers = trackers
        self._sent = 0

    def before_val_epoch(self, runner: Runner) -> None:
        """Begins anew."""
        self._sent = 0

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draws and sends images until there are enough."""
        for sample in outputs or ():
            if self._sent == IMAGES:
                return
            image = _drawn(sample, _legend(runner.val_dataloader.dataset))
            if image is None:
                continue
            self._sent += 1
            by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
            step = runner.epoch if by_epoch else runner.iter
            for tracker in self._trackers:
                tracker.add_image(f'validation/{self._sent}', image[..., ::-1], step)


def _legend(dataset: Any) -> Legend:
    meta = getattr(dataset, 'metainfo', None) or {}
    palette = meta.get('palette')
    return Legend(tuple(meta.get('classes') or ()), tuple(map(tuple, palette or ())))


def _drawn(sample: Any, legend: Legend) -> np.ndarray | None:
    """Returns an image with what was found in it, BGR; None for what cannot be drawn."""
    try:
        image, result = read_image(sample.img_path), result_of(sample)
    except (AttributeError, UserError):  # no sample of a host package, or an image in an archive
        return None
    if isinstance(result, Detections):
        result = result.above(SCORE)
    return draw(image, result, legend) if image.shape[:2] == tuple(sample.ori_shape[:2]) else None
