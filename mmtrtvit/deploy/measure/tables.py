"""A benchmark's results as text, and as rows of a CSV file."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ... import __version__
from ...engine.command_line import command_line
from ...environment import device_name
from ...paths import shortest_names
from ...tables import format_rows
from ..backends.registry import find_backend
from ..graphs.layer_times import LayerTime, by_module, by_stage
from ..verify.torch_session import TorchSession
from .benchmark import BenchmarkResult
from .opening import Running
from .pipelines import STAGES

WIDTH = 80  # of a terminal
LONGEST = 30  # letters of a model's name


def short_names(result: BenchmarkResult) -> dict[str, str]:
    """Returns names by model; if one is long, with no more folders than tell them apart."""
    names = [*result.models]
    if max(map(len, names)) <= LONGEST:
        return dict(zip(names, names))
    return dict(zip(names, shortest_names(list(map(Path, names)))))


def format_result(result: BenchmarkResult) -> str:
    """Returns all but the layers: tables for each number of images, and how noisy it was."""
    names = {
        name: each if len(each) <= LONGEST else f'...{each[3 - LONGEST :]}'
        for name, each in short_names(result).items()
    }
    parts = []
    for batch in result.latencies:
        title = f'milliseconds for {describe_work(result, batch)}'
        parts += [f'{title}\n{format_latencies(result, batch, names)}']
        if result.stages:
            parts += [format_stages(result, names)]
        if result.comparisons[batch]:
            parts += [format_comparisons(result, batch, names)]
        sentences = result.noise[batch].text + _doubts(result, batch, names)
        parts += [textwrap.fill(sentences, WIDTH, break_on_hyphens=False)]
    if random := [names[name] for name, each in result.models.items() if each.random]:
        text = f'With random weights, untrained: {", ".join(random)}'
        parts += [textwrap.fill(text, WIDTH, break_on_hyphens=False)]
    return '\n\n'.join(parts)


def _doubts(result: BenchmarkResult, batch: int, names: Mapping[str, str]) -> str:
    """A sentence on medians that are not as certain as was asked for."""
    most = result.most_uncertainty
    uncertain = [
        names[name]
        for name, each in result.latencies[batch].items()
        if most and (each.uncertainty is None or each.uncertainty > most)
    ]
    if not uncertain:
        return ''
    return (
        f' Time was up before the medians of {", ".join(uncertain)} were certain within '
        f'{most:.1%}: give more --time-limit.'
    )


def describe_work(result: BenchmarkResult, batch: int) -> str:
    """Returns what a time is for, as part of a sentence."""
    if result.size is None:
        return f'an image, from the file to the result ({_images(result.images)} in turn)'
    height, width = result.size
    return f'{_images(batch)} of noise, {height} x {width}'


def _images(count: int) -> str:
    return f'{count} image{"s" * (count > 1)}'


def format_latencies(result: BenchmarkResult, batch: int, names: Mapping[str, str]) -> str:
    """Rows of models: times, how certain their medians are, throughput, memory."""
    rows = [('p50', 'p90', 'p99', '±%', 'rounds', 'images/s', 'MB', 'model')]
    for name, each in result.latencies[batch].items():
        memory = result.memory[batch][name]
        rows.append(
            (
                f'{each.median:.2f}',
                f'{each.p90:.2f}',
                f'{each.p99:.2f}',
                '-' if each.uncertainty is None else f'{100 * each.uncertainty:.1f}',
                str(each.rounds),
                f'{each.throughput:.1f}',
                '-' if memory is None else f'{memory / 1e6:.0f}',
                names[name],
            )
        )
    return format_rows(rows, names=-1)


def format_stages(result: BenchmarkResult, names: Mapping[str, str]) -> str:
    """Rows of models: medians of the stages of an image's way."""
    rows = [[*STAGES, 'model']]
    rows += [
        [*(f'{found[stage]:.2f}' for stage in STAGES), names[name]]
        for name, found in result.stages.items()
    ]
    return format_rows(rows, names=-1)


def format_comparisons(result: BenchmarkResult, batch: int, names: Mapping[str, str]) -> str:
    """Rows of models: how many times as long as the first they take, if that can be told."""
    compared = result.comparisons[batch]
    first = next(iter(compared.values())).to
    rows = [('time', '99 % within', f'beside {names[first]}')]
    for name, each in compared.items():
        bounds = '-' if each.bounds is None else f'{each.bounds[0]:.3f} to {each.bounds[1]:.3f}'
        rows.append((each.text, bounds, names[name]))
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


def known(result: BenchmarkResult, running: Running) -> dict[str, Any]:
    """Returns under what it was measured: machine, threads, versions, date and command."""
    backends = {each.backend for each in result.models.values()} - {TorchSession.backend}
    packages = ['torch', *(name for each in backends for name in find_backend(each).packages)]
    if any(each.kind == 'timm' for each in result.models.values()):
        packages.append('timm')
    versions = [f'mmtrtvit {__version__}']
    for package in packages:
        with suppress(PackageNotFoundError):
            versions.append(f'{package} {version(package)}')
    return dict(
        machine=device_name('cuda' if running.device.startswith('cuda') else 'cpu'),
        threads=running.threads or torch.get_num_threads(),
        weights_precision=running.precision or 'fp32',
        versions=' '.join(versions),
        date=date.today().isoformat(),
        command=command_line(folders=False),
    )


def csv_rows(result: BenchmarkResult, conditions: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields a row for each number of images and model, in milliseconds, bytes and single units.

    Args:
        result: What was measured.
        conditions: Columns that all rows share, such as the machine.
    """
    height, width = result.size or (None, None)
    for batch, latencies in result.latencies.items():
        for name, each in latencies.items():
            latency, facts = asdict(each), asdict(result.models[name])
            low, high = latency.pop('bounds') or (None, None)
            beside = result.comparisons[batch].get(name)
            from_, to = (beside and beside.bounds) or (None, None)
            yield dict(
                model=name,
                batch=batch,
                height=height,
                width=width,
                images=result.images or None,
                **latency,
                median_from=low,
                median_to=high,
                **{stage: result.stages.get(name, {}).get(stage) for stage in STAGES},
                memory=result.memory[batch][name],
                beside=beside and beside.to,
                verdict=beside and beside.verdict,
                ratio=beside and beside.ratio,
                ratio_from=from_,
                ratio_to=to,
                **facts,
                metric_name=result.metric,
                noise=result.noise[batch].verdict,
                **conditions,
            )
