"""Judges TRT-ViT's guidelines on this device, and designs networks for a latency by them.

Examples:
  python tools/guidelines.py
  python tools/guidelines.py cpu.json
  python tools/guidelines.py --budget 30ms --channels 128 256 512 512 --backends onnxruntime

Each guideline is a ratio of measured densities, with where it lies: it holds, does not hold, or is
undecided. Accuracy is not measured. With --budget, networks are put together from the latencies of
their parts, all depths and patterns, and the best measured whole. Best is what has the largest
product of multiply-adds and parameters within the budget; --maximise chooses one of the two.
"""

import argparse

from mmtrtvit.analysis.options import add_conditions
from mmtrtvit.arguments import milliseconds, positive, share
from mmtrtvit.engine.command_line import new_parser, run_tool


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    add = parser.add_argument
    add(
        'densities',
        nargs='?',
        metavar='FILE',
        help='what tools/density.py --json wrote (default: the blocks are measured now)',
    )
    add(
        '--margin',
        type=share,
        default=0.1,
        metavar='SHARE',
        help='by how much a density must be larger to count as larger (default: 10%%)',
    )
    add('--json', metavar='FILE', help='write the findings, and the networks, as JSON')
    search = parser.add_argument_group('networks for a latency').add_argument
    search('--budget', type=milliseconds, metavar='TIME', help='most time of a batch, as 10ms')
    search(
        '--maximise',
        choices=('balance', 'macs', 'parameters'),
        default='balance',
        help='what the best network has most of; balance is macs times parameters (default)',
    )
    search(
        '--patterns',
        nargs='+',
        metavar='PATTERN',
        help='as C-C-C-M, see TRTViT (default: C in the first stages, then one of M MA MB T)',
    )
    search(
        '--growth',
        type=float,
        default=2.0,
        metavar='TIMES',
        help='how many times as deep as the one before a stage may be; none is less deep '
        '(default: 2)',
    )
    search('--max-depth', type=positive, default=24, metavar='N', help='of a stage (default: 24)')
    search('--suggest', type=positive, default=3, metavar='N', help='networks (default: 3)')
    add_conditions(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    import json
    from dataclasses import asdict

    from mmtrtvit.analysis.density import (
        Conditions,
        describe,
        guidelines,
        measure_densities,
        read_densities,
        suggest,
    )
    from mmtrtvit.analysis.density.blocks import find_block, stages_of
    from mmtrtvit.analysis.density.runners import TORCH_BACKENDS
    from mmtrtvit.deploy.measure.block_backends import GRAPH_BACKENDS
    from mmtrtvit.files import write_whole

    backends = {**TORCH_BACKENDS, **GRAPH_BACKENDS}
    patterns = args.patterns or suggest.PATTERNS
    needed = suggest.needed_blocks(patterns) if args.budget else []
    conditions = Conditions.of(args)
    if args.densities:
        measured = read_densities(args.densities)
    else:
        measured = measure_densities(
            [find_block(name) for name in dict.fromkeys((*guidelines.BLOCKS, *needed))],
            stages_of(args.image, args.channels),
            args.backends,
            conditions,
            backends=backends,
            precisions=args.precisions,
            batches=args.batches,
        )
    print(describe(measured), end='\n\n')
    found = guidelines.judge(measured, args.margin)
    print(*guidelines.lines(found), sep='\n')
    networks = []
    if args.budget:
        rules = suggest.Rules(args.budget, patterns, args.maximise, args.growth, args.max_depth)
        networks = suggest.suggest(measured, rules, args.suggest, backends, conditions)
        for each in networks:
            print(f'\n# {suggest.summary(each, args.budget)}\n{suggest.config_lines(each)}')
    if args.json:
        content = dict(
            conditions=measured.conditions,
            guidelines=guidelines.as_dicts(found),
            networks=[asdict(each) for each in networks],
        )
        write_whole(args.json, json.dumps(content, indent=2) + '\n')


if __name__ == '__main__':
    run_tool(main, parse_args())
