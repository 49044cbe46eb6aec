"""Writes an exported model into a model repository of NVIDIA's Triton server.

Examples:
  python tools/export_triton.py work_dirs/retinanet_trtvit_b/deploy models --name shapes
  python tools/export_triton.py WORK_DIR models --gpus 0 1 --instances 2 --max-batch-size 16
  python tools/export_triton.py WORK_DIR models --preprocessing   # clients send uint8 images

Then, with the server's gRPC port (pip install "tritonclient[grpc]"):
  python -m mmtrtvit.runtime WORK_DIR IMAGE --server localhost:8001 --model-name shapes
"""

import argparse

from mmtrtvit.deploy.triton_repository import Serving, export_triton
from mmtrtvit.engine.command_line import new_parser, positive, run_tool
from mmtrtvit.runtime import read_work_dir
from mmtrtvit.runtime.sessions.opening import ENGINES


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument('work_dir', help='folder that tools/deploy.py wrote')
    parser.add_argument('repository', help='folder of the models of a server')
    parser.add_argument('--name', help='of the model (default: the name of the work dir)')
    parser.add_argument(
        '--max-batch-size',
        type=positive,
        default=Serving.max_batch_size,
        metavar='N',
        help='most images at once (default: %(default)s)',
    )
    parser.add_argument(
        '--instances',
        type=positive,
        default=Serving.instances,
        metavar='N',
        help='copies of the model on each GPU, or on the CPU (default: %(default)s)',
    )
    parser.add_argument(
        '--gpus',
        type=int,
        nargs='+',
        metavar='N',
        help='numbers of the GPUs (default: 0 for an engine, none for an ONNX file)',
    )
    parser.add_argument(
        '--queue-delay',
        type=int,
        default=Serving.queue_delay,
        metavar='MICROSECONDS',
        help='time that an image waits for others to share a batch (default: %(default)s)',
    )
    parser.add_argument(
        '--preprocessing',
        action='store_true',
        help='let clients send uint8 images, and the server normalise them',
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    engine = read_work_dir(args.work_dir).net.suffix in ENGINES
    gpus = tuple(args.gpus or ((0,) if engine else ()))
    serving = Serving(args.max_batch_size, args.instances, gpus, args.queue_delay)
    folders = export_triton(
        args.work_dir,
        args.repository,
        name=args.name,
        serving=serving,
        preprocessing=args.preprocessing,
    )
    for folder in folders:
        print(folder)


if __name__ == '__main__':
    run_tool(main, parse_args())
