"""Where the time of a prediction goes: reading, preprocessing, network, post-processing."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..engine.predictor import Predictor
from ..environment import device_name
from .timing import clock_of

READING, PREPROCESSING, HEAD, AFTER = 'reading', 'preprocessing', 'head', 'post-processing'
PARTS = {'data_preprocessor': PREPROCESSING, 'backbone': 'backbone', 'neck': 'neck'}
STAGES = READING, PREPROCESSING, 'backbone', 'neck', HEAD, AFTER


def stage_times(
    predictor: Predictor, files: Iterable[str | Path], *, seconds: float = 5.0
) -> dict[str, list[float]]:
    """Measures how long each stage of a prediction takes, image by image.

    Heads are what is neither backbone nor neck; what they compute outside of their layers, such as
    the suppression of boxes, is post-processing, and so is all else that the model does at its end.

    Args:
        predictor: The model.
        files: Images; the first is predicted once more before it counts.
        seconds: Time after which no other image is begun.

    Returns:
        Milliseconds by stage, one for each image; a stage that the model does not have is left out.
    """
    times: dict[str, list[float]] = defaultdict(list)
    clock = clock_of(next(predictor.model.parameters()).device)
    stopwatch = _Stopwatch(clock)
    end = None
    with ExitStack() as hooks:
        for name, child in predictor.model.named_children():
            modules = [child] if name in PARTS else [*child.modules()]
            for module in modules:  # of a head, whose own forward may not be called as a module
                stopwatch.watch(hooks, module, PARTS.get(name, HEAD))
        for file in files:
            if end is None:
                _predict(predictor, file, stopwatch)
                end = time.monotonic() + seconds
            elif time.monotonic() > end:
                break
            for stage, value in _predict(predictor, file, stopwatch).items():
                times[stage].append(1000 * value)
    return {stage: times[stage] for stage in STAGES if any(times[stage])}


def _predict(predictor: Predictor, file: str | Path, stopwatch: '_Stopwatch') -> dict[str, float]:
    """Seconds of each stage for one image."""
    stopwatch.times = dict.fromkeys(STAGES, 0.0)
    begin = stopwatch.clock()
    image = predictor.read(file)
    read = stopwatch.clock()
    inputs = predictor.prepare(image)
    prepared = stopwatch.clock()
    predictor.predict([inputs])
    done = stopwatch.clock()
    inside = sum(stopwatch.times.values())
    stopwatch.times[READING] += read - begin
    stopwatch.times[PREPROCESSING] += prepared - read
    stopwatch.times[AFTER] += done - prepared - inside
    return stopwatch.times


class _Stopwatch:
    """Times modules while they run, of those within each other the outermost alone.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.times: dict[str, float] = {}
        self._depth = 0
        self._start = 0.0

    def watch(self, hooks: ExitStack, module: nn.Module, stage: str) -> None:
        """Adds the time of a module to a stage, until the hooks are removed."""

        def enter(module: nn.Module, args: tuple) -> None:
            if not self._depth:
                self._start = self.clock()
            self._depth += 1

        def leave(module: nn.Module, args: tuple, out: Any) -> None:
            self._depth -= 1
            if not self._depth:
                self.times[stage] += self.clock() - self._start

        hooks.callback(module.register_forward_pre_hook(enter).remove)
        hooks.callback(module.register_forward_hook(leave).remove)


def median_rows(times: dict[str, list[float]]) -> list[list[str]]:
    """Returns a table of medians and their shares of the sum: the head, the stages, the total."""
    medians = {stage: statistics.median(values) for stage, values in times.items()}
    total = sum(medians.values())
    rows = [['stage', 'ms', 'share']]
    rows += [[stage, f'{value:.1f}', f'{value / total:.0%}'] for stage, value in medians.items()]
    return [*rows, ['an image', f'{total:.1f}', '100%']]


def describe_conditions(predictor: Predictor, count: int) -> str:
    """Returns what the times of :func:`stage_times` are of, in a line.

    Args:
        predictor: The model.
        count: How many images were predicted.
    """
    device = next(predictor.model.parameters()).device.type
    threads = f', threads: {torch.get_num_threads()}' if device == 'cpu' else ''
    return (
        f'Median of {count} images, one at a time, in PyTorch {torch.__version__} and float32 on '
        f'{device_name(device)}{threads}.'
    )
