"""Writes a page about a run: metrics, curves, confusion, errors, images; or compares runs.

Examples:
  python tools/report.py work_dirs/retinanet_trtvit_b
  python tools/report.py RUN --checkpoint RUN/epoch_12.pth --out last.html
  python tools/report.py RUN --config CONFIG --images 16
  python tools/report.py RUN1 RUN2 --out compared.html    # configs, curves, classes, images

The page, WORK_DIR/report.html, is one file that works without a network. The checkpoint is
evaluated as tools/test.py does, once: WORK_DIR/report keeps the predictions. Runs beside each
other are those of the same data; what is gained is that of the last over the first.
"""

import argparse

from mmtrtvit.engine.command_line import add_cfg_options, new_parser, run_tool


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument(
        'work_dirs',
        nargs='+',
        metavar='WORK_DIR',
        help='folder that tools/train.py wrote; several are compared',
    )
    parser.add_argument('--config', help='config file of one run (default: the one in the folder)')
    parser.add_argument(
        '--checkpoint', help='weights of one run (default: the best in the folder, else the newest)'
    )
    parser.add_argument(
        '--images',
        type=int,
        default=8,
        metavar='N',
        help='images of each kind: worst, most confusing, best, random; or those that gained and '
        'lost most (default: %(default)s)',
    )
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='default: WORK_DIR/report.html, and comparison.html in the last one of several',
    )
    add_cfg_options(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mmtrtvit.errors import UserError
    from mmtrtvit.report.comparison import compare
    from mmtrtvit.report.page import report
    from mmtrtvit.tables import format_table

    options = dict(options=args.cfg_options, images=args.images, out=args.out)
    if len(args.work_dirs) == 1:
        one = dict(config=args.config, checkpoint=args.checkpoint)
        out, evaluation = report(args.work_dirs[0], **one, **options)
        evaluations = {'': evaluation}
    elif args.config or args.checkpoint:
        raise UserError('--config and --checkpoint are for a report on one run.')
    else:
        out, evaluations = compare(args.work_dirs, **options)
    for name, evaluation in evaluations.items():
        print('', *filter(None, [name]), format_table(evaluation.metrics), sep='\n')
    print(f'\nwritten: {out}')


if __name__ == '__main__':
    run_tool(main, parse_args())
