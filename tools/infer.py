"""Draws and writes what a model finds in images, videos, webcams and streams.

Examples:
  python tools/infer.py configs/demo/retinanet_trtvit_b.py RUN data/shapes/images
  python tools/infer.py CONFIG CHECKPOINT street.jpg holiday "scans/*.tif" drive.mp4
  python tools/infer.py CONFIG CHECKPOINT 0 --show      # webcam 0, until q is pressed
  python tools/infer.py CONFIG CHECKPOINT rtsp://camera/stream --duration 60

Ends with exit code 1 if there is no prediction for any input.
"""

import argparse
from functools import partial
from pathlib import Path

from tqdm import tqdm

from mmtrtvit.engine.command_line import (
    add_cfg_options,
    add_precision,
    new_parser,
    run_tool,
    tell_checkpoint,
)
from mmtrtvit.runtime.options import add_run_options, run_options
from mmtrtvit.runtime.progress import tell
from mmtrtvit.signals import terminable


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='weights of this model, or the work dir of a run')
    add_run_options(parser, out_dir='work_dirs/<config name>/infer', at_once='images')
    parser.add_argument('--device', help='cpu, cuda:0, ... (default: cuda:0 if there is one)')
    add_precision(parser)
    add_cfg_options(parser)
    return parser.parse_args()


@terminable()
def main(args: argparse.Namespace) -> None:
    from mmtrtvit.engine.config import read_config
    from mmtrtvit.engine.inference import infer

    config = read_config(args.config, args.cfg_options)
    result = infer(
        config,
        tell_checkpoint(args.checkpoint),
        inputs=args.inputs,
        out_dir=args.out_dir or Path(config.work_dir, 'infer'),
        device=args.device,
        precision=args.precision,
        **run_options(args),
        progress=partial(tqdm, unit='image', leave=False, disable=None),
        tell=tell,
    )
    result.report(args.score_thr)


if __name__ == '__main__':
    run_tool(main, parse_args())
