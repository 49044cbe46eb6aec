"""Draws the curves of a training or a sheet of images.

Examples:
    python tools/analyze.py curves work_dirs/retinanet_trtvit_b
    python tools/analyze.py sheet images --count 8     # what tools/test.py --show-dir wrote
"""

import argparse
from pathlib import Path

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
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mmtrtvit.analysis.curves import draw_curves
    from mmtrtvit.analysis.sheets import draw_sheet, pick_images

    if args.command == 'curves':
        out = draw_curves(args.work_dir, args.out or Path(args.work_dir, 'curves.png'))
    else:
        folder = Path(args.folder)
        out = draw_sheet(
            pick_images(folder, args.count),
            args.out or folder.with_suffix('.png'),
            title='ground truth (left) and prediction (right)',
        )
    print(f'written: {out}')


if __name__ == '__main__':
    run_tool(main, parse_args())
