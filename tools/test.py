"""Evaluates a checkpoint, or what was exported from it, on the test data of its config.

Examples:
  python tools/test.py configs/demo/retinanet_trtvit_b.py work_dirs/demo/retinanet_trtvit_b
  python tools/test.py CONFIG CHECKPOINT --show-dir images --out predictions.pkl
  python tools/test.py CONFIG work_dirs/NAME/deploy/end2end.onnx
  python tools/test.py CONFIG CHECKPOINT --fuse    # faster, the same metrics
"""

import argparse
from pathlib import Path

from mmtrtvit.arguments import add_timeout
from mmtrtvit.engine.command_line import add_precision, make_parser, run_tool, tell_checkpoint
from mmtrtvit.tables import format_table


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        'checkpoint',
        help='weights of this model, the work dir of a run, or an exported .onnx, .xml or .engine',
    )
    parser.add_argument('--out', metavar='FILE.pkl', help='file to pickle the predictions to')
    parser.add_argument('--show-dir', metavar='DIR', help='folder for images of the predictions')
    parser.add_argument(
        '--fuse',
        action='store_true',
        help='evaluate the copy for inference that mmtrtvit.models.fuse makes of the model',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='merge what is found in copies of each image, flipped and in three sizes, or those of '
        'tta_pipeline in the config: better, and six times as slow',
    )
    add_precision(parser)
    add_timeout(parser)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mmengine.dist import is_main_process

    from mmtrtvit.deploy.verify.evaluation import evaluate_graph
    from mmtrtvit.engine.config import read_config
    from mmtrtvit.engine.runner import evaluate
    from mmtrtvit.engine.speed import FuseHook
    from mmtrtvit.engine.tta import use_tta
    from mmtrtvit.errors import UserError
    from mmtrtvit.runtime.sessions.opening import GRAPHS, no_timeout

    config = read_config(
        args.config, args.cfg_options, work_dir=args.work_dir, launcher=args.launcher
    )
    if args.log_level:
        config.log_level = args.log_level
    if Path(args.checkpoint).suffix in GRAPHS:
        if args.fuse or args.precision or args.tta:
            raise UserError(
                '--fuse, --precision and --tta are for weights; what is exported stays as it is.'
            )
        metrics = evaluate_graph(
            config,
            args.checkpoint,
            out=args.out,
            show_dir=args.show_dir,
            timeout=args.timeout,
        )
    else:
        if args.timeout is not None:
            raise no_timeout(args.checkpoint, 'PyTorch')
        hooks = [FuseHook(args.precision or 'fp32')] if args.fuse or args.precision else []
        if args.tta:
            hooks.append(use_tta(config))
        checkpoint = tell_checkpoint(args.checkpoint)
        metrics = evaluate(config, checkpoint, out=args.out, show_dir=args.show_dir, hooks=hooks)
    if is_main_process():
        print(f'\n{format_table(metrics)}')


if __name__ == '__main__':
    run_tool(main, parse_args())
