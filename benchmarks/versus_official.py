"""EfficientViT beside its authors' code, with the same weights, outputs compared in the same run.

On the CPU each model has a process of its own for each size, as in versus_timm.py.
The official backbone is the one of the detectors, fused by its own `replace_batchnorm`, once in
PyTorch's default memory format and once in channels_last, as ours, images included. It fails at
images whose last map is smaller than a window but not as large as one, such as 256x256. Get it
with
  git clone https://github.com/microsoft/Cream
With --compile, the last row is our copy as it is, and speedups are beside that.

Examples:
  python benchmarks/versus_official.py Cream --archs m4 --threads 2
  python benchmarks/versus_official.py Cream --sizes 512x512 --batches 8
  python benchmarks/versus_official.py Cream --device cuda --dtype fp16 --batches 64 --cuda-graphs
"""

import argparse
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import (
    Conditions,
    apart,
    conditions,
    make_parser,
    measure,
    randomise,
    save,
    speedups,
    table,
)
from efficientvit_peers import build_official

from mmtrtvit.engine.command_line import run_tool
from mmtrtvit.models import EfficientViT, fuse

COLUMNS = (
    'model',
    'batch',
    'height',
    'width',
    'implementation',
    'milliseconds',
    'speedup',
    'difference',
)


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('checkout', type=Path, help='checkout of microsoft/Cream')
    parser.add_argument(
        '--archs',
        nargs='+',
        choices=EfficientViT.arch_settings,
        metavar='ARCH',
        default=['m0', 'm2', 'm4', 'm5'],
        help='(default: m0 m2 m4 m5)',
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    settings = conditions(args)
    for arch, batch, (height, width) in itertools.product(args.archs, args.batches, args.sizes):
        labels = dict(model=arch, mode='inference', batch=batch, height=height, width=width)
        shape = batch, 3, height, width
        found = speedups(apart(settings, compare, arch, shape, args.checkout, settings, labels))
        print(table(found, COLUMNS), flush=True)
        path = save(found, 'versus_official', settings, (), args.out)
    print(path)


def compare(
    arch: str,
    shape: tuple[int, ...],
    checkout: Path,
    settings: Conditions,
    labels: dict[str, Any],
) -> list[dict[str, Any]]:
    """Rows of the official code in both memory formats and of our fused copy."""
    torch.manual_seed(0)
    ours = randomise(EfficientViT(arch)).eval()
    x = settings.random(shape)
    x_last = x.contiguous(memory_format=torch.channels_last)
    plain, last = (settings.place(build_official(ours, arch, checkout)) for _ in range(2))
    for model in (plain, last):
        model.eval()  # gathers the biases anew, where the weights are
        model.requires_grad_(False)
    last.to(memory_format=torch.channels_last)
    fused = settings.place(fuse(ours))
    functions = {
        'official': settings.inference(plain, x),
        'official channels_last': settings.inference(last, x_last),
        'mmtrtvit': settings.inference(fused, x_last),
    }
    if settings.compile:
        functions['mmtrtvit, not compiled'] = replace(settings, compile=False).inference(
            fused, x_last
        )
    return measure(functions, settings, **labels)


if __name__ == '__main__':
    run_tool(main, parse_args())
