"""Measures how densely this device computes blocks of networks, at the sizes of the four stages.

Examples:
  python tools/density.py
  python tools/density.py --blocks BottleNeck Transformer MixBlockC --json cpu.json
  python tools/density.py --blocks "torchvision.models.resnet:Bottleneck(channels, channels // 4)"
  python tools/density.py --device cuda --cuda-graphs --precisions fp16 --batches 1 8

TeraFLOPS and TeraParams are multiply-adds and parameters over the latency, as TRT-ViT's paper
defines them: a multiply-add is one FLOP, in the peaks too. Blocks and peaks are measured in turn.
Latencies are medians; IQR_% is the range between the quartiles, and the true median lies within ±%
with a probability of 95 %. What stays more uncertain than --max-spread until --time-limit is shown
as too noisy, without a number. %peak is the share of the best product of matrices in PyTorch, which
other backends may exceed, and %roof that of what the roofline allows. Weights are random, and so
are the ranges of int8. benchmarks/density.py compares whole networks in the same way.
"""

import argparse

from mmtrtvit.analysis.options import add_conditions
from mmtrtvit.engine.command_line import new_parser, run_tool


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    add = parser.add_argument
    add(
        '--blocks',
        nargs='+',
        metavar='BLOCK',
        help='BottleNeck, Transformer, MixBlockA, MixBlockB, MixBlockC, Sandwich (the default, '
        'these six), CascadedAttention, FFN, Depthwise, Stem, Embedding, or a module as '
        'package.module:Class(arguments), where channels, height and width stand for the '
        "stage's, also with + - * //",
    )
    add('--csv', metavar='FILE', help='write the table, in single units')
    add('--json', metavar='FILE', help='write the same as JSON, which tools/guidelines.py reads')
    add('--figures', metavar='DIR', help='draw the figures, as SVG and PNG')
    add(
        '--stages',
        nargs='+',
        type=int,
        choices=(1, 2, 3, 4),
        default=(1, 2, 3, 4),
        metavar='N',
        help='of 1 2 3 4 (default: all)',
    )
    add_conditions(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mmtrtvit.analysis.density import (
        Conditions,
        describe,
        describe_peaks,
        measure_densities,
        rows,
        to_csv,
        to_json,
    )
    from mmtrtvit.analysis.density.blocks import OF_THE_PAPERS, find_block, stages_of
    from mmtrtvit.analysis.density.runners import TORCH_BACKENDS
    from mmtrtvit.deploy.measure.block_backends import GRAPH_BACKENDS
    from mmtrtvit.files import write_whole
    from mmtrtvit.tables import format_rows

    measured = measure_densities(
        [find_block(name) for name in args.blocks or OF_THE_PAPERS],
        [each for each in stages_of(args.image, args.channels) if each.number in args.stages],
        args.backends,
        Conditions.of(args),
        backends={**TORCH_BACKENDS, **GRAPH_BACKENDS},
        precisions=args.precisions,
        batches=args.batches,
    )
    if args.csv:
        write_whole(args.csv, to_csv(measured))
    if args.json:
        write_whole(args.json, to_json(measured))
    if args.figures:
        from mmtrtvit.analysis.density.figures import draw_densities

        draw_densities(measured, args.figures)
    print(format_rows(rows(measured.cells)))
    print(f'\n{describe_peaks(measured)}\n{describe(measured)}')


if __name__ == '__main__':
    run_tool(main, parse_args())
