r"""Builds a TensorRT engine from an ONNX file, on the GPU that it will run on.

Examples:
  python tools/onnx2tensorrt.py end2end.onnx end2end.engine \
      --min-shapes input:1x3x320x320 --opt-shapes input:1x3x800x1344 \
      --max-shapes input:4x3x1344x1344
  python tools/onnx2tensorrt.py fixed_size.onnx fixed_size.engine --optimization-level 5
  python tools/onnx2tensorrt.py retrained.onnx retrained.engine --refit refittable.engine

--min-shapes, --opt-shapes and --max-shapes may be given several times, once for each profile.
Needs neither PyTorch nor an MM package, but NumPy, onnx and tqdm beside TensorRT.
Ends with exit code 0 if there is an engine, 3 if there is no TensorRT or no GPU here, 1 otherwise.
"""

import argparse

from mmtrtvit.deploy.backends.tensorrt.options import (
    HARDWARE,
    LEVELS,
    PRECISIONS,
    WEIGHTS,
    EngineOptions,
    ShapeRange,
    parse_shapes,
)
from mmtrtvit.engine.command_line import new_parser, run_tool
from mmtrtvit.errors import UserError, message
from mmtrtvit.runtime.sessions.tensorrt_package import NoTensorRT
from mmtrtvit.tables import format_table

UNAVAILABLE = 3


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument('onnx', help='ONNX file')
    parser.add_argument('engine', help='file to write')
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        metavar='PRECISION',
        help=f'{", ".join(PRECISIONS)} (default: that of the ONNX file)',
    )
    for part, meaning in (('min', 'least'), ('opt', 'usual'), ('max', 'greatest')):
        parser.add_argument(
            f'--{part}-shapes',
            nargs='+',
            action='append',
            default=[],
            metavar='NAME:SHAPE',
            help=f'{meaning} shape of each input, as input:1x3x480x640, for a graph of any size',
        )
    parser.add_argument(
        '--strongly-typed',
        action=argparse.BooleanOptionalAction,
        help='give every layer the type that the file says (default: wherever possible)',
    )
    parser.add_argument(
        '--workspace',
        type=int,
        metavar='MIB',
        help="most scratch memory of a layer, in MiB (default: all of the GPU's)",
    )
    parser.add_argument(
        '--optimization-level',
        type=int,
        choices=LEVELS,
        metavar='0-5',
        help='0 for a quick build to 5 for a quick engine',
    )
    parser.add_argument(
        '--hardware-compatibility',
        choices=HARDWARE,
        default=HARDWARE[0],
        metavar='GPUS',
        help=f'GPUs that the engine may run on: {", ".join(HARDWARE)} (default: none, but this '
        'kind)',
    )
    parser.add_argument(
        '--version-compatible',
        action='store_true',
        help='make an engine that later TensorRT of the same major version can load',
    )
    parser.add_argument(
        '--no-timing-cache',
        dest='timing_cache',
        action='store_false',
        help='keep no measurements in ENGINE.timing for the next build',
    )
    parser.add_argument(
        '--weights',
        choices=WEIGHTS,
        default=WEIGHTS[0],
        help='refittable: others may take their place later; stripped: an engine without them '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--refit',
        metavar='OLD_ENGINE',
        help='build nothing: write this engine, of refittable or stripped weights, with those of '
        'the ONNX file',
    )
    parser.add_argument(
        '--dla-core',
        type=int,
        metavar='N',
        help='let this accelerator for deep learning compute what it can, and the GPU the rest',
    )
    parser.add_argument('--verbose', action='store_true', help='print all that TensorRT says')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    if args.refit:
        from mmtrtvit.deploy.backends.tensorrt.refit import refit_engine

        try:
            done = refit_engine(args.refit, args.onnx, args.engine)
        except NoTensorRT as error:
            print(message(error))
            raise SystemExit(UNAVAILABLE) from error
        print(f'{done.path}: {done.megabytes:.1f} MB, refitted in {done.seconds:.1f} s')
        return
    try:
        from tqdm import tqdm

        from mmtrtvit.deploy.backends.tensorrt.build import EngineUnavailable, build_engine
    except ModuleNotFoundError as error:
        raise UserError(
            f'an engine is built with NumPy, onnx and tqdm: pip install numpy onnx tqdm ({error}).'
        ) from error
    options = EngineOptions(
        args.precision,
        args.strongly_typed,
        None if args.workspace is None else args.workspace << 20,
        args.optimization_level,
        args.hardware_compatibility,
        args.version_compatible,
        args.timing_cache,
        args.weights,
        args.dla_core,
    )
    profiles = read_profiles(args.min_shapes, args.opt_shapes, args.max_shapes)
    bar = tqdm(bar_format='{desc} {elapsed}', leave=False, disable=None)
    try:
        with bar:
            report = build_engine(
                args.onnx,
                args.engine,
                options=options,
                profiles=profiles,
                progress=bar.set_description_str,
                verbose=args.verbose,
            )
    except EngineUnavailable as error:
        print(message(error))
        raise SystemExit(UNAVAILABLE) from error
    print(
        format_table(
            {
                'engine': report.path,
                'TensorRT': report.tensorrt,
                'precision': report.precision,
                'strongly typed': 'yes' if report.strongly_typed else 'no',
                'profiles': len(report.profiles),
                'size': f'{report.megabytes:.1f} MB',
                'built in': f'{report.seconds:.0f} s',
            }
        )
    )
    for note in report.notes:
        print(note)


def read_profiles(*texts: list[list[str]]) -> list[dict[str, ShapeRange]]:
    """Profiles from the values of the three options."""
    if len(set(map(len, texts))) > 1:
        raise UserError(
            '--min-shapes, --opt-shapes and --max-shapes belong together: give all '
            'three for each profile.'
        )
    profiles = []
    for parts in zip(*texts):
        least, usual, greatest = map(parse_shapes, parts)
        if not least.keys() == usual.keys() == greatest.keys():
            raise UserError('--min-shapes, --opt-shapes and --max-shapes name different inputs.')
        profiles.append(
            {name: ShapeRange(least[name], usual[name], greatest[name]) for name in least}
        )
    return profiles


if __name__ == '__main__':
    run_tool(main, parse_args())
