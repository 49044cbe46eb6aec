"""Converts EfficientViT's weights: the authors' files, timm's and those of mmtrtvit.

Examples:
  python tools/convert_weights.py efficientvit_m4.pth m4.pth
  python tools/convert_weights.py timm://efficientvit_m4.r224_in1k m4.pth
  python tools/convert_weights.py work_dirs/run/epoch_12.pth m4_timm.pth --to timm

The layout of the source is told from the names in it. Weights of a classifier are left out, and
anything else that does not fit is an error.
"""

import argparse

from mmtrtvit.engine.command_line import new_parser, run_tool

# as mmtrtvit.models.conversion has them, which would load PyTorch
OURS = 'mmtrtvit'
TARGETS = OURS, 'timm', 'timm-features'


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument('source', help='file, or timm:// and a name of timm')
    parser.add_argument('out', help='file to write')
    parser.add_argument('--arch', help='variant, m0 to m5 (default: told from the shapes)')
    parser.add_argument(
        '--to', choices=TARGETS, default=OURS, help='layout to write (default: %(default)s)'
    )
    parser.add_argument(
        '--window-size',
        nargs='+',
        type=int,
        metavar='N',
        help='side of the windows, one number or one per stage, to resize the tables of attention '
        'biases to (default: as in the source)',
    )
    parser.add_argument('--allow-partial', action='store_true', help='leave out what does not fit')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mmtrtvit.models.conversion import convert_weights

    sides = args.window_size
    done = convert_weights(
        args.source,
        args.out,
        arch=args.arch,
        to=args.to,
        window_size=sides[0] if sides and len(sides) == 1 else sides,
        allow_partial=args.allow_partial,
    )
    print(f'{args.source}: EfficientViT-{done.arch} in the layout {done.layout}\n')
    print(done.report.table())
    if str(done.report):
        print(f'not loaded:\n{done.report}')
    if done.left_out:
        print(f'left out, as {args.to} has no names for it: {", ".join(done.left_out)}')
    windows = ', '.join(map(str, done.window_size))
    print(f'\nwritten: {args.out}, in the layout {args.to}, with windows of {windows}')
    if args.to == OURS:
        print(
            'To start a training from it: '
            + (
                f'load_from={args.out!r}'
                if done.detector
                else f"model.backbone.init_cfg=dict(type='Pretrained', checkpoint={args.out!r})"
            )
        )


if __name__ == '__main__':
    run_tool(main, parse_args())
