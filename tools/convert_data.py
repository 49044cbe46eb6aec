"""Converts data sets of other formats into annotation files in COCO format, or label maps.

Examples:
  python tools/convert_data.py yolo /path/to/data data/mine
  python tools/convert_data.py voc VOCdevkit/VOC2012 data/voc --classes person dog cat
  python tools/convert_data.py cvat annotations.xml data/mine --val 0.2
  python tools/convert_data.py labels masks/train labels/train --map 255:1

The images stay where they are, unless --copy is given. Prints a config for the converted data.
"""

import argparse
import importlib.util
from functools import partial

from tqdm import tqdm

from mmtrtvit.engine.command_line import new_parser, run_tool

# Format: what it is, and what source is.
FORMATS = {
    'yolo': (
        'data.yaml, obj.data or classes.txt, and a .txt file per image',
        'folder with such a file, or the file',
    ),
    'voc': (
        'an .xml file per image',
        'folder with Annotations, JPEGImages and ImageSets/Main, or with a folder per split',
    ),
    'cvat': (
        'annotations.xml, "CVAT for images 1.1"',
        'that file, or its folder; the images lie anywhere in it',
    ),
    'labelme': ('a .json file of labelme per image', 'folder with images and .json files'),
    'label-studio': (
        'a .json file of Label Studio, "JSON"',
        'that file; the images lie anywhere in its folder',
    ),
}


def share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise ValueError
    return value


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    formats = parser.add_subparsers(dest='format', required=True)
    for name, (text, source) in FORMATS.items():
        command = formats.add_parser(name, help=text)
        command.add_argument('source', help=source)
        command.add_argument('out', help='folder for train.json, val.json and test.json')
        if name != 'yolo':
            command.add_argument(
                '--classes',
                nargs='+',
                metavar='NAME',
                help='names of the classes in their order (default: all that occur, by the '
                'alphabet)',
            )
        command.add_argument(
            '--val',
            type=share,
            metavar='SHARE',
            help='share of the images that becomes val where there is no val, such as 0.2; the '
            'same ones each time',
        )
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
    from mmtrtvit.datasets.formats.by_name import find
    from mmtrtvit.datasets.inspection.report import format_class_counts
    from mmtrtvit.errors import UserError

    if importlib.util.find_spec('supervision') is None:
        raise UserError(
            'supervision, which reads these formats, is not installed. Install it '
            'with: pip install "mmtrtvit[data]"'
        )
    files = find(args.format, args.source, getattr(args, 'classes', None))
    converted = convert(
        files,
        args.out,
        val=args.val,
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
    for note in converted.notes:
        print(f'\nnote: {note}')
    print('\nwritten:', *(split.file for split in splits.values()), sep='\n  ')
    print(f'\nA config for this data:\n\n{config_snippet(converted)}')


if __name__ == '__main__':
    run_tool(main, parse_args())
