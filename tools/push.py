"""Gives a trained model to others: weights, config and a card, onto the Hub or into a folder.

Examples:
  python tools/push.py work_dirs/retinanet_trtvit_b hf://OWNER/REPO --license apache-2.0
  python tools/push.py epoch_12.pth models/retinanet --config retinanet.py --license cc-by-4.0

The card says what the model is, its metrics, data, licence and how to load it.
"""

import argparse

from mmtrtvit.engine.command_line import new_parser, run_tool, tell_checkpoint


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument('checkpoint', help='file, or work dir of a run, for its best one')
    parser.add_argument('target', help='hf://OWNER/REPO of the Hugging Face Hub, or a folder')
    parser.add_argument(
        '--license',
        required=True,
        metavar='NAME',
        help='of the weights, as the Hub calls it; it follows from the data and from what the '
        'training started from',
    )
    parser.add_argument('--config', metavar='FILE', help='default: the one in the work dir')
    parser.add_argument(
        '--data', metavar='TEXT', help='what the model was trained on, for the card'
    )
    parser.add_argument('--private', action='store_true', help='make a new repository private')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mmtrtvit.publish.push import push

    pushed = push(
        tell_checkpoint(args.checkpoint),
        args.target,
        license=args.license,
        config=args.config,
        data=args.data,
        private=args.private,
    )
    print(f'written: {pushed.place}: {", ".join(pushed.files)}')
    if not pushed.place.startswith('hf://'):
        print(f'To upload it: hf upload OWNER/REPO {pushed.place}')


if __name__ == '__main__':
    run_tool(main, parse_args())
