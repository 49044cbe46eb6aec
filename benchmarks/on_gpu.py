"""Runs all comparisons on a GPU, the most informative ones first.

Each comparison is a benchmark of this folder with its options, and saves its results as if it had
been called alone. It has a process of its own; those that fail are named at the end.

Examples:
  python benchmarks/on_gpu.py
  python benchmarks/on_gpu.py --checkout Cream --minutes 10    # the official code, too
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from common import conditions, make_parser

from mmtrtvit.engine.command_line import new_parser, run_tool
from mmtrtvit.errors import UserError

COMPARISONS = (
    'versus_timm inference --dtype fp16 --batches 1 64 --cuda-graphs',
    'versus_timm inference --dtype fp16 --batches 1 64',
    'density --dtype fp16 --batches 64 --sizes 512x512 --cuda-graphs',
    'versus_official CHECKOUT --dtype fp16 --batches 1 64 --cuda-graphs',
    'versus_official CHECKOUT --dtype fp16 --batches 1 64',
    'versus_timm inference --dtype bf16 --batches 1 64 --archs m4 --cuda-graphs',
    'versus_timm inference --dtype fp16 --batches 64 --archs m4 --sizes 512x512 --compile',
    'versus_timm inference --dtype fp16 --batches 1 --archs m4 --sizes 512x512 --compile',
    'versus_timm training --dtype bf16 --batches 64 --sizes 512x512',
    'scaling --dtype fp16 --sizes 256x256 512x512 800x1344 2048x2048',
    'detectors inference --dtype fp16 --score-threshold 0.05',
    'detectors training --dtype bf16 --channels-last --batches 8 --models retinanet_trtvit_c '
    'retinanet_efficientvit_m4 retinanet_r50 mask_rcnn_efficientvit_m4 mask_rcnn_r50',
)


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument(
        '--checkout',
        type=Path,
        help='checkout of microsoft/Cream; without it its comparison is left out',
    )
    parser.add_argument(
        '--minutes',
        type=float,
        default=float('inf'),
        help='no comparison begins later (default: no limit)',
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    conditions(make_parser(__doc__).parse_args(['--device', 'cuda']))
    end, failed = time.monotonic() + 60 * args.minutes, []
    for name, *options in comparisons(args.checkout):
        line = ' '.join((name, *options))
        if time.monotonic() > end:
            print(f'left out: {line}')
            continue
        print(line, flush=True)
        script = Path(__file__).with_name(f'{name}.py')
        if subprocess.run([sys.executable, script, *options]).returncode:
            failed.append(line)
    if failed:
        raise UserError('\n'.join(('these comparisons failed', *failed)))


def comparisons(checkout: Path | None) -> Iterator[list[str]]:
    """Yields names of benchmarks, each with its options."""
    for line in COMPARISONS:
        words = line.split()
        if 'CHECKOUT' in words:
            if checkout is None:
                continue
            words[words.index('CHECKOUT')] = str(checkout)
        yield [*words, '--device', 'cuda']


if __name__ == '__main__':
    run_tool(main, parse_args())
