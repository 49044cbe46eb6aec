"""Densities as JSON that is read again, as CSV, and as tables and sentences for people."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files import read_json
from ...tables import csv_text
from .measuring import TERA, Density, Measured

FORMAT = 'mmtrtvit density 1'


def as_dicts(measured: Measured) -> list[dict[str, Any]]:
    """The cells as plain data, in single units, with what follows from them."""
    derived = 'uncertainty', 'teraflops', 'teraparams', 'intensity', 'share_of_peak'
    return [
        {
            **asdict(cell),
            **{name: _finite(getattr(cell, name)) for name in (*derived, 'share_of_roof')},
        }
        for cell in measured.cells
    ]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def to_json(measured: Measured) -> str:
    """What :func:`read_densities` reads."""
    content = dict(format=FORMAT, conditions=measured.conditions, cells=as_dicts(measured))
    return json.dumps(content, indent=2) + '\n'


def to_csv(measured: Measured) -> str:
    """A line for each cell, with the conditions in each."""
    rows = []
    for cell in as_dicts(measured):
        low, high = cell.pop('quartiles')
        bounds = cell.pop('bounds') or (None, None)
        rows.append(
            dict(
                cell,
                lower_quartile=low,
                upper_quartile=high,
                lower_bound=bounds[0],
                upper_bound=bounds[1],
                **measured.conditions,
            )
        )
    return csv_text(rows)


def read_densities(path: str | Path) -> Measured:
    """Reads what ``tools/density.py --json`` wrote.

    Raises:
        UserError: If the file is not of that kind.
    """
    try:
        content = read_json(path)
        if content['format'] != FORMAT:
            raise UserError(f'{path} has the format {content["format"]}, expected {FORMAT}.')
        names = Density.__dataclass_fields__
        cells = [{name: cell[name] for name in names} for cell in content['cells']]
        for cell in cells:
            for name in ('quartiles', 'bounds'):
                cell[name] = cell[name] and tuple(cell[name])
        return Measured(content['conditions'], tuple(Density(**cell) for cell in cells))
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        what = f'it lacks {error}' if isinstance(error, KeyError) else error
        raise UserError(
            f'{path}: expected a file of tools/density.py --json, but {what}.'
        ) from error


def describe(measured: Measured) -> str:
    """The conditions in one sentence."""
    known = measured.conditions
    threads = f'{known["threads"]} thread{"s" * (known["threads"] > 1)}'
    return (
        f'{known["device"]}, {threads}, {known["versions"]}, {known["date"]}; {known["convention"]}'
    )


def describe_peaks(measured: Measured) -> str:
    """A line on the peaks for each precision and batch."""
    lines = {}
    for cell in measured.cells:
        peak = cell.peak_macs
        product = f'products of matrices {peak / TERA:.4g} TeraFLOPS, ' if peak else ''
        lines[cell.precision, cell.batch] = (
            f'peaks beside {cell.precision}, batch {cell.batch}: {product}copies '
            f'{cell.peak_bytes / 1e9:.4g} GB/s'
        )
    return '\n'.join(lines.values())


def rows(cells: Iterable[Density]) -> list[list[str]]:
    """A table: its head and a line for each cell."""
    table = [
        'block backend type batch input params_M MMACs MAC/byte ms IQR_% ±% TeraFLOPS TeraParams '
        '%peak %roof'.split()
    ]
    for cell in cells:
        low, high = cell.quartiles
        certain = cell.milliseconds is not None
        table.append(
            [
                cell.block,
                cell.backend,
                cell.precision,
                str(cell.batch),
                f'{cell.channels}x{cell.height}x{cell.width}',
                f'{cell.parameters / 1e6:.3f}',
                f'{cell.macs / 1e6:.2f}',
                _text(cell.intensity, '.1f'),
                f'{cell.milliseconds:.3f}' if certain else 'too noisy',
                f'{200 * (high - low) / (high + low):.0f}',
                f'{100 * cell.uncertainty:.0f}',
                _text(cell.teraflops, '.4f'),
                _text(cell.teraparams, '.2e'),
                _text(cell.share_of_peak, '.0%').rstrip('%'),
                _text(cell.share_of_roof, '.0%').rstrip('%'),
            ]
        )
    return table


def _text(value: float | None, style: str) -> str:
    return '-' if value is None else format(value, style)
