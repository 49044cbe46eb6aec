"""Cuts the backbone out of a classifier, detector or segmentor; converts between layouts.

Examples:
  python tools/convert_weights.py work_dirs/run/epoch_300.pth trtvit_b.safetensors
  python tools/convert_weights.py timm://efficientvit_m4.r224_in1k m4.pth
  python tools/convert_weights.py work_dirs/run/epoch_12.pth m4_timm.pth --to timm
  python tools/convert_weights.py --trust old.pkl plain.pth     # RUNS THE CODE IN old.pkl

Layout, family and variant are told from the names and shapes in the source. What of the backbone
does not fit is an error. OUT is written in the safetensors format if it is called *.safetensors.
"""

import argparse
import sys

from mmtrtvit.engine.command_line import new_parser, run_tool, tell_checkpoint

# as mmtrtvit.models.conversion has them, which would load PyTorch
OURS = 'mmtrtvit'
TARGETS = OURS, 'timm', 'timm-features'


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument('source', help='file, work dir or address, such as timm://NAME')
    parser.add_argument('out', help='file to write')
    parser.add_argument('--arch', help='variant that is required, a to d or m0 to m5')
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
    parser.add_argument('--whole', action='store_true', help='keep neck and heads, too')
    parser.add_argument('--allow-partial', action='store_true', help='leave out what does not fit')
    parser.add_argument(
        '--trust',
        action='store_true',
        help='RUN THE CODE IN THE FILE, which may do all that you may do, and write its weights as '
        'they are; for files that are refused as not safe to load, of any model',
    )
    args = parser.parse_args()
    if args.trust and (
        args.arch or args.to != OURS or args.window_size or args.whole or args.allow_partial
    ):
        parser.error('--trust takes no other option: convert what it writes in a second step')
    return args


def main(args: argparse.Namespace) -> None:
    if args.trust:
        from mmtrtvit.weights.trusted import convert_trusted

        print(f'WARNING: running the code in {args.source}, with all your rights', file=sys.stderr)
        weights = convert_trusted(args.source, args.out)
        print(f'written: {args.out}, {len(weights)} tensors by the names that they had')
        return

    from mmtrtvit.models.conversion import convert_weights

    sides = args.window_size
    done = convert_weights(
        tell_checkpoint(args.source),
        args.out,
        arch=args.arch,
        to=args.to,
        window_size=sides[0] if sides and len(sides) == 1 else sides,
        whole=args.whole,
        allow_partial=args.allow_partial,
    )
    print(f'{args.source}: {done.family}-{done.arch} in the layout {done.layout}\n')
    print(done.report.table())
    if str(done.report):
        print(f'not loaded:\n{done.report}')
    if done.left_out:
        print(f'left out: {", ".join(done.left_out)}')
    windows = f', with windows of {", ".join(map(str, done.window_size))}'
    print(
        f'\nwritten: {args.out}, in the layout {args.to}{windows if done.window_size else ""}: '
        f'{len(done.report.missing)} missing'
    )
    if args.to == OURS:
        start = "model.backbone.init_cfg=dict(type='Pretrained', checkpoint={!r})"
        print('To start a training from it:', end=' ')
        print(f'load_from={args.out!r}' if done.whole else start.format(args.out))


if __name__ == '__main__':
    run_tool(main, parse_args())
