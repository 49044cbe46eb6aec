"""Figures of densities: over the stages, as in TRT-ViT's paper, and below the device's roofline."""

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ...errors import UserError
from ..figures import save_figure
from .measuring import TERA, Density, Measured
from .records import describe

MARKERS = 'osDv'  # of the stages of a roofline
COLOURS = colormaps['tab10'].colors  # type: ignore[attr-defined]
LONGEST = 42  # letters of a legend's name
KINDS = 'svg', 'png'


def draw_densities(measured: Measured, folder: str | Path) -> list[Path]:
    """Draws both figures for each backend, precision and batch, as SVG and PNG.

    What is too noisy is left out.

    Args:
        measured: What was measured.
        folder: Where the files go, ``density_<backend>_<precision>_<batch>.svg`` and so on.

    Returns:
        The files.

    Raises:
        UserError: If everything is too noisy.
    """
    if not any(cell.milliseconds for cell in measured.cells):
        raise UserError('nothing to draw: everything is too noisy. See --max-spread, --time-limit.')
    files = []
    with matplotlib.rc_context({'svg.fonttype': 'none'}):  # text stays text
        for name, cells in _groups(measured.cells):
            note = _note(measured, cells)
            for kind, figure in (
                ('density', density_figure(cells, note)),
                ('roofline', roofline_figure(cells, note)),
            ):
                files += [save_figure(figure, Path(folder, f'{kind}_{name}.{e}')) for e in KINDS]
    return files


def density_figure(cells: Sequence[Density], note: str) -> Figure:
    """TeraFLOPS and TeraParams of blocks over the stages, with the bounds of the medians.

    Args:
        cells: Of one backend, precision and batch.
        note: What stands below: the conditions.
    """
    figure = Figure(figsize=(8.5, 4), layout='constrained')
    left, right = figure.subplots(1, 2)
    for (name, row), colour in zip(_by_block(cells), itertools.cycle(COLOURS)):
        for axes, amounts in (
            (left, [cell.macs for cell in row]),
            (right, [cell.parameters for cell in row]),
        ):
            _line(axes, row, amounts, name, colour)
    ticks = {cell.stage: f'{cell.height}x{cell.width}\n{cell.channels}' for cell in cells[::-1]}
    for axes in (left, right):
        axes.set_xticks(list(ticks), ticks.values())
        axes.set_xlabel('feature map, channels')
        axes.grid(alpha=0.3)
    if peak := cells[0].peak_macs:
        left.axhline(peak / TERA, ls='--', c='grey', lw=1, label='product of matrices')
    left.set(ylabel='TeraFLOPS (a multiply-add is one)', ylim=(0, None))
    right.set(ylabel='TeraParams', yscale='log')
    left.legend(fontsize=7)
    figure.supxlabel(note, fontsize=7)
    return figure


def roofline_figure(cells: Sequence[Density], note: str) -> Figure:
    """TeraFLOPS of blocks over their arithmetic intensity, below what the device allows.

    Args:
        cells: Of one backend, precision and batch.
        note: What stands below: the conditions.
    """
    figure = Figure(figsize=(6.5, 4.4), layout='constrained')
    axes = figure.subplots()
    drawn = [cell for cell in cells if cell.teraflops and cell.intensity]
    for (name, row), colour in zip(_by_block(drawn), itertools.cycle(COLOURS)):
        for cell in row:
            marker = MARKERS[cell.stage - 1]
            axes.plot(cell.intensity, cell.teraflops, marker, color=colour, ms=6)
        axes.plot([], [], 'o', color=colour, label=name)
    for stage, marker in enumerate(MARKERS[: max((c.stage for c in drawn), default=0)], 1):
        axes.plot([], [], marker, color='grey', mfc='none', label=f'stage {stage}')
    if drawn and (peak := drawn[0].peak_macs):
        ridge = peak / drawn[0].peak_bytes
        ends = [cell.intensity or ridge for cell in drawn]
        low, high = min(*ends, ridge) / 2, max(*ends, ridge) * 2
        roof = [low * drawn[0].peak_bytes, peak, peak]
        axes.plot([low, ridge, high], [each / TERA for each in roof], c='black', lw=1)
        axes.annotate('copies', (low, roof[0] / TERA), (4, 10), textcoords='offset points')
        axes.annotate(
            'product of matrices', (high, peak / TERA), (0, 4), textcoords='offset points',
            ha='right',
        )  # fmt: skip
    axes.set(
        xscale='log',
        yscale='log',
        xlabel='multiply-adds per byte that operators read and write',
        ylabel='TeraFLOPS (a multiply-add is one)',
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter('{x:g}')
        axis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3, which='both')
    axes.legend(fontsize=7, loc='center left', bbox_to_anchor=(1, 0.5))
    figure.supxlabel(note, fontsize=7)
    return figure


def _groups(cells: Sequence[Density]) -> Iterator[tuple[str, list[Density]]]:
    def key(cell: Density) -> tuple[str, str, int]:
        return cell.backend, cell.precision, cell.batch

    for (backend, precision, batch), group in itertools.groupby(sorted(cells, key=key), key):
        yield f'{backend}_{precision}_{batch}', list(group)


def _by_block(cells: Sequence[Density]) -> Iterator[tuple[str, list[Density]]]:
    names = dict.fromkeys(cell.block for cell in cells)
    for name in names:
        yield (
            textwrap.shorten(name, LONGEST, placeholder='...'),
            [cell for cell in cells if cell.block == name],
        )


def _line(
    axes: Axes, cells: Sequence[Density], amounts: Sequence[int], name: str, colour: object
) -> None:
    points = []
    for cell, amount in zip(cells, amounts):
        if cell.milliseconds and cell.bounds:
            value, low, high = (
                amount / each * 1000 / TERA
                for each in (cell.milliseconds, cell.bounds[1], cell.bounds[0])
            )
            points.append((cell.stage, value, value - low, high - value))
    if points:
        x, y, below, above = zip(*points)
        axes.errorbar(x, y, (below, above), fmt='o-', c=colour, ms=4, lw=1.2, capsize=2, label=name)


def _note(measured: Measured, cells: Sequence[Density]) -> str:
    first = cells[0]
    text = (
        f'{first.backend}, {first.precision}, batch {first.batch}; {describe(measured)}; medians '
        'and where they lie with 95 % probability'
    )
    if noisy := sum(not cell.milliseconds for cell in cells):
        text += f'; {noisy} of {len(cells)} too noisy, not drawn'
    return textwrap.fill(text, 110, break_on_hyphens=False)
