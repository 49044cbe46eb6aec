"""TeraFLOPS of TRT-ViT and other backbones, and the share of the machine's peak that they reach.

TeraFLOPS are operations per second: 2 x multiply-adds of convolutions, linear layers and products
of attention, over the latency. The peak is the best that a product of two square matrices of up to
4096 rows (on a GPU 4096 or 8192) reaches in the same run, as PyTorch computes it or as oneDNN does.
Every model is as its users get it, in eval mode; TRT-ViT is a fused copy. timm's models are fixed
to the size. For single blocks, at each stage's size, see tools/density.py.

Examples:
  python benchmarks/density.py --sizes 512x512 --threads 2
  python benchmarks/density.py onnx --sizes 512x512 --models trtvit_c resnet50
  python benchmarks/density.py --device cuda --dtype fp16 --batches 8 --sizes 224x224 --cuda-graphs
"""

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import (
    DTYPES,
    SESSIONS,
    Conditions,
    conditions,
    make_parser,
    randomise,
    save,
    table,
)
from torch import nn

from mmtrtvit.analysis.cost import cost_of
from mmtrtvit.analysis.density.peaks import matrix_products
from mmtrtvit.analysis.timing import threads, time_side_by_side
from mmtrtvit.deploy.export.to_onnx import export
from mmtrtvit.engine.command_line import run_tool
from mmtrtvit.models import TRTViT, fuse

PEERS = dict(
    resnet50='resnet50',
    swin_tiny='swin_tiny_patch4_window7_224',
    twins_svt_small='twins_svt_small',
    convnext_tiny='convnext_tiny',
    nextvit_small='nextvit_small',
)
RUNTIMES = dict(onnx='onnxruntime', openvino='openvino')  # by mode
OURS = [f'trtvit_{arch}' for arch in TRTViT.arch_settings]
COLUMNS = (
    'model',
    'mode',
    'batch',
    'height',
    'width',
    'milliseconds',
    'gflop',
    'teraflops',
    'share_of_peak',
)


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument(
        'mode',
        nargs='?',
        choices=('inference', *RUNTIMES),
        default='inference',
        help='in PyTorch, or exported and run by ONNX Runtime or OpenVINO',
    )
    parser.add_argument(
        '--models',
        nargs='+',
        choices=(*OURS, *PEERS),
        metavar='MODEL',
        default=['trtvit_c', *PEERS],
        help=f'of {", ".join((*OURS, *PEERS))} (default: trtvit_c and the peers)',
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    settings = conditions(args)
    packages = ('timm', *filter(None, [RUNTIMES.get(args.mode)]))
    for batch, (height, width) in itertools.product(args.batches, args.sizes):
        found = densities(args.models, args.mode, (batch, 3, height, width), settings)
        print(table(found, COLUMNS), flush=True)
        path = save(found, 'density', settings, packages, args.out)
    print(path)


def densities(
    names: list[str], mode: str, shape: tuple[int, ...], settings: Conditions
) -> list[dict[str, Any]]:
    """Measures models and the products of matrices side by side."""
    x = settings.random(shape)
    functions, operations = {}, {}
    with tempfile.TemporaryDirectory() as folder, threads(settings.threads):
        for name, (call, macs) in matrix_products(settings.device, DTYPES[settings.dtype]).items():
            functions[name], operations[name] = call, 2 * macs
        for name in names:
            operations[name] = count_operations(build(name, shape), shape)
            model = build(name, shape)
            model = fuse(model) if name in OURS else model
            if mode in RUNTIMES:
                file = Path(folder) / f'{name}.onnx'
                export(model, dict(image=x), path=file, output_names=['map'])
                functions[name] = SESSIONS[RUNTIMES[mode]](file, x, settings)
            else:
                functions[name] = settings.inference(settings.place(model), x)
        timings = time_side_by_side(functions, settings.rounds, device=settings.device)
    speeds = {
        name: operations[name] / timing.milliseconds / 1e9 for name, timing in timings.items()
    }
    peak = max(speeds[name] for name in speeds if name not in names)
    batch, _, height, width = shape
    return [
        dict(
            model=name,
            mode=mode,
            implementation=name,
            batch=batch,
            height=height,
            width=width,
            milliseconds=timings[name].milliseconds,
            fastest=timings[name].fastest,
            spread=timings[name].spread,
            gflop=operations[name] / 1e9,
            teraflops=speeds[name],
            peak_teraflops=peak,
            share_of_peak=speeds[name] / peak,
        )
        for name in names
    ]


def build(name: str, shape: tuple[int, ...]) -> nn.Module:
    """A model by our name, in eval mode, that returns its last map."""
    torch.manual_seed(0)
    if name in OURS:
        return randomise(TRTViT(name.removeprefix('trtvit_'), out_indices=(3,))).eval()
    import timm

    sized = dict(img_size=shape[2:]) if name in ('swin_tiny', 'twins_svt_small') else {}
    model = timm.create_model(PEERS[name], num_classes=0, global_pool='', **sized)
    return randomise(model).eval()


def count_operations(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Floating-point operations of a forward pass, two for each multiply-add; moves the model."""
    model, x = model.to('meta'), torch.empty(shape, device='meta')
    return 2 * cost_of(model, lambda: model(x), [x]).total.macs


if __name__ == '__main__':
    run_tool(main, parse_args())
