"""Runs what there is to compare on a GPU, in one process and in order of what it tells.

That saves the start of Python and CUDA for each comparison. Each one is a benchmark of this folder
with its options, and saves its results as if it had been called alone; one that fails is told at
the end.

Examples:
  python benchmarks/on_gpu.py
  python benchmarks/on_gpu.py --checkout Cream --minutes 10    # the official code, too
"""

import argparse
import importlib
import sys
import time
import traceback
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
)


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument('--checkout', type=Path,
                        help='checkout of microsoft/Cream; without it its comparison is left out')
    parser.add_argument('--minutes', type=float, default=float('inf'),
                        help='no comparison begins later (default: no limit)')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    conditions(make_parser(__doc__).parse_args(['--device', 'cuda']))
    end, failed = time.monotonic() + 60 * args.minutes, []
    for name, options in comparisons(args.checkout):
        line = ' '.join((name, *options))
        if time.monotonic() > end:
            print(f'left out: {line}')
            continue
        print(line, flush=True)
        try:
            run(name, options)
        except Exception as error:  # of one model on one machine; the others are still of use
            traceback.print_exc()
            failed.append(f'{line}: {type(error).__name__}: {error}')
    if failed:
        raise UserError('\n'.join(('these comparisons failed', *failed)))


def comparisons(checkout: Path | None) -> Iterator[tuple[str, list[str]]]:
    """Yields benchmarks and their options."""
    for line in COMPARISONS:
        name, *options = line.split()
        if 'CHECKOUT' in options:
            if checkout is None:
                continue
            options[options.index('CHECKOUT')] = str(checkout)
        yield name, [*options, '--device', 'cuda']


def run(name: str, options: list[str]) -> None:
    """Calls a benchmark with options as its own command line would."""
    sys.argv = [str(Path(__file__).with_name(f'{name}.py')), *options]
    benchmark = importlib.import_module(name)
    benchmark.main(benchmark.parse_args())


if __name__ == '__main__':
    run_tool(main, parse_args())
