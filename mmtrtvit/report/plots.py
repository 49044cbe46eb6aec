"""Curves as figures of a page."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from ..analysis.curves import Series
from ..analysis.pages.rendering import GREY, inline_figure
from .blocks import Figure
from .curves import PrecisionRecall

MOST_LINES = 12  # of a plot; more cannot be told apart
MOST_POINTS = 400  # of a line
MARGINS = dict(left=0.14, right=0.97, bottom=0.15, top=0.91)  # faster than a layout
UNIT = dict(xlim=(0, 1.02), ylim=(0, 1.02))


def plot_series(title: str, series: Series, *, zero: bool = True) -> Figure:
    """Draws values over the iterations of a training.

    Args:
        title: What they are.
        series: Values by name, each as (iteration, value).
        zero: Whether the scale begins at zero.
    """

    def draw(axes: Axes) -> None:
        for name, points in list(series.items())[:MOST_LINES]:
            x, y = (_thinned(values) for values in zip(*points))
            axes.plot(x, y, label=name, marker='o' if len(x) < 40 else None, markersize=3)
        axes.set(title=title, xlabel='iteration')
        if zero:
            axes.set_ylim(bottom=0)

    return _figure(draw, f'{title} over the iterations: {", ".join(series)}')


def plot_precision_recall(curves: Mapping[str, PrecisionRecall], key: str) -> list[Figure]:
    """Draws precision over recall, and F1 over the threshold, with the best one marked.

    Args:
        curves: By class; the first :data:`MOST_LINES` with a right answer are drawn.
        key: What they are of.
    """
    shown = [(name, curve) for name, curve in curves.items() if curve.best is not None]
    shown = shown[:MOST_LINES]

    def precision(axes: Axes) -> None:
        for name, curve in shown:
            axes.plot(_thinned(curve.recall), _thinned(curve.precision), label=name)
        axes.set(title='precision and recall', xlabel='recall', ylabel='precision', **UNIT)

    def f1(axes: Axes) -> None:
        for name, curve in shown:
            (line,) = axes.plot(_thinned(curve.scores), _thinned(curve.f1), label=name)
            best = curve.best_score, curve.f1[curve.best]
            axes.plot(*best, 'o', color=line.get_color(), markersize=4)
        axes.set(title='F1 by threshold', xlabel='threshold of the score', ylabel='F1', **UNIT)

    return [
        _figure(precision, f'precision and recall of {key}'),
        _figure(f1, f'F1 of {key} by threshold'),
    ]


def plot_matrix(shares: np.ndarray, title: str) -> Figure:
    """Draws a large confusion matrix.

    Args:
        shares: ``(C, C)``, from 0 to 1; rows are of the truth.
        title: What it is.
    """

    def draw(axes: Axes) -> None:
        axes.imshow(shares, vmin=0, vmax=1, cmap='Blues', interpolation='nearest')
        axes.set(title=title, xlabel='class found', ylabel='class of the truth')

    return _figure(draw, title, height=4.8)


def _figure(draw: Callable[[Axes], None], label: str, *, height: float = 3.4) -> Figure:
    """Draws a plot in colours that show on white and on black."""
    drawing = Drawing(figsize=(5, height))
    axes = drawing.subplots(gridspec_kw=MARGINS)
    axes.set_facecolor('none')
    draw(axes)
    axes.title.set_fontsize('medium')
    axes.tick_params(which='both', colors=GREY)
    texts = [axes.title, axes.xaxis.label, axes.yaxis.label]
    if axes.get_legend_handles_labels()[0]:
        legend = axes.legend(fontsize='small')
        legend.get_frame().set(alpha=0)
        texts += legend.texts
    for text in texts:
        text.set_color(GREY)
    for spine in axes.spines.values():
        spine.set_color(GREY)
    if axes.lines:
        axes.grid(alpha=0.25)
    return Figure(inline_figure(drawing, label), label)


def _thinned(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Returns at most about :data:`MOST_POINTS` of values, the first and the last among them."""
    values = np.asarray(values)
    if len(values) <= MOST_POINTS:
        return values
    return values[np.linspace(0, len(values) - 1, MOST_POINTS).round().astype(int)]
