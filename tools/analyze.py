"""Draws a training's curves and images, or analyses what a network spends time and weights on.

Examples:
    python tools/analyze.py curves work_dirs/retinanet_trtvit_b
    python tools/analyze.py sheet images --count 8     # what tools/test.py --show-dir wrote
    python tools/analyze.py memory timm:deit_tiny_patch16_224 --csv deit.csv
    python tools/analyze.py heads CONFIG CHECKPOINT images --against CONFIG_2 CHECKPOINT_2
    python tools/analyze.py importance CONFIG CHECKPOINT --out importance.svg
"""

import argparse
import json
import os
from pathlib import Path

from mmtrtvit.arguments import part, positive, size
from mmtrtvit.engine.command_line import new_parser, run_tool


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    curves = commands.add_parser('curves', help='losses and validation metrics of a training')
    curves.add_argument('work_dir', help='work directory of tools/train.py')
    curves.add_argument('--out', metavar='FILE.png', help='default: WORK_DIR/curves.png')
    sheet = commands.add_parser('sheet', help='images of truth and prediction on one sheet')
    sheet.add_argument('folder', help='folder that tools/test.py --show-dir wrote')
    sheet.add_argument('--count', type=int, default=8, help='images (default: %(default)s)')
    sheet.add_argument('--out', metavar='FILE.png', help='default: FOLDER.png')
    memory = commands.add_parser('memory', help='time in operators that are bound by memory')
    memory.add_argument(
        'model',
        metavar='MODEL',
        help='a config, a backbone (trtvit_a ... efficientvit_m5) or timm:NAME',
    )
    memory.add_argument('--shape', type=size, metavar='HxW', help="(default: as tools/cost.py's)")
    memory.add_argument('--batch', type=positive, default=1, metavar='N', help='(default: 1)')
    memory.add_argument('--rounds', type=positive, default=5, help='runs (default: %(default)s)')
    memory.add_argument('--fuse', action='store_true', help='of the fused copy')
    add_output(memory)
    heads = commands.add_parser('heads', help="how alike an EfficientViT's attention heads are")
    add_model(heads)
    heads.add_argument('images', nargs='+', metavar='IMAGE', help='image files and folders')
    heads.add_argument(
        '--against',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='a second model, such as one that was trained without the cascade',
    )
    heads.add_argument('--count', type=positive, default=32, help='images (default: %(default)s)')
    heads.add_argument('--out', default='heads.png', metavar='FILE', help='(default: %(default)s)')
    add_output(heads)
    importance = commands.add_parser(
        'importance', help="how important an EfficientViT's channels are, by their Taylor scores"
    )
    add_model(importance)
    importance.add_argument(
        '--batches',
        type=positive,
        default=8,
        metavar='N',
        help='batches of the training data (default: %(default)s)',
    )
    importance.add_argument(
        '--keep',
        type=part,
        default=0.5,
        metavar='SHARE',
        help='share of channels that would be kept (default: %(default)s)',
    )
    importance.add_argument(
        '--out', default='importance.png', metavar='FILE', help='(default: %(default)s)'
    )
    add_output(importance)
    return parser.parse_args()


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', metavar='CONFIG', help='of a model with an EfficientViT')
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='its weights, or a work directory')


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--device', help='(default: the first GPU, or the CPU without one)')
    parser.add_argument('--csv', metavar='FILE', help='write the table as CSV')
    parser.add_argument('--json', metavar='FILE', help='write it as JSON')


def main(args: argparse.Namespace) -> None:
    commands = curves, sheet, memory, heads, importance
    {command.__name__: command for command in commands}[args.command](args)


def curves(args: argparse.Namespace) -> None:
    from mmtrtvit.analysis.curves import draw_curves

    print(f'written: {draw_curves(args.work_dir, args.out or Path(args.work_dir, "curves.png"))}')


def sheet(args: argparse.Namespace) -> None:
    from mmtrtvit.analysis.sheets import draw_sheet, pick_images

    folder = Path(args.folder)
    out = draw_sheet(
        pick_images(folder, args.count),
        args.out or folder.with_suffix('.png'),
        title='ground truth and prediction',
    )
    print(f'written: {out}')


def memory(args: argparse.Namespace) -> None:
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # before PyTorch's profiler is loaded
    import torch

    from mmtrtvit.analysis.memory_bound import PUBLISHED, as_dicts, memory_bound_times, rows
    from mmtrtvit.analysis.networks import build_network
    from mmtrtvit.engine.predictor import usable_device

    device = usable_device(args.device)
    model, shape, run = build_network(args.model, str(device), fused=args.fuse)
    images = torch.randn(args.batch, 3, *(args.shape or shape), device=device)
    times = memory_bound_times(model, lambda: run(images), rounds=args.rounds)
    print(f'{args.model}, {args.batch} x 3 x {images.shape[2]} x {images.shape[3]}, {device}\n')
    show(args, [*rows(times)], as_dicts(times))
    print(f'\n{PUBLISHED}')


def heads(args: argparse.Namespace) -> None:
    from mmtrtvit.analysis.heads import as_dicts, draw, image_runs, rows, similarities
    from mmtrtvit.analysis.trained import load_trained
    from mmtrtvit.engine.config import read_config

    found = {}
    models = [(args.config, args.checkpoint), *([args.against] if args.against else [])]
    for config, checkpoint in models:
        predictor, backbone = load_trained(read_config(config), checkpoint, args.device)
        found[Path(config).stem] = similarities(
            backbone, image_runs(predictor, args.images, args.count)
        )
    show(args, [*rows(found)], as_dicts(found))
    print(f'\nwritten: {draw(found, args.out)}')


def importance(args: argparse.Namespace) -> None:
    from mmtrtvit.analysis.importance import (
        as_dicts,
        draw,
        importances,
        losses_of,
        rows,
        taylor_scores,
    )
    from mmtrtvit.analysis.trained import load_trained
    from mmtrtvit.engine.config import read_config

    config = read_config(args.config)
    predictor, backbone = load_trained(config, args.checkpoint, args.device)
    losses = losses_of(config, predictor.model, args.batches)
    found = importances(taylor_scores(backbone, losses), args.keep)
    show(args, [*rows(found)], as_dicts(found))
    print(f'\nwritten: {draw(found, args.keep, args.out)}')


def show(args: argparse.Namespace, table: list[list[str]], content: list[dict]) -> None:
    """Prints a table and writes what the options name."""
    from mmtrtvit.files import write_whole
    from mmtrtvit.tables import csv_text, format_rows

    print(format_rows(table))
    if args.csv:
        write_whole(args.csv, csv_text(content))
    if args.json:
        write_whole(args.json, json.dumps(content, indent=2) + '\n')


if __name__ == '__main__':
    run_tool(main, parse_args())
