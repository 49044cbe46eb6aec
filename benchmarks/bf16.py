"""Our backbones in bf16 beside fp32, on a CPU.

  inference  fused copies, as tools/test.py --precision bf16 runs them
  training   forward and backward in training mode, the same by --amp

It pays on processors with AVX512-BF16 or AMX; others emulate it.

Examples:
  python benchmarks/bf16.py inference --threads 2
  python benchmarks/bf16.py training --models trtvit_b --sizes 128x128 320x320 --batches 4
"""

import argparse
import itertools
from collections.abc import Callable
from typing import Any

import torch
from common import (
    BACKBONES,
    Conditions,
    apart,
    build_backbone,
    conditions,
    make_parser,
    measure,
    save,
    table,
)
from torch import Tensor, nn

from mmtrtvit.engine.command_line import run_tool
from mmtrtvit.errors import UserError
from mmtrtvit.models import fuse
from mmtrtvit.models.layers import channels_last

COLUMNS = (
    'model',
    'mode',
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
    parser.add_argument('mode', choices=MODES, help='what to compare')
    parser.add_argument(
        '--models',
        nargs='+',
        choices=BACKBONES,
        metavar='MODEL',
        default=['trtvit_b', 'trtvit_c', 'efficientvit_m2', 'efficientvit_m4', 'efficientvit_m5'],
        help='(default: %(default)s)',
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    if args.dtype != 'fp32' or args.device != 'cpu' or args.compile:
        raise UserError('--dtype, --device and --compile: this compares bf16 with fp32 on a CPU.')
    settings = conditions(args)
    for name in args.models:
        for batch, (height, width) in itertools.product(args.batches, args.sizes):
            labels = dict(model=name, mode=args.mode, batch=batch, height=height, width=width)
            shape = batch, 3, height, width
            found = apart(settings, compare, args.mode, name, shape, settings, labels)
            print(table(found, COLUMNS), flush=True)
            path = save(found, f'bf16-{args.mode}', settings, (), args.out)
    print(path)


def compare(
    mode: str,
    name: str,
    shape: tuple[int, ...],
    settings: Conditions,
    labels: dict[str, Any],
) -> list[dict[str, Any]]:
    """Times fp32 and bf16 side by side; ``speedup`` is fp32's time over that of each."""
    rows = measure(MODES[mode](name, torch.randn(shape), settings), settings, **labels)
    return [dict(row, speedup=rows[0]['milliseconds'] / row['milliseconds']) for row in rows]


def inference(name: str, x: Tensor, settings: Conditions) -> dict[str, Callable]:
    x = channels_last(x)
    fp32, bf16 = (fuse(build_backbone(name).eval()) for _ in range(2))
    bf16.bfloat16()
    return dict(fp32=settings.inference(fp32, x), bf16=settings.inference(bf16, x.bfloat16()))


def training(name: str, x: Tensor, settings: Conditions) -> dict[str, Callable]:
    return {
        dtype: training_step(build_backbone(name), x, mixed=dtype == 'bf16')
        for dtype in ('fp32', 'bf16')
    }


MODES = dict(inference=inference, training=training)


def training_step(model: nn.Module, x: Tensor, mixed: bool) -> Callable[[], list[Tensor]]:
    """A function that computes the gradients of a model for the mean square of its maps."""
    model.train()

    def step() -> list[Tensor]:
        model.zero_grad()
        with torch.autocast('cpu', torch.bfloat16, enabled=mixed):
            maps = model(x)
        sum(each.float().square().mean() for each in maps).backward()
        return [each.detach() for each in maps]

    return step


if __name__ == '__main__':
    run_tool(main, parse_args())
