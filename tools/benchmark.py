"""Times models side by side: configs, weights, exported files and timm's models, also on images.

A MODEL is
  a config             (a file, or a name that mmtrtvit lists), with random weights
  weights, a work dir  of a training; the config lies beside them, or is given by --config
  an exported file     end2end.onnx, .xml (OpenVINO), .engine (TensorRT), or its folder
  timm:NAME            a classifier of timm, with random weights; trt_vit_a to trt_vit_d are ours

Examples:
  python tools/benchmark.py end2end.onnx end2end.engine --shape 800x1344
  python tools/benchmark.py RUN RUN/deploy timm:resnet18 --shape 256x256 --figure speed.svg
  python tools/benchmark.py RUN RUN/deploy --images photos/       # from the file to the result
  python tools/benchmark.py A B --figure ap.svg --against metric --metric A=37.4 B=39.0
  python tools/benchmark.py end2end.onnx --layers --json times.json    # where the time goes
  python tools/benchmark.py end2end.onnx end2end.xml --threads 2 --batch 1 4 --csv times.csv

The models take turns, in another order each round, until their medians are certain: each with a
probability of 95 % within --max-spread, or until --time-limit. Each model is compared with the
first one, round by round; what chance, or less than 1 %, may explain is the same within noise.

Without --images a time is from arrays in memory to arrays in memory, on noise: a detector's NMS
has less to do than on images. With --images it is from the file to the result, in four stages:
read (decode), prepare (resize, normalise), network (with the NMS of detectors), results (boxes,
masks and label maps in pixels of the image). Each model prepares images as it does in use.

Weights run in PyTorch as the fused copy that tools/deploy.py exports, timm's models as timm has
them. MB is the most memory that a model holds, weights included; that of the GPU with --device
cuda:0. Layers are those of the runtime: ONNX Runtime's on the CPU, OpenVINO's, and an engine's,
each measured by its own profiler; their sum is more than the time without the profiler.
"""

import argparse
import json
from dataclasses import asdict

from mmtrtvit.arguments import add_timeout, positive, seconds, share, size
from mmtrtvit.engine.command_line import add_precision, new_parser, run_tool


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument('models', nargs='+', metavar='MODEL', help='what to time, see below')
    parser.add_argument(
        '--config', help='config of all weights (default: the one in the folder of each)'
    )
    add_work(parser.add_argument_group('what the models do').add_argument)
    add_measuring(parser.add_argument_group('measuring').add_argument)
    add_precision(parser)
    add_timeout(parser)
    add_outputs(parser.add_argument_group('results').add_argument)
    args = parser.parse_args()
    if args.against and not args.figure:
        parser.error('--against is for --figure FILE, which is missing')
    return args


def add_work(add) -> None:
    add(
        '--images',
        nargs='+',
        default=[],
        metavar='PATH',
        help='predict on these images, folders or patterns, one by one, instead of on noise',
    )
    add(
        '--shape',
        type=size,
        metavar='HxW',
        help='height and width of the noise (default: that of a file which takes no other, else '
        '480x640)',
    )
    add(
        '--batch',
        type=positive,
        nargs='+',
        default=[1],
        metavar='N',
        help='images of noise at once, one or several numbers (default: 1)',
    )


def add_measuring(add) -> None:
    add('--rounds', type=positive, metavar='N', help='exactly N (default: until it is certain)')
    add(
        '--max-spread',
        type=share,
        default=0.02,
        metavar='SHARE',
        help='how uncertain a median may be, plus or minus (default: 2%%, of 100 rounds or more)',
    )
    add(
        '--time-limit',
        type=seconds,
        default=60.0,
        metavar='SECONDS',
        help='most time for each number of images, unless --rounds is given (default: 60)',
    )
    add(
        '--warmup',
        type=positive,
        default=5,
        metavar='N',
        help='runs of each model before the first round (default: %(default)s)',
    )
    add(
        '--device',
        default='cpu',
        help='cpu, cuda:0, or openvino, which runs ONNX files in OpenVINO (default: %(default)s; '
        'engines: cuda:0)',
    )
    add(
        '--threads',
        type=int,
        default=0,
        metavar='N',
        help='threads of one operator on the CPU (default: one per core)',
    )


def add_outputs(add) -> None:
    add('--layers', action='store_true', help='show where the time of graphs goes')
    add(
        '--modules',
        type=positive,
        default=10,
        metavar='N',
        help='number of the slowest modules to show with --layers (default: %(default)s)',
    )
    add('--json', metavar='FILE', help='write all numbers')
    add('--csv', metavar='FILE', help='write a row for each model and number of images')
    add('--figure', metavar='FILE', help='draw the models over their latency: .svg, .png, .pdf')
    add(
        '--against',
        choices=('metric', 'params', 'macs'),
        help='what the figure draws over the latency: a metric, parameters, or multiply-adds '
        '(default: macs)',
    )
    add(
        '--metric',
        nargs='+',
        type=metric,
        default=[],
        metavar='[NAME] MODEL=VALUE',
        help='the metric of models, and its name; without a value, what the training logged for '
        'the weights, also for a verified fp32 file made of them',
    )


def metric(text: str) -> tuple[str, float | None]:
    """Parses ``MODEL=VALUE``, or the name of a metric."""
    model, equals, value = text.rpartition('=')
    if not equals:
        return text, None
    try:
        return model, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f'expected MODEL=NUMBER, not {text!r}') from None


def main(args: argparse.Namespace) -> None:
    from mmtrtvit.analysis.figures import kind_of_figure, save_figure
    from mmtrtvit.deploy.measure.benchmark import Ending, benchmark
    from mmtrtvit.deploy.measure.figure import draw
    from mmtrtvit.deploy.measure.opening import Running
    from mmtrtvit.deploy.measure.sources import find_images
    from mmtrtvit.deploy.measure.tables import csv_rows, format_result, format_shares, known
    from mmtrtvit.environment import environment
    from mmtrtvit.files import write_whole
    from mmtrtvit.tables import csv_text

    against = args.against or 'macs'
    if args.figure:
        kind_of_figure(args.figure)
    running = Running(args.device, args.threads, args.timeout, args.precision)
    result = benchmark(
        args.models,
        args.config,
        images=find_images(args.images),
        size=args.shape,
        batches=args.batch,
        running=running,
        ending=Ending(args.rounds, args.max_spread, args.time_limit, args.warmup),
        layers=args.layers,
        metrics={model: value for model, value in args.metric if value is not None},
        metric=next((name for name, value in args.metric if value is None), None),
        needed=against if args.figure else None,
    )
    print(format_result(result))
    for name, layers in result.layers.items():
        print(f'\n{name}\n{format_shares(layers, args.modules)}')
    conditions = known(result, running)
    if args.json:
        content = dict(
            asdict(result),
            conditions=conditions,
            environment=environment(),
            arguments=vars(args),
        )
        write_whole(args.json, json.dumps(content, indent=1))
    if args.csv:
        write_whole(args.csv, csv_text(list(csv_rows(result, conditions))))
    if args.figure:
        save_figure(draw(result, against, conditions), args.figure)


if __name__ == '__main__':
    run_tool(main, parse_args())
