"""Figures of densities: what is in them."""

import re
from dataclasses import replace

import pytest

from mmtrtvit.analysis.density import Density, Measured
from mmtrtvit.analysis.density.figures import density_figure, draw_densities, roofline_figure
from mmtrtvit.errors import UserError

CELL = Density(
    'BottleNeck', 'fused', 'fp32', 1, 1, 256, 56, 56, 70_000, 218_000_000, 2_000_000, 4.0,
    (3.9, 4.1), (3.8, 4.2), 15, 109e9, 2e9,
)  # fmt: skip
CELLS = (
    CELL,
    replace(CELL, stage=2, channels=512, height=28, width=28, parameters=280_000),
    replace(CELL, block='Transformer', milliseconds=None),
    replace(CELL, block='Transformer', stage=2, channels=512, height=28, width=28),
)
CONDITIONS = dict(
    device='a slow machine', threads=2, versions='torch 9', date='2026-11-30', convention='as here'
)


def test_the_files(tmp_path):
    measured = Measured(CONDITIONS, (*CELLS, replace(CELL, batch=8)))
    files = draw_densities(measured, tmp_path / 'new')
    names = {
        f'{kind}_fused_fp32_{batch}.{end}'
        for kind in ('density', 'roofline')
        for batch in (1, 8)
        for end in ('svg', 'png')
    }
    assert {file.name for file in files} == names
    assert all((tmp_path / 'new' / name).stat().st_size > 5000 for name in names)
    text = re.sub('<[^>]*>|\\s+', ' ', (tmp_path / 'new/density_fused_fp32_1.svg').read_text())
    text = ' '.join(text.split())
    for word in ('TeraFLOPS', '28x28', 'a slow machine', '2 threads', '1 of 4 too noisy'):
        assert word in text


def test_what_is_drawn():
    left, right = density_figure(CELLS, 'a note').axes
    (first, second) = left.containers
    assert first.lines[0].get_ydata() == pytest.approx([0.0545, 0.0545])
    assert first.lines[0].get_xdata().tolist() == [1, 2]
    assert second.lines[0].get_xdata().tolist() == [2]  # the noisy one is left out
    assert right.containers[0].lines[0].get_ydata() == pytest.approx([1.75e-5, 7e-5])
    (axes,) = roofline_figure(CELLS, 'a note').axes
    roof = next(line for line in axes.lines if len(line.get_xdata()) == 3)
    assert roof.get_xdata()[1] == 109 / 2 and roof.get_ydata() == pytest.approx(
        [roof.get_xdata()[0] * 2e9 / 1e12, 0.109, 0.109]
    )


def test_nothing_to_draw(tmp_path):
    with pytest.raises(UserError, match='everything is too noisy'):
        draw_densities(Measured(CONDITIONS, (replace(CELL, milliseconds=None),)), tmp_path)
