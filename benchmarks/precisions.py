"""What each backend and precision of a trained model gives and costs: metric, size and time.

Each model is exported by tools/deploy.py with the deploy configs of a CPU, each file is evaluated
by tools/test.py on the test data of the model's config, and then all files and PyTorch's fused copy
run in turn, in one process, on some images of the data: from arrays in memory to arrays in memory,
with the post-processing. What was exported and evaluated before is taken from the run's folder.

Examples:
  make demo-all
  python benchmarks/precisions.py work_dirs/demo/*
  python benchmarks/precisions.py work_dirs/blood_cells --backends onnxruntime --max-drop 0.5
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import DTYPES, Conditions, apart, conditions, make_parser, save, table
from tqdm import tqdm

from mmtrtvit.analysis.timing import threads
from mmtrtvit.arguments import positive
from mmtrtvit.deploy.verify.calibration import graph_inputs, training_images
from mmtrtvit.deploy.verify.open import open_checkpoint, open_graph
from mmtrtvit.engine.command_line import run_tool
from mmtrtvit.engine.predictor import load
from mmtrtvit.environment import has_bf16
from mmtrtvit.errors import UserError
from mmtrtvit.files import write_whole
from mmtrtvit.paths import config_path
from mmtrtvit.report.run import Run, find_run
from mmtrtvit.weights.checkpoints import read_weights, state_dict_of

FOLDER = 'precisions'  # in the folder of a run
PYTORCH = 'pytorch'
# Of these the first that there is, and times how much it is in percent.
METRICS = {'coco/segm_mAP': 100, 'coco/bbox_mAP': 100, 'mIoU': 1, 'accuracy/top1': 1}
SEARCHED = 'onnxruntime_int8'  # the deploy config that takes --max-drop
COLUMNS = (
    'model',
    'backend',
    'precision',
    'size_mb',
    'metric',
    'percent',
    'median_ms',
    'p99_ms',
    'speedup',
)


class Kind(NamedTuple):
    """One way to run a model.

    Attributes:
        backend: The backend, or PyTorch.
        precision: What it computes in.
        deploy_config: Name of the deploy config; empty for PyTorch.
        file: What the backend runs, in the folder of the deployment.
    """

    backend: str
    precision: str
    deploy_config: str = ''
    file: str = 'end2end.onnx'


KINDS = (
    Kind(PYTORCH, 'fp32'),
    Kind(PYTORCH, 'bf16'),
    Kind('onnxruntime', 'fp32', 'onnxruntime'),
    Kind('onnxruntime', 'int8', SEARCHED),
    Kind('openvino', 'fp32', 'openvino', 'end2end.xml'),
    Kind('openvino', 'bf16', 'openvino_bf16', 'end2end.xml'),
    Kind('openvino', 'int8', 'openvino_int8', 'end2end.xml'),
)


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, sizes=())
    parser.add_argument('runs', nargs='+', type=Path, metavar='RUN', help='work dir of a training')
    backends = sorted({kind.backend for kind in KINDS})
    parser.add_argument(
        '--backends', nargs='+', choices=backends, default=backends, help='(default: all)'
    )
    parser.add_argument(
        '--images', type=positive, default=10, help='to time on (default: %(default)s)'
    )
    parser.add_argument(
        '--max-drop',
        type=float,
        metavar='POINTS',
        help="ONNX Runtime's layers stay float until the metric drops by less (default: none does)",
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    settings = conditions(args)
    if settings.device != 'cpu' or settings.dtype != 'fp32' or args.batches != [1]:
        raise UserError('this benchmark is about one image on a CPU: leave --device, --dtype and '
                        '--batches out.')  # fmt: skip
    kinds = [
        kind
        for kind in KINDS
        if kind.backend in args.backends and (kind.precision != 'bf16' or has_bf16())
    ]
    packages = [name for name in ('onnxruntime', 'openvino') if name in args.backends]
    for folder in args.runs:
        run = find_run(folder)
        rows = [
            row_of(run, kind, args.max_drop) for kind in tqdm(kinds, run.name, unit='precision')
        ]
        times = apart(settings, times_of, run, kinds, args.images, settings)
        for row, milliseconds in zip(rows, times):
            row.update(
                median_ms=float(np.median(milliseconds)),
                p99_ms=float(np.percentile(milliseconds, 99)),
                speedup=float(np.median(times[0]) / np.median(milliseconds)),
            )
        print(table(rows, COLUMNS), flush=True)
        path = save(rows, 'precisions', settings, packages, args.out)
    print(path)


def row_of(run: Run, kind: Kind, max_drop: float | None) -> dict[str, Any]:
    """Exports and evaluates, unless that was done; returns size and metric."""
    folder = folder_of(run, kind)
    done = folder / 'metrics.json'
    model = run.checkpoint
    options = []
    if kind.backend == PYTORCH:
        options = ['--precision', kind.precision]
    else:
        model = folder / kind.file
        if not model.exists():
            deploy(run, kind, folder, max_drop)
    if not done.exists():
        call('test', run.config_file, model, '--work-dir', folder / 'test', *options)
        newest = max((folder / 'test').glob('*/*.json'))
        write_whole(done, newest.read_text())
    metric, percent = percent_of(json.loads(done.read_text()))
    return dict(
        model=run.name,
        mode=f'{kind.backend} {kind.precision}',
        backend=kind.backend,
        precision=kind.precision,
        size_mb=size_of(model, kind) / 2**20,
        metric=metric,
        percent=percent,
    )


def size_of(model: Path, kind: Kind) -> int:
    """Bytes of the files, or of the weights of a checkpoint, which holds more than these."""
    if kind.backend == PYTORCH:
        numbers = sum(each.numel() for each in state_dict_of(read_weights(model)).values())
        return numbers * DTYPES[kind.precision].itemsize
    files = [model, model.with_suffix('.bin')] if model.suffix == '.xml' else [model]
    return sum(file.stat().st_size for file in files)


def folder_of(run: Run, kind: Kind) -> Path:
    """Where what belongs to a way to run a model lies."""
    return run.folder / FOLDER / f'{kind.backend}_{kind.precision}'


def deploy(run: Run, kind: Kind, folder: Path, max_drop: float | None) -> None:
    config = config_path(f'deploy/{kind.deploy_config}.py')
    image = training_images(run.config, 1)[0]
    searched = kind.deploy_config == SEARCHED and max_drop is not None
    options = ['--cfg-options', f'calib_config.max_drop={max_drop}'] if searched else []
    call('deploy', config, run.config_file, run.checkpoint, image, '--work-dir', folder, *options)


def percent_of(metrics: Mapping[str, float]) -> tuple[str, float]:
    """Name and value, in percent, of the metric that a kind of model is judged by."""
    for name, points in METRICS.items():
        if name in metrics:
            return name, metrics[name] * points
    raise UserError(f'none of {", ".join(METRICS)} was evaluated, only {", ".join(metrics)}.')


def times_of(
    run: Run, kinds: Sequence[Kind], count: int, settings: Conditions
) -> list[list[float]]:
    """Milliseconds of each image of each round, for each way to run a model."""
    predictor = load(run.config, run.checkpoint, device='cpu')
    sessions = [
        open_checkpoint(run.config_file, run.checkpoint, precision=kind.precision)
        if kind.backend == PYTORCH
        else open_graph(folder_of(run, kind) / kind.file, 'cpu', settings.threads)
        for kind in kinds
    ]
    files = training_images(run.config, count)
    inputs = list(graph_inputs(predictor, (None, 3, None, None), files))
    times: list[list[float]] = [[] for _ in sessions]
    with threads(settings.threads):
        for index in tqdm(range(settings.rounds + 1), f'{run.name}: rounds'):
            for session, values in zip(sessions, times):
                for each in inputs:
                    start = time.perf_counter()
                    session.run(each)
                    if index:  # the first round warms up
                        values.append((time.perf_counter() - start) * 1000)
    return times


def call(*arguments: object) -> None:
    """Runs one of our commands."""
    command = [sys.executable, '-m', 'mmtrtvit', *map(str, arguments)]
    done = subprocess.run(command, text=True, capture_output=True)
    if done.returncode:
        raise UserError(
            f'mmtrtvit {arguments[0]} ended with {done.returncode}:\n{done.stderr[-3000:]}'
        )


if __name__ == '__main__':
    run_tool(main, parse_args())
