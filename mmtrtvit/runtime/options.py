"""Options of the command lines that predict: ``python -m mmtrtvit.runtime`` and ``tools/infer.py``.

Their names and meanings are here alone.
"""

import argparse
from typing import Any

from ..arguments import positive, seconds


def add_run_options(parser: argparse.ArgumentParser, *, out_dir: str, at_once: str) -> None:
    """Adds the inputs, and the options that :func:`run_options` reads.

    Args:
        parser: Parser of a command line.
        out_dir: What the help says of the default of ``--out-dir``.
        at_once: What the help says a batch has.
    """
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help='image, video, folder (with all below it), glob pattern, number of a webcam, or '
        'address of a stream (rtsp://, http://)',
    )
    parser.add_argument('--out-dir', metavar='DIR', help=f'default: {out_dir}')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        metavar='SCORE',
        help='leave out detections up to this score (default: %(default)s)',
    )
    parser.add_argument(
        '--batch-size',
        type=positive,
        default=1,
        metavar='N',
        help=f'most {at_once} at once (default: %(default)s)',
    )
    parser.add_argument(
        '--max-frames',
        type=positive,
        metavar='N',
        help='most frames of each video, webcam and stream',
    )
    parser.add_argument(
        '--duration',
        type=seconds,
        metavar='SECONDS',
        help='most time for each webcam and stream (default: until Ctrl-C)',
    )
    parser.add_argument(
        '--annotations',
        metavar='JSON',
        help='COCO annotations whose ids of images and categories predictions.json takes',
    )
    parser.add_argument(
        '--no-images',
        '--no-pictures',
        dest='images',
        action='store_false',
        help='write no drawn images',
    )
    parser.add_argument(
        '--no-predictions',
        dest='predictions',
        action='store_false',
        help='write no predictions.json and no label maps',
    )
    parser.add_argument(
        '--track',
        action='store_true',
        help='follow the objects of a detector through videos and streams (ByteTrack, of the '
        'package trackers): identities in the drawn video, in predictions.json and in tracks/*.txt',
    )
    parser.add_argument('--show', action='store_true', help='show the images on the screen')


def run_options(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what the options mean, for :func:`~.run.run`.

    Raises:
        UserError: If the annotations cannot be read.
    """
    from .annotations import read_annotations

    names = 'score_thr', 'batch_size', 'max_frames', 'duration', 'images', 'predictions', 'show'
    annotations = read_annotations(args.annotations) if args.annotations else None
    options = {name: getattr(args, name) for name in (*names, 'track')}
    return dict(options, annotations=annotations)
