"""A figure of networks by their latency and something else, with the line of the best ones."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

MARKERS = 'os^vDPXp<>'
PLACES = -10, 5, -20, 15  # of names that would overlap, in points above the mark
NEAR = 0.2, 0.05  # shares of the width and the height in which names overlap


@dataclass(frozen=True)
class Mark:
    """A network in the figure.

    Attributes:
        name: Its name.
        milliseconds: Its latency.
        value: What it is drawn over the latency.
        family: Networks of one family have a colour and a marker.
        bounds: Where the latency lies, milliseconds; None draws none.
        prominent: Whether it is a large star.
        named: Whether its name stands beside it.
    """

    name: str
    milliseconds: float
    value: float
    family: str
    bounds: tuple[float, float] | None = None
    prominent: bool = False
    named: bool = True


def best_of(marks: Iterable[Mark], *, more_is_better: bool = True) -> list[Mark]:
    """Returns those than which no faster one is as good, the fastest first."""
    sign = 1 if more_is_better else -1
    best: list[Mark] = []
    for mark in sorted(marks, key=lambda each: (each.milliseconds, -sign * each.value)):
        if not best or sign * mark.value > sign * best[-1].value:
            best.append(mark)
    return best


def pareto_figure(
    marks: Sequence[Mark],
    *,
    xlabel: str,
    ylabel: str,
    title: str,
    more_is_better: bool = True,
    joined: bool = True,
) -> Figure:
    """Draws values over latencies, on a logarithmic scale if these differ by more than ten times.

    Args:
        marks: The networks.
        xlabel: What the latencies are.
        ylabel: What the values are.
        title: The conditions.
        more_is_better: Whether a larger value is the better one.
        joined: Whether a line joins the networks of a family.
    """
    figure = Figure(figsize=(9, 6), layout='constrained')
    axes = figure.subplots()
    times = [mark.milliseconds for mark in marks]
    fastest, slowest = min(times), max(times)
    best = best_of(marks, more_is_better=more_is_better)
    axes.step(*_points(best), where='post', color='0.8', zorder=0)
    named: list[Mark] = []
    families: dict[str, list[Mark]] = {}
    for mark in sorted(marks, key=lambda each: each.milliseconds):
        families.setdefault(mark.family, []).append(mark)
    for index, (family, members) in enumerate(sorted(families.items())):
        own = members[0].prominent
        (line,) = axes.plot(
            *_points(members),
            label=family,
            alpha=1 if own else 0.7,
            marker='*' if own else MARKERS[index % len(MARKERS)],
            ms=13 if own else 6,
            ls='-' if joined else '',
            lw=1.5 if own else 0.7,
        )
        for mark in members:
            if mark.bounds:
                axes.hlines(mark.value, *mark.bounds, color=line.get_color(), lw=1)
            if mark.named:
                crowd = sum(_is_near(mark, other, marks) for other in named)
                place = PLACES[crowd % len(PLACES)]
                named.append(mark)
                at_right = mark.milliseconds**2 > fastest * slowest
                axes.annotate(
                    mark.name,
                    (mark.milliseconds, mark.value),
                    (-8 if at_right else 8, place),
                    textcoords='offset points',
                    ha='right' if at_right else 'left',
                    color=line.get_color(),
                    fontsize=8,
                )
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.margins(0.12)  # for the names
    if slowest > 10 * fastest:
        axes.set_xscale('log')
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter('{x:g}')
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.3, which='both')
    axes.legend(fontsize=8, loc='best')
    return figure


def _is_near(mark: Mark, other: Mark, marks: Sequence[Mark]) -> bool:
    """Whether the names of two of the marks would overlap."""
    ranges = (
        [(math.log(each.milliseconds), each.value) for each in whose]
        for whose in (marks, (mark, other))
    )
    spans, gaps = ([max(axis) - min(axis) for axis in zip(*points)] for points in ranges)
    return all(gap <= share * span for gap, span, share in zip(gaps, spans, NEAR))


def _points(marks: Sequence[Mark]) -> tuple[list[float], list[float]]:
    return [mark.milliseconds for mark in marks], [mark.value for mark in marks]
