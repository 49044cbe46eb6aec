"""Where the time of a prediction goes: from an image file to what is in the image, by stage."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ..engine.predictor import Predictor
from ..environment import device_name
from .timing import clock_of

READ, PREPARE, RESULTS = 'read', 'prepare', 'results'
# Stages of a model in PyTorch, by its children; other children are heads.
PARTS = {'data_preprocessor': PREPARE, 'backbone': 'backbone', 'neck': 'neck'}
HEAD = 'head'
WORDS = {READ: 'reading', PREPARE: 'preprocessing', RESULTS: 'post-processing'}  # of a report


class Stopwatch:
    """Adds up how long stages take, of those within each other the outermost alone.

    Args:
        device: Where PyTorch computes them: the clock waits for a GPU.

    Attributes:
        clock: Returns seconds.
        begun: When the first stage began, on that clock; None if there was none.
        times: Seconds by stage.
    """

    def __init__(self, device: str | torch.device = 'cpu') -> None:
        self.clock = clock_of(device)
        self.reset()

    def reset(self) -> None:
        """Forgets all stages."""
        self.begun: float | None = None
        self.times: dict[str, float] = defaultdict(float)
        self._depth = 0
        self._start = 0.0

    def begin(self) -> None:
        """Begins a stage."""
        if not self._depth:
            self._start = self.clock()
            self.begun = self._start if self.begun is None else self.begun
        self._depth += 1

    def end(self, stage: str) -> None:
        """Ends the stage that began last."""
        self._depth -= 1
        if not self._depth:
            self.times[stage] += self.clock() - self._start

    def watch(self, module: nn.Module, stage: str) -> list[RemovableHandle]:
        """Makes each run of a module of PyTorch a stage, until the handles are removed."""
        return [
            module.register_forward_pre_hook(lambda *_: self.begin()),
            module.register_forward_hook(lambda *_: self.end(stage)),
        ]


class Way:
    """The whole way of an image through a model.

    Args:
        read: From a file to its pixels, ``(H, W, 3)``, BGR.
        predict: From the pixels to the result.
        stopwatch: What watches the stages in between.
    """

    def __init__(
        self,
        read: Callable[[str], np.ndarray],
        predict: Callable[[np.ndarray], Any],
        stopwatch: Stopwatch,
    ) -> None:
        self._read, self._predict, self._stopwatch = read, predict, stopwatch

    def run(self, path: str | Path) -> dict[str, float]:
        """Goes the way once.

        Returns:
            Milliseconds by stage, which sum up to the whole: ``read``, ``prepare`` (all before the
            first stage that is watched), those that are watched, ``results`` (all else).
        """
        watch = self._stopwatch
        watch.reset()
        start = watch.clock()
        pixels = self._read(str(path))
        read = watch.clock()
        self._predict(pixels)
        end = watch.clock()
        times = {READ: read - start, PREPARE: watch.begun - read}
        for stage, seconds in watch.times.items():
            times[stage] = times.get(stage, 0.0) + seconds
        times[RESULTS] = end - start - sum(times.values())
        return {stage: 1000 * seconds for stage, seconds in times.items()}


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
    watch = Stopwatch(next(predictor.model.parameters()).device)
    way = Way(predictor.read, lambda pixels: predictor.predict([predictor.prepare(pixels)]), watch)
    end = None
    with ExitStack() as hooks:
        for name, child in predictor.model.named_children():
            # The forward of a head may not be called as a module: its layers are watched as well.
            for module in [child] if name in PARTS else child.modules():
                for handle in watch.watch(module, PARTS.get(name, HEAD)):
                    hooks.callback(handle.remove)
        for file in files:
            if end is None:
                way.run(file)
                end = time.monotonic() + seconds
            elif time.monotonic() > end:
                break
            for stage, value in way.run(file).items():
                times[WORDS.get(stage, stage)].append(value)
    return dict(times)


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
