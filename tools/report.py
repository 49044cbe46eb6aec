"""Writes a page about a run: metrics, curves, confusion, errors, images, cost.

Examples:
  python tools/report.py work_dirs/retinanet_trtvit_b
  python tools/report.py RUN --checkpoint RUN/best_coco_bbox_mAP_epoch_9.pth --out best.html
  python tools/report.py RUN --config CONFIG --images 16

The page, WORK_DIR/report.html, is one file that works without a network. The checkpoint is
evaluated as tools/test.py does, once: WORK_DIR/report keeps the predictions.
"""

import argparse

from mmtrtvit.engine.command_line import add_cfg_options, new_parser, run_tool


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument('work_dir', metavar='WORK_DIR', help='folder that tools/train.py wrote')
    parser.add_argument('--config', help='config file (default: the one in the folder)')
    parser.add_argument('--checkpoint', help='weights (default: the newest in the folder)')
    parser.add_argument(
        '--images',
        type=int,
        default=8,
        metavar='N',
        help='images of each kind: worst, most confusing, best, random (default: %(default)s)',
    )
    parser.add_argument('--out', metavar='FILE', help='default: WORK_DIR/report.html')
    add_cfg_options(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mmtrtvit.report.page import report
    from mmtrtvit.tables import format_table

    out, evaluation = report(
        args.work_dir,
        config=args.config,
        checkpoint=args.checkpoint,
        options=args.cfg_options,
        images=args.images,
        out=args.out,
    )
    print(f'\n{format_table(evaluation.metrics)}\n\nwritten: {out}')


if __name__ == '__main__':
    run_tool(main, parse_args())
