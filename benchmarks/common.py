"""Conditions, fair models and records that all benchmarks have in common."""

import argparse
import csv
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmtrtvit.analysis.cuda import Recorded
from mmtrtvit.analysis.timing import (
    OwnProcess,
    Timing,
    in_new_process,
    threads,
    time_in_turn,
    time_side_by_side,
)
from mmtrtvit.arguments import size
from mmtrtvit.deploy.backends.registry import find_backend
from mmtrtvit.deploy.settings import DeploySettings
from mmtrtvit.engine.command_line import command_line, new_parser
from mmtrtvit.environment import device_name, require_device
from mmtrtvit.errors import UserError
from mmtrtvit.files import whole_file
from mmtrtvit.models import EfficientViT, TRTViT
from mmtrtvit.runtime.sessions.openvino import OpenVINOSession

RESULTS = Path(__file__).parent / 'results'
PUBLISHED = Path(__file__).parent / 'published'
FAMILIES = dict(trtvit=TRTViT, efficientvit=EfficientViT)
BACKBONES = [f'{name}_{arch}' for name, family in FAMILIES.items() for arch in family.arch_settings]
DTYPES = dict(fp32=torch.float32, fp16=torch.float16, bf16=torch.bfloat16)
# What tells one measurement from another; a repeated one replaces the older one of the same file.
KEYS = (
    'data',
    'model',
    'start',
    'peer',
    'where',
    'mode',
    'implementation',
    'score_threshold',
    'height',
    'width',
    'batch',
    'threads',
    'dtype',
    'compile',
    'cuda_graphs',
)


@dataclass(frozen=True)
class Conditions:
    """Under what a model is measured.

    Attributes:
        device: Where it computes.
        dtype: A key of ``DTYPES``.
        compile: Whether through ``torch.compile``.
        cuda_graphs: Whether recorded once and replayed as a CUDA graph.
        threads: Threads on the CPU; None for PyTorch's default.
        rounds: Rounds of which the medians are taken.
    """

    device: str = 'cpu'
    dtype: str = 'fp32'
    compile: bool = False
    cuda_graphs: bool = False
    threads: int | None = None
    rounds: int = 15

    def place(self, value: Any) -> Any:
        """A module or tensor on the device, in the precision."""
        return value.to(self.device, DTYPES[self.dtype])

    def random(self, shape: tuple[int, ...]) -> Tensor:
        """Random numbers on the device, in the precision."""
        return torch.randn(shape, device=self.device).to(DTYPES[self.dtype])

    def inference(self, model: nn.Module, x: Tensor) -> Callable[[], Any]:
        """A function that computes ``model(x)``; both have been placed."""
        if self.compile:
            model = torch.compile(model, dynamic=False)

        @torch.inference_mode()
        def call() -> Any:
            return model(x)

        return Recorded(call) if self.cuda_graphs else call


def apart(settings: Conditions, function: Callable, *args: Any) -> Any:
    """Returns what a function of a module returns, independent of calls before it.

    On the CPU it runs in a process of its own, on a GPU without code compiled before.
    """
    if settings.device == 'cpu':
        return in_new_process(function, *args)
    torch.compiler.reset()
    return function(*args)


def make_parser(
    doc: str, sizes: Sequence[tuple[int, int]] = ((512, 512), (800, 1344))
) -> argparse.ArgumentParser:
    """Makes a parser with the options that all benchmarks have.

    Args:
        doc: Docstring of the benchmark; what follows its first line ends the help.
        sizes: Heights and widths by default; without any there is no option for them.
    """
    parser = new_parser(doc)
    add = parser.add_argument
    if sizes:
        default = ' '.join(f'{height}x{width}' for height, width in sizes)
        add(
            '--sizes',
            nargs='+',
            type=size,
            default=list(sizes),
            metavar='HxW',
            help=f'height and width of the images (default: {default})',
        )
    add(
        '--batches',
        nargs='+',
        type=int,
        default=[1],
        metavar='N',
        help='images at a time (default: 1)',
    )
    add('--rounds', type=int, default=15, help='rounds of which medians are taken (default: 15)')
    add('--threads', type=int, help="threads on the CPU (default: PyTorch's)")
    add('--device', choices=('cpu', 'cuda'), default='cpu', help='(default: cpu)')
    add('--dtype', choices=DTYPES, default='fp32', help='precision (default: fp32)')
    add('--compile', action='store_true', help='run every model through torch.compile')
    add('--cuda-graphs', action='store_true', help='record every model once, as a CUDA graph')
    add(
        '--out',
        type=Path,
        metavar='FILE.csv',
        help='(default: benchmarks/results/<what>_<device>_<versions>_<date>.csv)',
    )
    return parser


