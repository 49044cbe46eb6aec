"""Benchmark of models, and of the layers of graphs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ...analysis.timing import threads as torch_threads
from ...errors import UserError
from ...runtime.sessions.base import Session
from ...runtime.sessions.opening import GRAPHS, no_timeout
from ...tables import format_rows
from ..backends.registry import backend_of
from ..graphs.layer_times import LayerTime, by_module, by_stage
from ..verify.open import open_checkpoint, open_graph
from .latency import Latency, measure_latency, random_inputs

PROFILED_ROUNDS = 10


@dataclass
class BenchmarkResult:
    """What was measured.

    Attributes:
        latencies: By number of images, then by model.
        layers: Layers by model, at the first number of images.
    """

    latencies: dict[int, dict[str, Latency]] = field(default_factory=dict)
    layers: dict[str, list[LayerTime]] = field(default_factory=dict)


def benchmark(
    models: Sequence[str | Path],
    config: str | Path | None = None,
    *,
    size: tuple[int, int] = (480, 640),
    batches: Sequence[int] = (1,),
    rounds: int = 50,
    warmup: int = 5,
    device: str = 'cpu',
    threads: int = 0,
    timeout: float | None = None,
    precision: str | None = None,
    layers: bool = False,
) -> BenchmarkResult:
    """Times models on noise, in turn.

    Args:
        models: ONNX files and engines; with a config also weights or work dirs of runs.
        config: Config of the weights.
        size: Height and width of the images.
        batches: Numbers of images at once.
        rounds: Rounds that count.
        warmup: Rounds before them.
        device: Where weights and ONNX files run; engines run on a GPU.
        threads: Threads of one operator on the CPU; 0 for one per core.
        timeout: Most seconds of a run; only ONNX files can be stopped.
        precision: What weights are run in, see :func:`mmtrtvit.engine.precision.in_precision`.
        layers: Whether to measure the layers of graphs as well.

    Raises:
        UserError: If a model cannot be opened or does not take images of that size.
    """
    if precision and all(Path(path).suffix in GRAPHS for path in models):
        raise UserError('--precision is for weights; what is exported stays as it is.')
    sessions = {
        str(path): _open(path, config, device, threads, timeout, precision) for path in models
    }
    result = BenchmarkResult()
    for batch in batches:
        calls = {
            name: partial(session.run, random_inputs(session, batch, size=size))
            for name, session in sessions.items()
        }
        with torch_threads(threads or None):
            result.latencies[batch] = measure_latency(calls, batch, rounds=rounds, warmup=warmup)
    for name, session in sessions.items() if layers else ():
        if Path(name).suffix not in GRAPHS:
            continue
        result.layers[name] = backend_of(name, device).layer_times(
            session,
            Path(name),
            random_inputs(session, batches[0], size=size),
            rounds=PROFILED_ROUNDS,
            warmup=warmup,
            threads=threads,
            timeout=timeout,
        )
    return result


def _open(
    path: str | Path,
    config: str | Path | None,
    device: str,
    threads: int,
    timeout: float | None,
    precision: str | None,
) -> Session:
    if Path(path).suffix in GRAPHS:
        return open_graph(path, device, threads, timeout)
    if config is None:
        raise UserError(
            f'{path}: expected {", ".join(f"*{end}" for end in GRAPHS)}; weights '
            'need the --config of their model.'
        )
    if timeout is not None:
        raise no_timeout(path, 'PyTorch')
    return open_checkpoint(config, path, device, precision or 'fp32')


def format_latencies(result: BenchmarkResult) -> str:
    """Rows of models under a line of names."""
    rows = [('batch', 'median ms', 'p95 ms', 'images/s', 'model')]
    for batch, latencies in result.latencies.items():
        rows += [
            (str(batch), f'{each.median:.2f}', f'{each.p95:.2f}', f'{each.throughput:.1f}', name)
            for name, each in latencies.items()
        ]
    return format_rows(rows, names=-1)


def format_shares(layers: Sequence[LayerTime], modules: int) -> str:
    """Time of all stages, and of the slowest modules."""
    parts = ('stage', by_stage(layers)), ('slowest modules', by_module(layers)[:modules])
    return '\n\n'.join(
        format_rows(
            [
                ('ms', '%', 'layers', title),
                *(
                    (
                        f'{each.milliseconds:.3f}',
                        f'{each.share * 100:.1f}',
                        str(each.layers),
                        each.name,
                    )
                    for each in shares
                ),
            ],
            names=-1,
        )
        for title, shares in parts
    )
