"""Draws and writes what an exported model finds in images, videos, webcams and streams.

Examples:
  python -m mmtrtvit.runtime work_dirs/export data/shapes/images/validation
  python -m mmtrtvit.runtime MODEL_DIR street.jpg "scans/*.tif" drive.mp4 --batch-size 4
  python -m mmtrtvit.runtime MODEL_DIR map.tif --tile 1024x1024 --overlap 0.25
  python -m mmtrtvit.runtime MODEL_DIR rtsp://camera/stream --duration 60

Ends with exit code 1 if there is a result for none of the inputs.
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import HelpFormatter, add_timeout, positive
from ..errors import UserError, message
from ..signals import exit_code, terminable
from .options import add_run_options, run_options
from .progress import counted, tell
from .tiling import MERGES, Tiling

if TYPE_CHECKING:
    from .model import Model


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    first, _, rest = __doc__.partition('\n')
    parser = argparse.ArgumentParser(
        sys.argv[0] if sys.argv[0] == 'mmtrtvit runtime' else 'python -m mmtrtvit.runtime',
        description=first,
        epilog=rest,
        formatter_class=HelpFormatter,
    )
    parser.add_argument('model_dir', help='folder that tools/deploy.py wrote')
    add_run_options(parser, out_dir='MODEL_DIR/results', at_once='images, or tiles of one,')
    parser.add_argument(
        '--tile',
        type=height_and_width,
        metavar='WIDTHxHEIGHT',
        help='look at larger images in parts of this size',
    )
    parser.add_argument(
        '--overlap',
        type=float,
        default=0.2,
        metavar='SHARE',
        help='least share of a tile that its neighbour has, too (default: %(default)s)',
    )
    parser.add_argument(
        '--tile-whole',
        action=argparse.BooleanOptionalAction,
        default=Tiling.whole,
        help='let a detector look at the whole image as well, for objects larger than tiles; small '
        'ones close to each other may be lost (default: %(default)s)',
    )
    parser.add_argument(
        '--tile-merge',
        choices=MERGES,
        default=Tiling.merge,
        help='put boxes together that a border between tiles cuts, or all that share more than '
        "half of the smaller one, as SAHI's GREEDYNMM does (default: %(default)s)",
    )
    parser.add_argument(
        '--device',
        help='cpu, cuda:0 or openvino, which runs ONNX files in OpenVINO, with the name of its '
        'device as in openvino:GPU (default: cuda:0 for engines, cpu for all others)',
    )
    parser.add_argument(
        '--threads',
        type=positive,
        default=0,
        metavar='N',
        help='threads of one operator on the CPU (default: one per core)',
    )
    add_timeout(
        parser,
        'a run of an ONNX file, or of an answer of the server, 60 there without this; engines and '
        'OpenVINO cannot be stopped',
    )
    parser.add_argument(
        '--server',
        metavar='HOST:PORT',
        help='let the Triton server at this gRPC address run the model',
    )
    parser.add_argument(
        '--model-name',
        metavar='NAME',
        help="the model's name on the server (default: the name of MODEL_DIR)",
    )
    return parser.parse_args()


def height_and_width(text: str) -> tuple[int, int]:
    """Parses ``WIDTHxHEIGHT``, or one number for both, as (height, width)."""
    width, _, height = text.partition('x')
    return positive(height or width), positive(width)


def require_packages() -> None:
    """Refuses to go on without NumPy and OpenCV.

    Raises:
        UserError: If one of them is not installed, or cannot be loaded.
    """
    for name in ('numpy', 'cv2'):
        try:
            import_module(name)
        except ImportError as error:
            raise UserError(
                'the runtime needs NumPy and OpenCV: pip install numpy opencv-python-headless, '
                f'and what runs the model, such as onnxruntime ({error}).'
            ) from error


def open_model(args: argparse.Namespace) -> 'Model':
    """Opens the model of a work dir, or its client for a Triton server."""
    from .kinds import KINDS
    from .work_dir import read_work_dir

    kind = KINDS[read_work_dir(args.model_dir).task]
    session = None
    if args.server:
        from .sessions.triton_server import TritonSession

        name = args.model_name or Path(args.model_dir).resolve().name
        session = TritonSession(args.server, name, args.timeout or TritonSession.TIMEOUT)
    return kind(
        args.model_dir, args.device, threads=args.threads, timeout=args.timeout, session=session
    )


@terminable()
def main(args: argparse.Namespace) -> None:
    """Predicts, and prints a summary."""
    require_packages()
    from .run import run

    result = run(
        open_model(args),
        args.inputs,
        out_dir=args.out_dir or Path(args.model_dir, 'results'),
        **run_options(args),
        progress=counted,
        tell=tell,
        tile=args.tile,
        overlap=args.overlap,
        tile_whole=args.tile_whole,
        tile_merge=args.tile_merge,
        tile_score_thr=args.score_thr,
    )
    result.report(args.score_thr)


if __name__ == '__main__':
    try:
        main(parse_args())
    except KeyboardInterrupt as stop:
        print('\nstopped', *stop.args, sep='; ', file=sys.stderr)
        sys.exit(exit_code(stop))
    except (UserError, OSError) as error:
        if message(error) is None:
            raise
        sys.exit(f'error: {message(error)}')
