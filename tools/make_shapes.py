"""Generates the shapes data set, for detection, instance and semantic segmentation alike.

Examples:
  python tools/make_shapes.py data/shapes --train 2000 --val 400 --size 192
  python tools/make_shapes.py data/shape_folders --folders --size 96    # for classifiers

A finished data set of the same arguments is left alone, so that the command may be repeated.
"""

import argparse
from inspect import signature

from tqdm import tqdm

from mmtrtvit.engine.command_line import new_parser, run_tool


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument(
        'root',
        nargs='?',
        default='data/shapes',
        help='folder to write: absent, empty or made by this command (default: %(default)s)',
    )
    parser.add_argument(
        '--train',
        type=int,
        metavar='N',
        help='training images (default: 1440, or 640 with --folders)',
    )
    parser.add_argument(
        '--val', type=int, default=200, metavar='N', help='validation images (default: 200)'
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs='+',
        metavar='PIXELS',
        help='height and width of the images, or one number for squares (default: 256, or 96 with '
        '--folders)',
    )
    parser.add_argument(
        '--objects',
        type=int,
        nargs=2,
        default=[2, 6],
        metavar=('MIN', 'MAX'),
        help='fewest and most objects in an image (default: 2 6)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='equal seeds give equal files (default: 0)'
    )
    parser.add_argument(
        '--folders',
        action='store_true',
        help='one shape in each image, in a folder for its class: data for classifiers',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace shapes of other arguments in ROOT; files of other origin stay',
    )
    return parser.parse_args()


def print_summary(summary: dict) -> None:
    """Prints one row per split."""
    rows = [
        {'split': name, 'images': split['images'], **split['instances'], **split['sizes']}
        for name, split in summary['splits'].items()
    ]
    for row in (rows[0], *(row.values() for row in rows)):
        print(f'{next(iter(row)):<12}' + ''.join(f'{cell:>10}' for cell in list(row)[1:]))
    print(f'\n{"written to" if summary["written"] else "already complete in"} {summary["root"]}')


def main(args: argparse.Namespace) -> None:
    from mmtrtvit.datasets import make_shape_folders, make_shapes

    defaults = signature(make_shape_folders if args.folders else make_shapes).parameters
    train, size = args.train or defaults['train'].default, args.size or defaults['size'].default
    if not isinstance(size, int) and len(size) == 1:
        (size,) = size
    try:
        with tqdm(total=train + args.val, unit='image', leave=False, disable=None) as bar:
            common = dict(val=args.val, size=size, seed=args.seed, progress=bar.update)
            if args.folders:
                print(f'complete in {make_shape_folders(args.root, train, **common)}')
                return
            summary = make_shapes(
                args.root, train, objects=args.objects, overwrite=args.overwrite, **common
            )
    except (ValueError, FileExistsError) as error:
        raise SystemExit(f'error: {error}') from error
    print_summary(summary)


if __name__ == '__main__':
    run_tool(main, parse_args())
