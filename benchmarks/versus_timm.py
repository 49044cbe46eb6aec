"""EfficientViT beside timm's model of it, with the same weights.

Six comparisons, each with its outputs compared in the same run. On the CPU each size has processes
of its own, and in PyTorch each implementation: what a process did before decides how glibc treats
the memory of large maps, and `fuse` has it keep that memory.
  inference  timm's features_only model as users get it, and our fused copy
  onnx       both exported the same way, for any size, run by ONNX Runtime, ours as tools/deploy.py
             makes it for that; with counts of nodes as exported and as onnxslim leaves them
  onnx_fixed  the same, exported for one size
  openvino   ours and timm's exported for any size, run by OpenVINO
  openvino_fixed  the same, exported for one size
  training   forward and backward in training mode; our model and its images are put into
             channels_last, as default_hooks.speed does. Memory is the peak of a process of its own.

Examples:
  python benchmarks/versus_timm.py inference --archs m4 --threads 2
  python benchmarks/versus_timm.py training --sizes 512x512 --batches 4
  python benchmarks/versus_timm.py inference --device cuda --dtype fp16 --batches 1 64 --compile
"""

import argparse
import itertools
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnx as onnx_file
import torch
from common import (
    DTYPES,
    SESSIONS,
    Conditions,
    apart,
    conditions,
    for_session,
    make_parser,
    measure,
    measure_apart,
    randomise,
    save,
    speedups,
    table,
)
from efficientvit_peers import build_timm
from torch import Tensor, nn

from mmtrtvit.analysis.timing import peak_memory, threads
from mmtrtvit.deploy.export.to_onnx import export
from mmtrtvit.deploy.graphs.slim import slim
from mmtrtvit.engine.command_line import run_tool
from mmtrtvit.models import EfficientViT, fuse
from mmtrtvit.models.layers import channels_last

