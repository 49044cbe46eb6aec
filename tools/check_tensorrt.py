"""Builds TensorRT engines of an exported model and reports how they do, on a machine with a GPU.

Examples:
  python tools/check_tensorrt.py work_dirs/retinanet_trtvit_b/deploy data/shapes/images/validation/*
  python tools/check_tensorrt.py WORK_DIR a.jpg --precisions fp32 tf32 fp16 --config CONFIG

Each engine is compared with ONNX Runtime on the images and timed on the first; with --config, the
metrics of both on the test data are compared as well. An engine takes sizes between those of the
smallest and the largest image that is given. The report has the versions, the options, the
differences, the times of all stages and the errors: please attach it to a bug report.

Ends with exit code 0 if all engines agree, 2 if one differs, failed or found nothing to compare,
3 if there is no TensorRT or no GPU here, 1 if an input is wrong.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from mmtrtvit.deploy.backends.tensorrt.options import PRECISIONS, EngineOptions
from mmtrtvit.engine.command_line import new_parser, run_tool

DIFFERENT, UNAVAILABLE = 2, 3


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument('work_dir', help='folder that tools/deploy.py wrote')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='images to compare on')
    parser.add_argument(
        '--precisions',
        nargs='+',
        choices=PRECISIONS,
        metavar='NAME',
        help=f'of {", ".join(PRECISIONS)}; default: that of the ONNX file',
    )
    parser.add_argument('--config', help='config of the model, to compare metrics on its test data')
    parser.add_argument(
        '--engine-dir', metavar='DIR', help='folder for the engines (default: WORK_DIR/check)'
    )
    parser.add_argument(
        '--out', metavar='FILE', help='the report (default: WORK_DIR/check/tensorrt.json)'
    )
    parser.add_argument('--device', default='cuda:0', help='default: %(default)s')
    parser.add_argument(
        '--rounds', type=int, default=50, metavar='N', help='of timing (default: %(default)s)'
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mmtrtvit.deploy.backends.tensorrt.build import EngineUnavailable
    from mmtrtvit.deploy.measure.engines import check_engines, summary
    from mmtrtvit.errors import message
    from mmtrtvit.files import write_whole

    folder = Path(args.engine_dir or Path(args.work_dir, 'check'))
    options = [EngineOptions(precision) for precision in args.precisions or [None]]
    try:
        report = check_engines(
            args.work_dir,
            args.images,
            options=options,
            folder=folder,
            device=args.device,
            rounds=args.rounds,
            evaluate=make_evaluate(args.config) if args.config else None,
        )
    except EngineUnavailable as error:
        print(message(error))
        raise SystemExit(UNAVAILABLE) from error
    out = Path(args.out or folder / 'tensorrt.json')
    write_whole(out, json.dumps(report, indent=1, default=str))
    print('\n'.join(summary(report)))
    print(f'\nwritten: {out}')
    if not all(entry.get('agree') for entry in report['engines']):
        raise SystemExit(DIFFERENT)


def make_evaluate(config: str) -> Callable[[Path], dict[str, float]]:
    from mmtrtvit.deploy.verify.evaluation import evaluate_graph
    from mmtrtvit.engine.config import read_config

    return lambda path: evaluate_graph(read_config(config), path)


if __name__ == '__main__':
    run_tool(main, parse_args())
