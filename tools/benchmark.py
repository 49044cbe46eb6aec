"""Times models side by side: weights in PyTorch, ONNX files, OpenVINO models, TensorRT engines.

Examples:
  python tools/benchmark.py end2end.onnx end2end.engine --shape 800x1344
  python tools/benchmark.py end2end.onnx RUN --config CONFIG --batch 1 4 --device cuda:0
  python tools/benchmark.py end2end.onnx --layers --json times.json    # where the time goes
  python tools/benchmark.py end2end.onnx end2end.xml --threads 2

A time is from arrays in memory to arrays in memory, on noise: a detector's NMS has less to do than
on images. The models take turns. Layers are those of the runtime: ONNX Runtime's on the CPU,
OpenVINO's, and an engine's, each measured by its own profiler; their sum is more than the time
without the profiler.
"""

import argparse
import json
from dataclasses import asdict

from mmtrtvit.arguments import add_timeout, positive, size
from mmtrtvit.engine.command_line import add_precision, new_parser, run_tool


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument(
        'models',
        nargs='+',
        metavar='MODEL',
        help='.onnx, .xml or .engine file; with --config also weights, or the work dir of a run',
    )
    parser.add_argument('--config', help='config of the weights')
    parser.add_argument(
        '--shape',
        type=size,
        default=(480, 640),
        metavar='HxW',
        help='height and width of the images (default: 480x640)',
    )
    parser.add_argument(
        '--batch',
        type=positive,
        nargs='+',
        default=[1],
        metavar='N',
        help='images at once, one or several numbers (default: 1)',
    )
    parser.add_argument(
        '--rounds', type=positive, default=50, metavar='N', help='default: %(default)s'
    )
    parser.add_argument(
        '--warmup',
        type=positive,
        default=5,
        metavar='N',
        help='rounds before those that count (default: %(default)s)',
    )
    parser.add_argument(
        '--device',
        default='cpu',
        help='cpu, cuda:0, or openvino, which runs ONNX files in OpenVINO (default: %(default)s; '
        'engines: cuda:0)',
    )
    parser.add_argument(
        '--threads',
        type=int,
        default=0,
        metavar='N',
        help='threads of one operator on the CPU (default: one per core)',
    )
    add_precision(parser)
    add_timeout(parser)
    parser.add_argument('--layers', action='store_true', help='show where the time of graphs goes')
    parser.add_argument(
        '--modules',
        type=positive,
        default=10,
        metavar='N',
        help='number of the slowest modules to show with --layers (default: %(default)s)',
    )
    parser.add_argument('--json', metavar='FILE', help='file to write all numbers to')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    from mmtrtvit.deploy.measure.benchmark import benchmark, format_latencies, format_shares
    from mmtrtvit.environment import environment
    from mmtrtvit.files import write_whole

    result = benchmark(
        args.models,
        args.config,
        size=args.shape,
        batches=args.batch,
        rounds=args.rounds,
        warmup=args.warmup,
        device=args.device,
        threads=args.threads,
        timeout=args.timeout,
        precision=args.precision,
        layers=args.layers,
    )
    print(format_latencies(result))
    for name, layers in result.layers.items():
        print(f'\n{name}\n{format_shares(layers, args.modules)}')
    if args.json:
        content = dict(asdict(result), environment=environment(), arguments=vars(args))
        write_whole(args.json, json.dumps(content, indent=1))


if __name__ == '__main__':
    run_tool(main, parse_args())