COLUMNS = (
    'model',
    'mode',
    'batch',
    'height',
    'width',
    'implementation',
    'milliseconds',
    'speedup',
    'difference',
    'nodes',
    'slimmed_nodes',
    'memory_mb',
)


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument('mode', choices=MODES, help='what to compare')
    parser.add_argument(
        '--archs',
        nargs='+',
        choices=EfficientViT.arch_settings,
        metavar='ARCH',
        default=['m0', 'm2', 'm4', 'm5'],
        help='(default: m0 m2 m4 m5)',
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    settings = conditions(args)
    packages = ('timm', *(name for part, name in RUNTIMES.items() if part in args.mode))
    for arch in args.archs:
        for batch, (height, width) in itertools.product(args.batches, args.sizes):
            labels = dict(model=arch, mode=args.mode, batch=batch, height=height, width=width)
            shape = batch, 3, height, width
            found = speedups(MODES[args.mode](arch, shape, settings, labels))
            print(table(found, COLUMNS), flush=True)
            path = save(found, f'versus_timm-{args.mode}', settings, packages, args.out)
    print(path)


def inference(
    arch: str, shape: tuple[int, ...], settings: Conditions, labels: dict[str, Any]
) -> list[dict[str, Any]]:
    return measure_apart(inference_call, IMPLEMENTATIONS, arch, shape, settings=settings, **labels)


def onnx(
    arch: str,
    shape: tuple[int, ...],
    settings: Conditions,
    labels: dict[str, Any],
    fixed: bool = False,
    runtime: str = 'onnxruntime',
) -> list[dict[str, Any]]:
    return apart(settings, exported, arch, shape, settings, labels, fixed, runtime)


def exported(
    arch: str,
    shape: tuple[int, ...],
    settings: Conditions,
    labels: dict[str, Any],
    fixed: bool,
    runtime: str,
) -> list[dict[str, Any]]:
    x = torch.randn(shape)
    functions, counts = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in IMPLEMENTATIONS:
            model = build(name, arch)
            if name == 'mmtrtvit':
                model = for_session(model, runtime)
            file = Path(folder) / f'{name}.onnx'
            export_maps(model, file, x if fixed else None)
            counts[name] = count_nodes(file)
            functions[name] = SESSIONS[runtime](file, x, settings)
    rows = measure(functions, settings, **labels)
    return [row | counts[row['implementation']] for row in rows]


def training(
    arch: str, shape: tuple[int, ...], settings: Conditions, labels: dict[str, Any]
) -> list[dict[str, Any]]:
    rows = measure_apart(training_step, IMPLEMENTATIONS, arch, shape, settings=settings, **labels)
    return [
        dict(
            row,
            memory_mb=apart(
                settings, training_memory, row['implementation'], arch, shape, settings
            ),
        )
        for row in rows
    ]


MODES = dict(
    inference=inference,
    onnx=onnx,
    onnx_fixed=partial(onnx, fixed=True),
    openvino=partial(onnx, runtime='openvino'),
    openvino_fixed=partial(onnx, fixed=True, runtime='openvino'),
    training=training,
)
RUNTIMES = dict(onnx='onnxruntime', openvino='openvino')  # by a part of the mode
IMPLEMENTATIONS = 'timm', 'mmtrtvit'


def build(name: str, arch: str) -> nn.Module:
    """Timm's model, or the fused copy of ours, with the same weights."""
    torch.manual_seed(0)
    ours = randomise(EfficientViT(arch)).eval()
    return build_timm(ours, arch).eval() if name == 'timm' else fuse(ours)


def inference_call(
    name: str, arch: str, shape: tuple[int, ...], settings: Conditions
) -> Callable[[], list[Tensor]]:
    """A function that computes the feature maps of a model."""
    model = settings.place(build(name, arch))
    torch.manual_seed(0)  # building has drawn numbers, more or fewer
    return settings.inference(model, settings.random(shape))


def export_maps(model: nn.Module, file: Path, x: Tensor | None = None) -> None:
    """Exports a backbone, as PyTorch's exporter writes it.

    The graph is for images of the number and size of ``x``, or of any if that is None.
    """
    names = 'map0', 'map1', 'map2'
    axes = {}
    if x is None:
        axes = {
            name: {0: 'batch', 2: f'{name}_height', 3: f'{name}_width'}
            for name in ('image', *names)
        }
        x = torch.randn(2, 3, 480, 512)
    export(model, dict(image=x), path=file, output_names=names, dynamic_axes=axes, slimmed=False)


def count_nodes(file: Path) -> dict[str, int]:
    """Nodes that the exporter wrote, and those that onnxslim leaves."""
    model = onnx_file.load(file)
    return dict(nodes=len(model.graph.node), slimmed_nodes=len(slim(model).graph.node))


def training_step(
    name: str, arch: str, shape: tuple[int, ...], settings: Conditions
) -> Callable[[], list[Tensor]]:
    """A function that computes the gradients of a model for the mean square of its maps."""
    torch.manual_seed(0)
    model = randomise(EfficientViT(arch))
    if name == 'timm':
        model = build_timm(model, arch)
    else:
        model = model.to(memory_format=torch.channels_last)
    model = model.to(settings.device)
    model.train()
    torch.manual_seed(0)  # building has drawn numbers, more or fewer
    x = torch.randn(shape, device=settings.device)
    forward = torch.compile(model, dynamic=False) if settings.compile else model
    prepare = channels_last if name == 'mmtrtvit' else nn.Identity()

    def step() -> list[Tensor]:
        model.zero_grad()
        with torch.autocast(settings.device, DTYPES[settings.dtype], settings.dtype != 'fp32'):
            maps = forward(prepare(x))
        # In each feature map's own memory format, as the layers after a backbone would return them.
        gradients = [each.detach() * (2 / each.numel()) for each in maps]
        torch.autograd.backward(maps, gradients)
        return [each.detach() for each in maps]

    return step


def training_memory(name: str, arch: str, shape: tuple[int, ...], settings: Conditions) -> float:
    """Peak of two training steps beyond the model and its input, in MB."""
    step = training_step(name, arch, shape, settings)
    with threads(settings.threads):
        return peak_memory(lambda: (step(), step()), settings.device) / 1e6


if __name__ == '__main__':
    run_tool(main, parse_args())
