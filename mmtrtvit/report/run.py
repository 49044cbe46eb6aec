"""A run: its folder, config, checkpoint and what it wrote."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from mmengine.config import Config

from ..analysis.cost import cost_of, rows
from ..analysis.curves import read_progress, read_scalars
from ..analysis.networks import build_network
from ..engine.config import config_in, read_config
from ..engine.runner import COMMAND
from ..environment import environment
from ..errors import UserError
from ..weights.checkpoints import checkpoint_file
from .blocks import Block, Code, Section, Table, Text
from .evaluation import Evaluation
from .plots import plot_series


@dataclass
class Run:
    """A run.

    Attributes:
        folder: Its work dir.
        config: Its config.
        config_file: Where that is.
        checkpoint: What is evaluated.
    """

    folder: Path
    config: Config
    config_file: Path
    checkpoint: Path

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.absolute().name


def find_run(
    work_dir: str | Path,
    *,
    config: str | Path | None = None,
    checkpoint: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> Run:
    """Finds config and checkpoint of a run.

    Args:
        work_dir: The folder that the training wrote.
        config: Config file; default: the one in the folder.
        checkpoint: The weights; default: the best in the folder, as for tools/test.py.
        options: Values by dotted key, as ``--cfg-options`` gives them.

    Raises:
        UserError: If there is no such folder, config or checkpoint.
    """
    folder = Path(work_dir).expanduser()
    if not folder.is_dir():
        raise UserError(f'{work_dir}: no such folder. Name the work dir of a training.')
    weights = checkpoint_file(checkpoint or folder)
    if not weights.is_file():
        raise UserError(f'{weights}: no such checkpoint.')
    file = Path(config) if config else config_in(folder)
    return Run(folder, read_config(file, options), file, weights)


def show_summary(run: Run, evaluation: Evaluation) -> Section:
    """Returns what the run is, its metrics and the command."""
    model = run.config.model
    backbone = model.get('backbone') or {}
    facts = {
        'model': f'{model.type} with {backbone.get("type")} {_arch(backbone)}'.strip(),
        'task': evaluation.task,
        'images': f'{len(evaluation.samples):,} of the evaluation',
        'classes': f'{len(evaluation.legend.names)}',
        'checkpoint': run.checkpoint.name,
        'config': run.config_file.name,
        'work dir': str(run.folder.absolute()),
    }
    best = sorted(run.folder.glob('best_*.pth'))
    if best and run.checkpoint not in best:
        facts['also there'] = ', '.join(file.name for file in best)
    command = _command(run.folder)
    start = f'mmtrtvit train {run.config_file.name} --work-dir {run.folder}'
    return Section(
        'summary',
        'Summary',
        [
            Table([['metric', 'value'], *_metric_rows(evaluation)]),
            Table([['run', ''], *([key, value] for key, value in facts.items())], words=True),
            Code(command, 'started with')
            if command
            else Code(start, 'The command was not recorded; this trains with the same config'),
        ],
    )


def _metric_rows(evaluation: Evaluation) -> list[list[str]]:
    return [[name, f'{value:.4f}'] for name, value in evaluation.metrics.items()]


def _arch(backbone: Mapping[str, Any]) -> str:
    arch = backbone.get('arch')
    return arch.upper() if isinstance(arch, str) else ''


def _command(folder: Path) -> str:
    found = sorted(folder.glob(f'*/{COMMAND}'))
    return found[-1].read_text(encoding='utf-8').strip() if found else ''


def show_training(run: Run) -> Section:
    """Returns the curves of the training."""
    try:
        losses, metrics = read_scalars(run.folder)
        rates = read_progress(run.folder, 'lr')
        values = read_progress(run.folder, 'time', 'data_time', 'memory')
    except (UserError, ValueError) as error:
        return Section('training', 'Training', [Text(f'There are no curves: {error}')])
    groups = {'training loss': losses, 'learning rate': rates, 'validation': metrics}
    blocks: list[Block] = [
        plot_series(name, known)
        for name, series in groups.items()
        if (known := {key: points for key, points in series.items() if points})
    ]
    spent = {
        'seconds of an iteration, median': _median(values.get('time')),
        'of these for loading, median': _median(values.get('data_time')),
        'most memory of the GPU, MB': _most(values.get('memory')),
    }
    table = [[name, value] for name, value in spent.items() if value]
    if table:
        blocks.append(Table([['cost of the training', ''], *table]))
    return Section('training', 'Training', blocks)


def _median(points: list[tuple[int, float]] | None) -> str:
    return f'{median(value for _, value in points):.3f}' if points else ''


def _most(points: list[tuple[int, float]] | None) -> str:
    return f'{max(value for _, value in points):,.0f}' if points else ''


def show_cost(run: Run, evaluation: Evaluation) -> Section:
    """Returns what the network costs for an image of the size that it was evaluated at."""
    try:
        model, shape, call = build_network(str(run.config_file))
        images = torch.empty(1, 3, *(evaluation.input_size or shape), device='meta')
        costs = cost_of(model, lambda: call(images), [images])
    except (UserError, RuntimeError) as error:
        return Section('cost', 'Cost', [Text(f'It could not be counted: {error}')])
    head, *parts, total = rows(costs)
    height, width = images.shape[2:]
    text = f'One image of {height} x {width} pixels, float32; multiply-adds with attention.'
    return Section('cost', 'Cost', [Text(text), Table([head, *parts], [total])])


def show_environment() -> Section:
    """Returns the versions of what made this report."""
    facts = environment()
    if torch.cuda.is_available():
        facts['GPU'] = torch.cuda.get_device_name()
    rows = [['package', 'version'], *([name, value] for name, value in facts.items())]
    return Section('environment', 'Environment', [Table(rows, words=True)])


def show_use(run: Run) -> Section:
    """Returns how to load the weights, export them and cite the project."""
    config, weights = run.config_file, run.checkpoint
    python = (
        'from mmtrtvit.engine import load\n\n'
        f"model = load('{config}', '{weights}')\nresult = model(['image.jpg'])[0]"
    )
    export = (
        'mmtrtvit deploy "$(mmtrtvit config deploy/onnxruntime.py)" \\\n'
        f'    {shlex.quote(str(config))} {shlex.quote(str(weights))} image.jpg'
    )
    cite = (
        '@software{mmtrtvit,\n  author = {{The mmtrtvit contributors}},\n'
        '  title = {mmtrtvit: TRT-ViT and EfficientViT for MMDetection and MMSegmentation}\n}'
    )
    blocks: list[Block] = [
        Code(python, 'load it'),
        Code(export, 'export it to ONNX'),
        Code(cite, "cite the package, and the backbone's paper"),
        *_papers(run.config),
    ]
    return Section('use', 'Load, export, cite', blocks)


PAPERS = {
    'TRTViT': 'TRT-ViT: TensorRT-oriented Vision Transformer, arXiv:2205.09579, 2022',
    'EfficientViT': 'EfficientViT: Memory Efficient Vision Transformer with Cascaded Group '
    'Attention, CVPR 2023, arXiv:2305.07027',
}


def _papers(config: Config) -> list[Block]:
    kind = str((config.model.get('backbone') or {}).get('type')).rpartition('.')[2]
    return [Text(PAPERS[kind])] if kind in PAPERS else []
