"""Backbones in ONNX Runtime or OpenVINO on a CPU: FP32 beside INT8, and BF16 in OpenVINO.

All files are made as tools/deploy.py makes them with configs/deploy/onnxruntime*.py and
openvino*.py: for any size, weights and ranges of noise, which matter for accuracy, not for speed.
Each model has a process of its own; in it the files run in turn.

Examples:
  python benchmarks/int8.py --threads 2
  python benchmarks/int8.py openvino --models trtvit_c efficientvit_m4 --sizes 512x512 --threads 2
"""

import argparse
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from common import (
    BACKBONES,
    SESSIONS,
    Conditions,
    apart,
    build_backbone,
    conditions,
    for_session,
    make_parser,
    save,
    table,
)
from torch import Tensor, nn

from mmtrtvit.analysis.timing import time_side_by_side
from mmtrtvit.deploy.backends.onnxruntime.processors import this_processor
from mmtrtvit.deploy.backends.onnxruntime.quantize import ChainQuantizer
from mmtrtvit.deploy.backends.openvino.build import build_model
from mmtrtvit.deploy.export.to_onnx import export
from mmtrtvit.deploy.settings import Calibration
from mmtrtvit.engine.command_line import run_tool
from mmtrtvit.errors import UserError
from mmtrtvit.models import fuse

CALIBRATION = 1, 3, 224, 224
COLUMNS = 'model', 'mode', 'batch', 'height', 'width', 'fp32_ms', 'bf16_ms', 'int8_ms', 'speedup'


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        'runtime',
        nargs='?',
        choices=SESSIONS,
        default='onnxruntime',
        help='what runs them (default: onnxruntime)',
    )
    parser.add_argument(
        '--models',
        nargs='+',
        choices=BACKBONES,
        metavar='MODEL',
        default=BACKBONES,
        help='(default: all)',
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    settings = conditions(args)
    if settings.device != 'cpu' or settings.dtype != 'fp32' or settings.compile:
        raise UserError(
            'this benchmark is about runtimes on a CPU: leave --device, --dtype and --compile out.'
        )
    shapes = [(batch, 3, *size) for batch, size in itertools.product(args.batches, args.sizes)]
    for name in args.models:
        rows = apart(settings, side_by_side, name, args.runtime, shapes, settings)
        print(table(rows, COLUMNS), flush=True)
        path = save(rows, f'int8-{args.runtime}', settings, (args.runtime,), args.out)
    print(path)


def side_by_side(
    name: str, runtime: str, shapes: Sequence[tuple[int, ...]], settings: Conditions
) -> list[dict[str, Any]]:
    """A row for each shape of the images."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, 'fp32.onnx')
        backbone = for_session(fuse(build_backbone(name).eval()), runtime)
        export_maps(Maps(backbone).eval(), source)
        files = FILES[runtime](source)
        labels = dict(model=name, mode=runtime)
        return [labels | row(torch.randn(shape), runtime, files, settings) for shape in shapes]


def noise() -> list[dict[str, Any]]:
    """Inputs that show ranges."""
    return [dict(image=torch.randn(CALIBRATION).numpy())]


def onnxruntime_files(source: Path) -> dict[str, Path]:
    """Files for ONNX Runtime by precision."""
    target = source.with_name('int8.onnx')
    ChainQuantizer(
        source, batches=noise(), calibration=Calibration(), processor=this_processor()
    ).write(target)
    return dict(fp32=source, int8=target)


def openvino_files(source: Path) -> dict[str, Path]:
    """Files for OpenVINO by precision."""
    files = {name: source.with_name(f'{name}.xml') for name in ('fp32', 'bf16', 'int8')}
    for precision, file in files.items():
        build_model(
            source,
            file,
            precision=precision,
            rest='bf16' if precision == 'int8' else 'fp32',
            calibration=Calibration(),
            batches=noise,
        )
    return files


FILES = dict(onnxruntime=onnxruntime_files, openvino=openvino_files)


def row(x: Tensor, runtime: str, files: Mapping[str, Path], settings: Conditions) -> dict[str, Any]:
    """Times of all files on the same images."""
    functions = {name: SESSIONS[runtime](file, x, settings) for name, file in files.items()}
    timings = time_side_by_side(functions, settings.rounds)
    times = {f'{key}_ms': each.milliseconds for key, each in timings.items()}
    spread = {f'{key}_spread': each.spread for key, each in timings.items()}
    batch, _, height, width = x.shape
    shape = dict(height=height, width=width, batch=batch)
    return shape | times | dict(speedup=times['fp32_ms'] / times['int8_ms']) | spread


class Maps(nn.Module):
    """A backbone whose feature maps are a tuple, as exporters want them.

    Args:
        backbone: The backbone.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """``(B, 3, H, W)`` to the feature maps, each ``(B, C, H', W')``."""
        return tuple(self.backbone(image))


def export_maps(model: nn.Module, path: Path) -> None:
    """Exports a backbone for images of any size."""
    x = torch.randn(2, 3, 96, 128)
    names = [f'map{index}' for index in range(len(model(x)))]
    axes = {name: {0: 'batch', 2: f'{name}_height', 3: f'{name}_width'} for name in names}
    axes['image'] = {0: 'batch', 2: 'height', 3: 'width'}
    export(model, dict(image=x), path=path, output_names=names, dynamic_axes=axes)


if __name__ == '__main__':
    run_tool(main, parse_args())
