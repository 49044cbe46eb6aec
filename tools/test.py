"""Evaluates a checkpoint on the test data of its config.

Examples:
  python tools/test.py configs/demo/retinanet_trtvit_b.py work_dirs/demo/retinanet_trtvit_b
  python tools/test.py CONFIG CHECKPOINT --show-dir pictures --out predictions.pkl
  python tools/test.py CONFIG CHECKPOINT --fuse    # sooner, the same metrics
"""

import argparse

from mmtrtvit.engine.command_line import format_table, make_parser, run_tool


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('checkpoint', help='weights of this model')
    parser.add_argument('--out', metavar='FILE.pkl', help='file to pickle the predictions to')
    parser.add_argument(
        '--show-dir', metavar='DIR', help='folder for pictures of the predictions')
    parser.add_argument(
        '--fuse', action='store_true',
        help='evaluate the copy for inference that mmtrtvit.models.fuse makes of the model')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mmengine.dist import is_main_process

    from mmtrtvit.engine.config import read_config
    from mmtrtvit.engine.runner import evaluate

    config = read_config(args.config, args.cfg_options, args.work_dir, args.launcher)
    metrics = evaluate(config, args.checkpoint, args.out, args.show_dir, args.fuse)
    if is_main_process():
        print(f'\n{format_table(metrics)}')


if __name__ == '__main__':
    run_tool(main, parse_args())
