"""Draws the time of each backbone in a RetinaNet over its size, from a CSV file of detectors.py.

Example:
  python benchmarks/figures.py docs/images/speed.svg
"""

import argparse
from pathlib import Path

import matplotlib
import torch
from common import RESULTS, read
from detectors import CONFIGS
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmtrtvit import config_path
from mmtrtvit.analysis.figures import save_figure
from mmtrtvit.engine.command_line import new_parser, run_tool
from mmtrtvit.engine.hosts import import_host

MEASURED = RESULTS / 'detectors-inference_AMD-EPYC-2-cores_torch2.15.0_2026-11-26.csv'
FAMILIES = {'TRT-ViT': 'trtvit_', 'EfficientViT': 'efficientvit_', 'ResNet-50': 'r50'}
METHOD = 'retinanet_'


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument('out', type=Path, help='the image to write')
    parser.add_argument('--csv', type=Path, default=MEASURED, help=f'(default: {MEASURED.name})')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    matplotlib.rcParams['svg.fonttype'] = 'none'  # text stays text
    print(save_figure(draw(read(args.csv)), args.out))


def draw(rows: list[dict[str, str]]) -> Figure:
    """Draws milliseconds of backbones over millions of parameters."""
    figure = Figure(figsize=(7, 4.2), layout='constrained')
    axes = figure.subplots()
    for (family, prefix), marker in zip(FAMILIES.items(), 'os*'):
        points = times(rows, METHOD + prefix)
        sizes = [parameters(name) / 1e6 for name in points]
        axes.plot(sizes, points.values(), marker, ls='-', ms=8, label=family)
        for name, size, value in zip(points, sizes, points.values()):
            text = name.removeprefix(METHOD + prefix).upper()
            axes.annotate(text, (size, value), (-5, 6), textcoords='offset points', ha='right')
    row = rows[0]
    axes.set(
        xscale='log',
        yscale='log',
        xlabel='parameters of the backbone, millions',
        ylabel='milliseconds per image, lower is better',
    )
    axes.set_title(
        f'Fused backbones at {row["height"]} x {row["width"]}, {row["dtype"]}: {row["machine"]}, '
        f'{row["threads"]} threads, {row["versions"]}, {row["date"]}',
        fontsize=9,
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter('{x:g}')
    axes.grid(alpha=0.3, which='both')
    axes.legend()
    return figure


def times(rows: list[dict[str, str]], prefix: str) -> dict[str, float]:
    """Returns the milliseconds of the backbones of models whose names begin with ``prefix``."""
    found: dict[str, float] = {}
    for row in rows:
        if row['model'].startswith(prefix) and float(row['score_threshold']) == 0:
            found[row['model']] = float(row['backbone'])
    return found


def parameters(name: str) -> int:
    """Returns how many parameters the backbone of a model has."""
    import_host('mmdet')
    from mmdet.registry import MODELS

    config = Config.fromfile(config_path(CONFIGS[name]))
    with DefaultScope.overwrite_default_scope('mmdet'), torch.device('meta'):
        return sum(weight.numel() for weight in MODELS.build(config.model.backbone).parameters())


if __name__ == '__main__':
    run_tool(main, parse_args())
