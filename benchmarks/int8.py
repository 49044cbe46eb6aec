"""Backbones in ONNX Runtime on a CPU: FP32 beside INT8.

Both graphs are made as tools/deploy.py makes them with configs/deploy/onnxruntime.py and
onnxruntime_int8.py: for any size, weights and ranges of noise, which matter for accuracy, not for
speed. Each model has a process of its own; in it both graphs run in turn.

Examples:
  python benchmarks/int8.py --threads 2
  python benchmarks/int8.py --models trtvit_c efficientvit_m4 --sizes 512x512 --threads 2
"""

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from common import (
    Conditions,
    apart,
    conditions,
    make_parser,
    onnx_session,
    randomise,
    save,
    table,
)
from torch import Tensor, nn

from mmtrtvit.analysis.timing import time_side_by_side
from mmtrtvit.deploy.backends.onnxruntime.processors import this_processor
from mmtrtvit.deploy.backends.onnxruntime.quantize import ChainQuantizer
from mmtrtvit.deploy.export.to_onnx import export
from mmtrtvit.deploy.settings import Calibration
from mmtrtvit.engine.command_line import run_tool
from mmtrtvit.errors import UserError
from mmtrtvit.models import EfficientViT, TRTViT, fuse
from mmtrtvit.models.fast.onnxruntime import for_onnxruntime

FAMILIES = dict(trtvit=TRTViT, efficientvit=EfficientViT)
MODELS = [
    f'{name}_{arch.lower()}' for name, kind in FAMILIES.items() for arch in kind.arch_settings
]
CALIBRATION = 1, 3, 224, 224
COLUMNS = 'model', 'batch', 'height', 'width', 'fp32_ms', 'int8_ms', 'speedup'


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        '--models',
        nargs='+',
        choices=MODELS,
        metavar='MODEL',
        default=MODELS,
        help='(default: all)',
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    settings = conditions(args)
    if settings.device != 'cpu' or settings.dtype != 'fp32' or settings.compile:
        raise UserError(
            'this benchmark is about ONNX Runtime on a CPU: leave --device, --dtype and --compile '
            'out.'
        )
    shapes = [(batch, 3, *size) for batch, size in itertools.product(args.batches, args.sizes)]
    for name in args.models:
        rows = apart(settings, side_by_side, name, shapes, settings)
        print(table(rows, COLUMNS), flush=True)
        path = save(rows, 'int8', settings, ('onnxruntime',), args.out)
    print(path)


def side_by_side(
    name: str, shapes: Sequence[tuple[int, ...]], settings: Conditions
) -> list[dict[str, Any]]:
    """A row for each shape of the images."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, 'fp32.onnx'), Path(folder, 'int8.onnx')
        export_maps(build(name), files[0])
        noise = [dict(image=torch.randn(CALIBRATION).numpy())]
        quantizer = ChainQuantizer(
            files[0], batches=noise, calibration=Calibration(), processor=this_processor()
        )
        quantizer.write(files[1])
        return [row(name, torch.randn(shape), files, settings) for shape in shapes]


def row(name: str, x: Tensor, files: Sequence[Path], settings: Conditions) -> dict[str, Any]:
    """Times of both files on the same images."""
    functions = {file.stem: onnx_session(file, x, settings) for file in files}
    timings = time_side_by_side(functions, settings.rounds)
    times = {f'{key}_ms': each.milliseconds for key, each in timings.items()}
    spread = {f'{key}_spread': each.spread for key, each in timings.items()}
    batch, _, height, width = x.shape
    labels = dict(model=name, height=height, width=width, batch=batch)
    return labels | times | dict(speedup=times['fp32_ms'] / times['int8_ms']) | spread


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


def build(name: str) -> nn.Module:
    """A backbone's copy for inference in ONNX Runtime, with random weights."""
    family, arch = name.split('_')
    kind = FAMILIES[family]
    arch = next(each for each in kind.arch_settings if each.lower() == arch)
    return Maps(for_onnxruntime(fuse(randomise(kind(arch)).eval()))).eval()


def export_maps(model: nn.Module, path: Path) -> None:
    """Exports a backbone for images of any size."""
    x = torch.randn(2, 3, 96, 128)
    names = [f'map{index}' for index in range(len(model(x)))]
    axes = {name: {0: 'batch', 2: f'{name}_height', 3: f'{name}_width'} for name in names}
    axes['image'] = {0: 'batch', 2: 'height', 3: 'width'}
    export(model, dict(image=x), path=path, output_names=names, dynamic_axes=axes)


if __name__ == '__main__':
    run_tool(main, parse_args())
