"""Checks the data of a config before a training, and draws some of it.

Examples:
  python tools/check_data.py configs/demo/mask_rcnn_efficientvit_m2.py
  python tools/check_data.py CONFIG --count 20 --out-dir look
  python tools/check_data.py CONFIG --count 0      # draws nothing
  python tools/check_data.py CONFIG --fix mended   # writes corrected annotation files

Ends with exit code 1 if a training would fail or learn something wrong. All that was found is
written to findings.json beside the images, and with images onto a page, index.html.
"""

import argparse
from functools import partial
from pathlib import Path

from tqdm import tqdm

from mmtrtvit.engine.command_line import add_cfg_options, new_parser, run_tool

SHOWN = 4  # places of each finding; findings.json has all


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument('config', help='config file')
    add_cfg_options(parser)
    parser.add_argument(
        '--out-dir',
        metavar='DIR',
        type=Path,
        help='folder for the images and findings.json (default: work_dirs/<config name>/data)',
    )
    parser.add_argument(
        '--count',
        type=int,
        default=8,
        metavar='N',
        help='images to draw of each split, those with findings first (default: %(default)s)',
    )
    parser.add_argument(
        '--html',
        metavar='FILE',
        type=Path,
        help='the page with all of this (default: index.html beside the images, none for --count '
        '0); one file that needs no other',
    )
    parser.add_argument(
        '--workers',
        type=int,
        metavar='N',
        help='threads that read images (default: one per core, at most 16)',
    )
    parser.add_argument(
        '--fix',
        metavar='OUT',
        type=Path,
        help='write copies of the annotation files in COCO format into this folder, where what has '
        'one right reading is mended: ids as text, points in lists, images listed twice, ...; '
        'the originals stay',
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mmtrtvit.annotations.findings import format_findings
    from mmtrtvit.datasets.inspection import inspect_data
    from mmtrtvit.datasets.inspection.drawing import draw_inspection
    from mmtrtvit.datasets.inspection.mending import format_mended, mend_data
    from mmtrtvit.datasets.inspection.page import write_page
    from mmtrtvit.datasets.inspection.report import format_counts, size_rows, write_findings
    from mmtrtvit.engine.config import read_config
    from mmtrtvit.tables import format_rows

    config = read_config(args.config, args.cfg_options)
    out = args.out_dir or Path(config.work_dir, 'data')
    inspection = inspect_data(
        config, args.workers, partial(tqdm, unit='image', leave=False, disable=None)
    )
    written = [write_findings(inspection, out / 'findings.json')]
    print(format_counts(inspection.splits), end='\n\n')
    if rows := size_rows(inspection.sizes):
        print(format_rows(rows), end='\n\n')
    for line in format_findings([*inspection.findings, *inspection.hints], SHOWN):
        print(line)
    written += draw_inspection(inspection, out, args.count)
    if args.html or args.count:
        page = args.html or out / 'index.html'
        written.append(write_page(inspection, page, name=Path(args.config).name, count=args.count))
    print('\nwritten:', *written, sep='\n  ')
    if args.fix:
        print('\nmended:', *format_mended(mend_data(config, args.fix)), sep='\n  ')
    print(f'\n{inspection.verdict}')
    if not inspection.trains:
        raise SystemExit(1)


if __name__ == '__main__':
    run_tool(main, parse_args())
