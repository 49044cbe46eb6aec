"""Converts a YOLO or Pascal VOC data set into annotation files in COCO format, or label maps.

Examples:
  python tools/convert_data.py yolo /path/to/data data/mine
  python tools/convert_data.py voc VOCdevkit/VOC2012 data/voc --classes person dog cat
  python tools/convert_data.py labels masks/train labels/train --map 255:1

The images stay where they are, unless --copy is given. Prints a config for the converted data.
"""

import argparse
import importlib.util
from functools import partial

from tqdm import tqdm

from mmtrtvit.engine.command_line import new_parser, run_tool


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    formats = parser.add_subparsers(dest='format', required=True)
    yolo = formats.add_parser('yolo', help='data.yaml and a .txt file per image')
    yolo.add_argument('source', help='folder with data.yaml, or such a file of another name')
    voc = formats.add_parser('voc', help='an .xml file per image')
    voc.add_argument(
        'source',
        help='folder with Annotations, JPEGImages and ImageSets/Main, or with a folder per split',
    )
    voc.add_argument(
        '--classes',
        nargs='+',
        metavar='NAME',
        help='names of the classes in their order (default: all that occur, by the alphabet)',
    )
    for command in (yolo, voc):
        command.add_argument('out', help='folder for train.json, val.json and test.json')
        command.add_argument('--copy', action='store_true', help='copy the images into OUT, too')
        command.add_argument(
            '--overwrite', action='store_true', help='replace files of these names in OUT'
        )
    add_labels(formats)
    return parser.parse_args()


def add_labels(formats: argparse._SubParsersAction) -> None:
    labels = formats.add_parser('labels', help='label maps: other numbers for their classes')
    labels.add_argument('source', help='folder with label maps, also in folders in it')
    labels.add_argument('out', help='folder for the new ones, as PNG of one channel')
    labels.add_argument(
        '--map',
        nargs='+',
        default=[],
        metavar='OLD:NEW',
        help='new values of pixels, such as 255:1; others stay',
    )
    labels.add_argument('--overwrite', action='store_true', help='replace files in OUT')


def convert_labels(args: argparse.Namespace) -> None:
    from mmtrtvit.datasets.labels import convert_labels, parse_map

    track = partial(tqdm, unit='map', leave=False, disable=None)
    converted = convert_labels(
        args.source, args.out, values=parse_map(args.map), overwrite=args.overwrite, track=track
    )
    for title, counts in (('before', converted.before), ('after', converted.after)):
        shares = ', '.join(f'{value}: {count:,}' for value, count in sorted(counts.items()))
        print(f'pixels by value {title}: {shares}')
    print(f'written: {len(converted.files)} label maps in {args.out}')


def main(args: argparse.Namespace) -> None:
    if args.format == 'labels':
        convert_labels(args)
        return
    from mmtrtvit.datasets.convert import config_snippet, convert
    from mmtrtvit.datasets.report import format_class_counts
    from mmtrtvit.datasets.voc import find_voc
    from mmtrtvit.datasets.yolo import find_yolo
    from mmtrtvit.errors import UserError

    if importlib.util.find_spec('supervision') is None:
        raise UserError(
            'supervision, which reads these formats, is not installed. Install it '
            'with: pip install "mmtrtvit[data]"'
        )
    files = find_yolo(args.source) if args.format == 'yolo' else find_voc(args.source, args.classes)
    converted = convert(
        files,
        args.out,
        copy=args.copy,
        overwrite=args.overwrite,
        track=partial(tqdm, unit='image', leave=False, disable=None),
    )
    splits = converted.splits
    below = {
        'images': {name: split.images for name, split in splits.items()},
        'without objects': {name: split.empty for name, split in splits.items()},
        'boxes without polygon': {name: split.boxes_only for name, split in splits.items()},
    }
    print(
        format_class_counts(
            'objects of class', {name: split.counts for name, split in splits.items()}, below
        )
    )
    print('\nwritten:', *(split.file for split in splits.values()), sep='\n  ')
    print(f'\nA config for this data:\n\n{config_snippet(converted)}')


if __name__ == '__main__':
    run_tool(main, parse_args())