def conditions(args: argparse.Namespace) -> Conditions:
    """Returns the conditions that the options of :func:`make_parser` ask for.

    Raises:
        UserError: If there is no such device.
    """
    require_device(args.device)
    if args.cuda_graphs and args.device != 'cuda':
        raise UserError('--cuda-graphs needs --device cuda')
    return Conditions(
        args.device,
        args.dtype,
        args.compile,
        args.cuda_graphs,
        args.threads or torch.get_num_threads(),
        args.rounds,
    )


@torch.no_grad()
def randomise(model: nn.Module) -> nn.Module:
    """Gives norms and bias tables values with which every part of an untrained model has a say."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.3, 0.9)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.running_mean, std=0.2)
    for name, parameter in model.named_parameters():
        if name.endswith('bias_table'):
            nn.init.normal_(parameter)
    return model


def build_backbone(name: str) -> nn.Module:
    """One of :data:`BACKBONES`, with the same random weights each time."""
    torch.manual_seed(0)
    family, _, arch = name.partition('_')
    return randomise(FAMILIES[family](arch))


def difference(outputs: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """Largest difference between outputs, as a share of the largest value of each."""
    return max(
        ((one.float() - other.float()).abs().max() / other.float().abs().max()).item()
        for one, other in zip(outputs, reference, strict=True)
    )


def measure(
    functions: Mapping[str, Callable[[], Sequence[Tensor]]], settings: Conditions, **labels: Any
) -> list[dict[str, Any]]:
    """Times functions side by side and compares what they return with what the first returns.

    Args:
        functions: What to time, by name of the implementation.
        settings: The conditions.
        labels: Columns that all rows share.
    """
    with threads(settings.threads):
        differences = _differences(functions)
        timings = time_side_by_side(functions, settings.rounds, device=settings.device)
    return _rows(differences, timings, labels)


def measure_apart(
    make: Callable[..., Callable[[], Sequence[Tensor]]],
    implementations: Sequence[str],
    *args: Any,
    settings: Conditions,
    **labels: Any,
) -> list[dict[str, Any]]:
    """As :func:`measure`, but on the CPU each function has a process of its own.

    Args:
        make: Makes the function of an implementation: ``make(implementation, *args, settings)``.
        implementations: What to time.
        args: Arguments of ``make``.
        settings: The conditions.
        labels: Columns that all rows share.
    """
    if settings.device != 'cpu':
        torch.compiler.reset()
        return measure(
            {name: make(name, *args, settings) for name in implementations}, settings, **labels
        )
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(OwnProcess(_made, settings, make, name, *args))
            for name in implementations
        }
        differences = _differences(processes)
        timings = time_in_turn(
            {name: process.seconds for name, process in processes.items()}, settings.rounds
        )
    return _rows(differences, timings, labels)


def _made(settings: Conditions, make: Callable[..., Callable], *args: Any) -> Callable:
    torch.set_num_threads(settings.threads)
    return make(*args, settings)


def _differences(functions: Mapping[str, Callable[[], Sequence[Tensor]]]) -> dict[str, float]:
    """Returns how far the outputs of each function are from those of the first."""
    outputs = {name: function() for name, function in functions.items()}
    reference = next(iter(outputs.values()))
    return {name: difference(output, reference) for name, output in outputs.items()}


def _rows(
    differences: Mapping[str, float], timings: Mapping[str, Timing], labels: Mapping[str, Any]
) -> list[dict[str, Any]]:
    return [
        dict(labels, implementation=name, difference=differences[name], **asdict(timing))
        for name, timing in timings.items()
    ]


def speedups(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds ``speedup``: how many times as long as the last implementation, ours, each one takes."""
    return [dict(row, speedup=row['milliseconds'] / rows[-1]['milliseconds']) for row in rows]


