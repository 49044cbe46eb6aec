"""Draws and writes what a model finds in images, videos or the view of a webcam.

Examples:
  python tools/infer.py configs/demo/retinanet_trtvit_b.py RUN data/shapes/images
  python tools/infer.py CONFIG CHECKPOINT street.jpg holiday "scans/*.tif" drive.mp4
  python tools/infer.py CONFIG CHECKPOINT 0 --show      # webcam 0, until q is pressed

Ends with exit code 1 if there is no prediction for any input.
"""

import argparse
from functools import partial
from pathlib import Path

from tqdm import tqdm

from mmtrtvit.engine.command_line import add_cfg_options, new_parser, positive, run_tool
from mmtrtvit.signals import terminable


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='weights of this model, or the work dir of a run')
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help='image, video, folder (with all below it), glob pattern or number of a webcam',
    )
    parser.add_argument('--out-dir', metavar='DIR', help='default: work_dirs/<config name>/infer')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        metavar='SCORE',
        help='leave out detections up to this score (default: %(default)s)',
    )
    parser.add_argument('--device', help='cpu, cuda:0, ... (default: cuda:0 if there is one)')
    parser.add_argument(
        '--batch-size',
        type=positive,
        default=1,
        metavar='N',
        help='most images at once (default: %(default)s)',
    )
    parser.add_argument(
        '--max-frames', type=positive, metavar='N', help='most frames of each video and webcam'
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
    parser.add_argument('--show', action='store_true', help='show the images on the screen')
    add_cfg_options(parser)
    return parser.parse_args()


@terminable()
def main(args: argparse.Namespace) -> None:
    from mmtrtvit.engine.config import read_config
    from mmtrtvit.engine.inference import infer
    from mmtrtvit.runtime.annotations import read_annotations

    config = read_config(args.config, args.cfg_options)
    annotations = read_annotations(args.annotations) if args.annotations else None
    result = infer(
        config,
        args.checkpoint,
        inputs=args.inputs,
        out_dir=args.out_dir or Path(config.work_dir, 'infer'),
        device=args.device,
        score_thr=args.score_thr,
        batch_size=args.batch_size,
        max_frames=args.max_frames,
        annotations=annotations,
        images=args.images,
        predictions=args.predictions,
        show=args.show,
        track=partial(tqdm, unit='image', leave=False, disable=None),
    )
    result.report(args.score_thr)


if __name__ == '__main__':
    run_tool(main, parse_args())
