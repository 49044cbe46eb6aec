"""Writes an exported model into a model repository of NVIDIA's Triton server.

Examples:
  python tools/export_triton.py work_dirs/retinanet_trtvit_b/deploy models --name shapes
  python tools/export_triton.py WORK_DIR models --gpus 0 1 --instances 2 --max-batch-size 16
  python tools/export_triton.py WORK_DIR models --preprocessing   # clients send uint8 images
  python tools/export_triton.py WORK_DIR models --version 2 --versions latest:2 --warm-up 480 640

Then, with the server's gRPC port (pip install "tritonclient[grpc]"):
  python -m mmtrtvit.runtime WORK_DIR IMAGE --server localhost:8001 --model-name shapes
"""

import argparse

from mmtrtvit.arguments import positive
from mmtrtvit.deploy.triton_serving import Serving
from mmtrtvit.engine.command_line import new_parser, run_tool
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
        '--version',
        type=positive,
        default=Serving.version,
        metavar='N',
        help='number of the version to write (default: %(default)s)',
    )
    parser.add_argument(
        '--versions', metavar='all|latest:N|N,N', help='what the server offers (default: latest:1)'
    )
    parser.add_argument(
        '--warm-up',
        type=positive,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='image that each copy runs before it takes requests',
    )
    parser.add_argument(
        '--profiles', type=int, nargs='+', default=(), metavar='N', help="the engine's to use"
    )
    parser.add_argument(
        '--response-cache',
        action='store_true',
        help='answer the same request from the cache (tritonserver --cache-config ...)',
    )
    parser.add_argument(
        '--resources',
        type=resource,
        nargs='+',
        default=(),
        metavar='NAME:N',
        help='what a run takes of what the server has (tritonserver --rate-limit execution_count)',
    )
    parser.add_argument(
        '--priority', type=positive, metavar='N', help='turn where resources are scarce: 1 is first'
    )
    parser.add_argument(
        '--preprocessing',
        action='store_true',
        help='let clients send uint8 images, and the server normalise them',
    )
    return parser.parse_args()


def resource(text: str) -> tuple[str, int]:
    name, _, count = text.rpartition(':')
    if not name.isidentifier() or not count.isdecimal() or not int(count):
        raise argparse.ArgumentTypeError(f'{text!r} is no NAME:N')
    return name, int(count)


def main(args: argparse.Namespace) -> None:
    from mmtrtvit.deploy.triton_repository import export_triton

    engine = read_work_dir(args.work_dir).net.suffix in ENGINES
    gpus = tuple(args.gpus or ((0,) if engine else ()))
    serving = Serving(
        args.max_batch_size,
        args.instances,
        gpus,
        args.queue_delay,
        version=args.version,
        versions=args.versions,
        warm_up=args.warm_up and tuple(args.warm_up),
        profiles=tuple(args.profiles),
        response_cache=args.response_cache,
        resources=dict(args.resources),
        priority=args.priority,
    )
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
