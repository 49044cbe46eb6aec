"""Counts what a network needs: parameters, multiply-adds, activations, memory; stage by stage.

Examples:
  python tools/cost.py configs/mask_rcnn_trtvit_c.py
  python tools/cost.py efficientvit_m4 --shape 512x512
  python tools/cost.py timm:resnet50 --json resnet50.json --csv resnet50.csv

Needs neither weights nor data, and computes nothing: the network has shapes only. Multiply-adds
are those of convolutions, linear layers and products of feature maps (attention), without
normalisations and activations. Two-stage detectors look at 1000 proposals and 100 masks.
"""

import argparse
import json

from mmtrtvit.arguments import positive, size
from mmtrtvit.engine.command_line import new_parser, run_tool


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument(
        'model',
        metavar='MODEL',
        help='a config, a backbone (trtvit_a ... efficientvit_m5) or timm:NAME',
    )
    parser.add_argument(
        '--shape',
        type=size,
        metavar='HxW',
        help='height and width of the images (default: that of published numbers, 800x1280 for '
        'detectors, 512x2048 for segmentors, 224x224 for the others)',
    )
    parser.add_argument('--batch', type=positive, default=1, metavar='N', help='images at once')
    parser.add_argument('--csv', metavar='FILE', help='write the table, in single units')
    parser.add_argument('--json', metavar='FILE', help='write the same as JSON')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    import torch

    from mmtrtvit.analysis.cost import as_dicts, cost_of, rows
    from mmtrtvit.analysis.networks import build_network
    from mmtrtvit.files import write_whole
    from mmtrtvit.tables import csv_text, format_rows

    model, shape, run = build_network(args.model)
    images = torch.empty(args.batch, 3, *(args.shape or shape), device='meta')
    costs = cost_of(model, lambda: run(images), [images])
    parts = as_dicts(costs)
    if args.csv:
        write_whole(args.csv, csv_text(parts))
    height, width = images.shape[2:]
    conditions = dict(model=args.model, batch=args.batch, height=height, width=width)
    if args.json:
        content = dict(conditions, parts=parts, peak_bytes=costs.peak)
        write_whole(args.json, json.dumps(content, indent=2) + '\n')
    print(f'{args.model}, {args.batch} x 3 x {height} x {width}, float32\n')
    print(format_rows([*rows(costs)]))
    print(
        f'\nfeature maps take {costs.peak / 1e6:.1f} MB at most, parameters '
        f'{4 * costs.total.parameters / 1e6:.1f} MB'
    )


if __name__ == '__main__':
    run_tool(main, parse_args())
