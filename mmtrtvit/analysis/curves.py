"""Curves of a training, read from the scalars that MMEngine's visualizer writes."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..errors import UserError
from .figures import save_figure

Series = dict[str, list[tuple[int, float]]]


def read_scalars(work_dir: str | Path) -> tuple[Series, Series]:
    """Losses and metrics of all runs in a work directory, the later run where two overlap.

    Returns:
        Losses by name and validation metrics by name, each as (iteration, value) in order.

    Raises:
        UserError: If the directory has no ``<time>/vis_data/scalars.json``.
    """
    losses: dict[str, dict[int, float]] = defaultdict(dict)
    metrics: dict[str, dict[int, float]] = defaultdict(dict)
    end_of_epoch: dict[int, int] = {}
    for step, row in _rows(work_dir):
        if 'iter' in row:
            end_of_epoch[row.get('epoch')] = max(step, end_of_epoch.get(row.get('epoch'), 0))
            target, names = losses, [name for name in row if 'loss' in name]
        else:
            step = end_of_epoch.get(step, step)
            target, names = metrics, [name for name in row if not name.endswith('time')]
        for name in names:
            target[name][step] = row[name]
    return _ordered(losses), _ordered(metrics)


def read_progress(work_dir: str | Path, *names: str) -> Series:
    """Other values of a training's iterations, such as ``lr``, ``time`` and ``memory``.

    Args:
        work_dir: As for :func:`read_scalars`.
        names: Of the values; those that the training did not write are left out.

    Raises:
        UserError: As :func:`read_scalars`.
    """
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for step, row in _rows(work_dir):
        for name in names:
            if 'iter' in row and name in row:
                found[name][step] = row[name]
    return _ordered(found)


def _rows(work_dir: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields what a training or its validation wrote, each with its step."""
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    if not files:
        raise UserError(f'{work_dir}: no */vis_data/scalars.json, as a training writes them.')
    for file in files:
        for line in file.read_text(encoding='utf-8').splitlines():
            row = json.loads(line)
            step = row.pop('step', None)
            if step is not None:  # else written by an evaluation
                yield step, row


def draw_curves(work_dir: str | Path, out: str | Path) -> Path:
    """Draws the losses and the validation metrics of a work directory into a PNG.

    Raises:
        UserError: If there is nothing to draw.
    """
    losses, metrics = read_scalars(work_dir)
    figure = Figure(figsize=(11, 4), layout='constrained')
    for axes, title, series in zip(
        figure.subplots(1, 2), ('training loss', 'validation'), (losses, metrics)
    ):
        for name, points in series.items():
            axes.plot(*zip(*points), label=name, marker='o' if len(points) < 40 else None, ms=3)
        axes.set(title=title, xlabel='iteration', ylim=(0, None))
        axes.grid(alpha=0.3)
        if series:
            axes.legend(fontsize='small')
    return save_figure(figure, out)


def _ordered(series: dict[str, dict[int, float]]) -> Series:
    return {
        name: sorted((step, value) for step, value in points.items() if value >= 0)
        for name, points in series.items()
    }