def onnx_session(file: Path, x: Tensor, settings: Conditions) -> Callable[[], list[Tensor]]:
    """A function that runs an ONNX file with one input on ``x``, in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads or 0
    # Threads that wait for work in a loop, between runs, would slow down what is measured beside.
    options.add_session_config_entry('session.force_spinning_stop', '1')
    provider = 'CUDAExecutionProvider' if settings.device == 'cuda' else 'CPUExecutionProvider'
    session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=[provider])
    inputs = {session.get_inputs()[0].name: x.cpu().numpy()}
    return lambda: [torch.from_numpy(value) for value in session.run(None, inputs)]


def openvino_session(file: Path, x: Tensor, settings: Conditions) -> Callable[[], list[Tensor]]:
    """A function that runs a file with one input on ``x``, in OpenVINO on the CPU.

    A model of OpenVINO is computed in what it says, an ONNX file in that of the settings.
    """
    precision = settings.dtype if file.suffix == '.onnx' else None
    session = OpenVINOSession(file, threads=settings.threads or 0, precision=precision)
    inputs = {session.inputs[0].name: x.cpu().numpy()}
    return lambda: [torch.from_numpy(value) for value in session.run(inputs).values()]


def for_session(fused: nn.Module, runtime: str) -> nn.Module:
    """Gives a fused copy the form in which tools/deploy.py exports it for one of SESSIONS."""
    return find_backend(runtime).prepare(fused, DeploySettings(backend=runtime))


# What runs an ONNX file, by the package.
SESSIONS = dict(onnxruntime=onnx_session, openvino=openvino_session)


def save(
    rows: Sequence[Mapping[str, Any]],
    what: str,
    settings: Conditions,
    packages: Sequence[str],
    out: Path | None = None,
) -> Path:
    """Adds measurements to a CSV file, which appears or changes as a whole.

    Args:
        rows: What was measured, with any of ``KEYS`` and columns of their own.
        what: Name of the benchmark.
        settings: Conditions of all rows.
        packages: Packages whose versions count, beside PyTorch.
        out: The file; by default named after the benchmark, device, versions and date.
    """
    today, device = date.today().isoformat(), device_name(settings.device)
    versions = ' '.join(f'{name} {version(name)}' for name in ('torch', *packages))
    if out is None:
        name = '_'.join((what, device, versions.replace(' ', ''), today))
        out = RESULTS / (re.sub(r'[^\w.+-]+', '-', name) + '.csv')
    common = dict(
        threads=settings.threads,
        dtype=settings.dtype,
        compile=settings.compile,
        cuda_graphs=settings.cuda_graphs,
        rounds=settings.rounds,
        machine=device,
        versions=versions,
        date=today,
        command=command_line(folders=False),
    )
    records = {_key(row): row for row in (read(out) if out.exists() else [])}
    for row in ({**row, **common} for row in rows):
        row = {key: _text(value) for key, value in row.items()}
        records[_key(row)] = row
    columns = list(dict.fromkeys(column for row in records.values() for column in row))
    with whole_file(out) as part, part.open('w', newline='') as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(records.values())
    return out


def read(path: Path) -> list[dict[str, str]]:
    """Returns the rows of a CSV file."""
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Returns columns of rows as a Markdown table."""
    cells = [list(columns), *([_text(row.get(column, '')) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ['| ' + ' | '.join(map(str.ljust, line, widths)) + ' |' for line in cells]
    return '\n'.join(
        [lines[0], '|' + '|'.join('-' * (width + 2) for width in widths) + '|', *lines[1:]]
    )


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row.get(key) or '' for key in KEYS)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f'{value:.1e}' if abs(value) < 0.001 and value else f'{value:.4g}'
    return str(value)
