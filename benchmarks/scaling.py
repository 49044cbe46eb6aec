"""Scaling: how latency and memory of a backbone grow with the area of the image and the batch.

Measures fused copies, each image size and batch in turn, and fits cost ~ amount ** exponent by
least squares over the logarithms: 1 is linear, 2 quadratic. The memory is the peak, on the CPU of
a process of its own, beyond model and input. TRT-ViT's attention sees the whole map, so that its
time grows faster than the area; its memory must not.

Examples:
  python benchmarks/scaling.py --models trtvit_c efficientvit_m4 --sizes 256x256 512x512 1024x1024
  python benchmarks/scaling.py --models trtvit_a --sizes 800x1344 2048x2048 --batches 1
"""

import argparse
import itertools
from math import log

import torch
from common import Conditions, apart, conditions, make_parser, randomise, save, table
from torch import nn

from mmtrtvit.analysis.timing import peak_memory, threads, time_side_by_side
from mmtrtvit.engine.command_line import run_tool
from mmtrtvit.models import EfficientViT, TRTViT, fuse

MODELS = {
    f'{family.__name__.lower()}_{arch}': (family, arch)
    for family in (TRTViT, EfficientViT)
    for arch in family.arch_settings
}
COLUMNS = 'model', 'batch', 'height', 'width', 'milliseconds', 'memory_mb'
GROWTHS = 'model', 'over', 'cost', 'exponent'


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        '--models',
        nargs='+',
        choices=MODELS,
        metavar='MODEL',
        default=['trtvit_c', 'efficientvit_m4'],
        help=f'of {", ".join(MODELS)} (default: trtvit_c efficientvit_m4)',
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    settings = conditions(args)
    rows = []
    for name, batch, (height, width) in itertools.product(args.models, args.batches, args.sizes):
        shape = batch, 3, height, width
        row = dict(model=name, mode='inference', batch=batch, height=height, width=width)
        row |= apart(settings, cost, name, shape, settings)
        rows.append(row)
        print(table([row], COLUMNS), flush=True)
        path = save([row], 'scaling', settings, (), args.out)
    print(table(growths(rows), GROWTHS))
    print(path)


def cost(name: str, shape: tuple[int, ...], settings: Conditions) -> dict[str, float]:
    """Latency and peak memory of a model; call it in a process of its own."""
    model = settings.place(build(name))
    function = settings.inference(model, settings.random(shape))
    with threads(settings.threads):
        settings.inference(model, settings.random((1, 3, 64, 64)))()  # packs the weights
        memory = peak_memory(function, settings.device)
        timing = time_side_by_side({name: function}, settings.rounds, device=settings.device)[name]
    return dict(
        milliseconds=timing.milliseconds,
        fastest=timing.fastest,
        spread=timing.spread,
        memory_mb=memory / 1e6,
    )


def build(name: str) -> nn.Module:
    """A fused copy of a backbone by our name."""
    family, arch = MODELS[name]
    return fuse(randomise(family(arch)))


def growths(rows: list[dict]) -> list[dict]:
    """Returns exponents of time and memory over the area and over the batch.

    Those over the area are for the smallest batch, those over the batch for the smallest image.
    """
    found = []
    for name in dict.fromkeys(row['model'] for row in rows):
        own = [row for row in rows if row['model'] == name]
        smallest = min(own, key=lambda row: (row['batch'], row['height'] * row['width']))
        chosen = dict(
            area=[row for row in own if row['batch'] == smallest['batch']],
            batch=[
                row
                for row in own
                if (row['height'], row['width']) == (smallest['height'], smallest['width'])
            ],
        )
        for over, group in chosen.items():
            amounts = [
                row['batch'] if over == 'batch' else row['height'] * row['width'] for row in group
            ]
            if len(set(amounts)) > 1:
                found += [
                    dict(
                        model=name,
                        over=over,
                        cost=kind,
                        exponent=exponent(amounts, [row[kind] for row in group]),
                    )
                    for kind in ('milliseconds', 'memory_mb')
                ]
    return found


def exponent(amounts: list[float], costs: list[float]) -> float:
    """The k of ``cost ~ amount ** k`` that fits best."""
    x, y = (
        torch.tensor([log(value) for value in values], dtype=torch.double)
        for values in (amounts, costs)
    )
    x, y = x - x.mean(), y - y.mean()
    return ((x * y).sum() / (x * x).sum()).item()


if __name__ == '__main__':
    run_tool(main, parse_args())
