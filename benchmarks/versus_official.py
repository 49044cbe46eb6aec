"""EfficientViT beside its authors' code, with the same weights, outputs compared in the same run.

On the CPU each implementation has a process of its own for each size, as in versus_timm.py.
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
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from common import (
    Conditions,
    conditions,
    make_parser,
    measure_apart,
    randomise,
    save,
    speedups,
    table,
)
from efficientvit_peers import build_official
from torch import Tensor

from mmtrtvit.engine.command_line import run_tool
from mmtrtvit.models import EfficientViT, fuse

OURS, NOT_COMPILED = 'mmtrtvit', 'mmtrtvit, not compiled'
IMPLEMENTATIONS = 'official', 'official channels_last', OURS, NOT_COMPILED
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
        found = measure_apart(
            inference_call,
            IMPLEMENTATIONS if settings.compile else IMPLEMENTATIONS[:-1],
            arch,
            (batch, 3, height, width),
            args.checkout,
            settings=settings,
            model=arch,
            mode='inference',
            batch=batch,
            height=height,
            width=width,
        )
        found = speedups(found)
        print(table(found, COLUMNS), flush=True)
        path = save(found, 'versus_official', settings, (), args.out)
    print(path)


def inference_call(
    name: str, arch: str, shape: tuple[int, ...], checkout: Path, settings: Conditions
) -> Callable[[], Sequence[Tensor]]:
    """A function that computes the feature maps of one of :data:`IMPLEMENTATIONS`."""
    torch.manual_seed(0)
    ours = randomise(EfficientViT(arch)).eval()
    x = settings.random(shape)
    if name != 'official':
        x = x.contiguous(memory_format=torch.channels_last)
    if name == NOT_COMPILED:
        settings = replace(settings, compile=False)
    if name in (OURS, NOT_COMPILED):
        return settings.inference(settings.place(fuse(ours)), x)
    model = settings.place(build_official(ours, arch, checkout))
    model.eval()  # gathers the biases anew, where the weights are
    model.requires_grad_(False)
    if name == 'official channels_last':
        model.to(memory_format=torch.channels_last)
    return settings.inference(model, x)


if __name__ == '__main__':
    run_tool(main, parse_args())
