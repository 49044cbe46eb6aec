"""Trains the model of a config.

Examples:
  python tools/train.py configs/demo/retinanet_trtvit_b.py --work-dir work_dirs/first
  python tools/train.py CONFIG --resume
  python tools/train.py CONFIG --batch auto --auto-scale-lr    # as many images as fit
  python tools/train.py CONFIG --cfg-options train_dataloader.batch_size=8
  python tools/train.py CONFIG --tracker tensorboard wandb
  torchrun --nproc_per_node 4 tools/train.py CONFIG --launcher pytorch
"""

import argparse

from mmtrtvit.arguments import batch_size
from mmtrtvit.engine.command_line import make_parser, run_tool
from mmtrtvit.engine.trackers import TRACKERS
from mmtrtvit.tables import format_table


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train in mixed precision; on a CPU in bfloat16, if it has that',
    )
    parser.add_argument(
        '--batch',
        type=batch_size,
        metavar='N|auto',
        help='images in a batch of each process; auto finds the most that fit into the memory, by '
        'trying on a GPU, by measuring two batches on a CPU',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch size, by auto_scale_lr of the config',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint; without a name, from the newest in the work dir',
    )
    parser.add_argument(
        '--tracker',
        nargs='+',
        choices=TRACKERS,
        metavar='NAME',
        help='send metrics, validation images and the config to these, too: '
        f'{", ".join(TRACKERS)}; of a config, trackers',
    )
    parser.add_argument(
        '--ignore-findings',
        action='store_true',
        help='train although the annotations have errors, which are logged; the training may fail '
        'or learn something wrong',
    )
    parser.add_argument(
        '--no-report',
        dest='report',
        action='store_false',
        help='do not write report.html when the training has ended; tools/report.py does',
    )
    args = parser.parse_args()
    if args.batch == 'auto' and args.resume:
        parser.error('--batch auto is for a new training; one that goes on keeps its batch size')
    return args


def main(args: argparse.Namespace) -> None:
    from mmengine.dist import is_main_process

    from mmtrtvit.analysis.batch_size import use_batch
    from mmtrtvit.engine.amp import use_amp
    from mmtrtvit.engine.config import read_config
    from mmtrtvit.engine.runner import train, use_scaled_lr
    from mmtrtvit.weights.checkpoints import newest_checkpoint

    config = read_config(
        args.config, args.cfg_options, work_dir=args.work_dir, launcher=args.launcher
    )
    if args.log_level:
        config.log_level = args.log_level
    if args.amp and (notice := use_amp(config)):
        print(notice)
    if args.tracker:
        config.trackers = args.tracker
    if args.batch:
        for line in use_batch(config, args.batch):
            print(line)
    if args.auto_scale_lr:
        use_scaled_lr(config)
    try:
        result = train(config, args.resume, ignore_findings=args.ignore_findings)
    except KeyboardInterrupt as stop:  # Ctrl-C, or SIGTERM
        last = newest_checkpoint(config.work_dir)
        raise type(stop)(
            f'--resume goes on from {last}' if last else 'there is no checkpoint yet'
        ) from None
    if is_main_process():
        left = {name: value for name, value in vars(result).items() if value is not None}
        print(f'\n{format_table(left)}')
    if args.report and is_main_process():
        from mmtrtvit.report.after_training import report_after

        print(f'\n{report_after(result, config)}')


if __name__ == '__main__':
    run_tool(main, parse_args())
