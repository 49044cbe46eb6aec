"""Benchmark of models side by side: on noise, or on images with all that is around the network."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ...analysis.estimates import times_until_certain
from ...analysis.noise import Comparison, Noise, compare_times, noise_of
from ...analysis.timing import threads as torch_threads
from ...errors import UserError
from ...runtime.sessions.base import Session
from ..backends.registry import backend_of
from ..graphs.layer_times import LayerTime
from .latency import Latency, common_size, latency_of, random_inputs
from .memory import MemoryMeter
from .opening import Running, check, import_runtime, open_pipeline_of, open_session_of
from .pipelines import STAGES, Pipeline
from .quantities import QUANTITIES, build, count_cost, read_metrics
from .sources import Source, find_sources

PROFILED_ROUNDS = 10
LEAST_ROUNDS = 100  # the fewest that have a slowest hundredth

Times = Mapping[str, Sequence[float]]  # milliseconds of the rounds by model


@dataclass(frozen=True)
class Ending:
    """When a measurement ends.

    Attributes:
        rounds: After exactly so many rounds; None for as many as it takes.
        most_uncertainty: How uncertain medians may be where rounds are not given.
        seconds: Most time for a number of images, where rounds are not given.
        warmup: Calls of each model before the first round.
    """

    rounds: int | None = None
    most_uncertainty: float = 0.02
    seconds: float = 60.0
    warmup: int = 5

    def measure(self, calls: Mapping[str, Callable], least: int, **options: Any) -> Times:
        """Returns the times of calls, see :func:`.times_until_certain`.

        Args:
            calls: By name.
            least: Least rounds where their number is not given.
            options: Of that function.
        """
        if self.rounds:
            limits: dict[str, Any] = dict(rounds=self.rounds)
        else:
            limits = dict(
                rounds=least, most_uncertainty=self.most_uncertainty, seconds=self.seconds
            )
        limits |= dict(warm_ups=self.warmup, together=True)
        return times_until_certain(calls, **limits | options)


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model beside its times.

    Attributes:
        kind: As in :class:`.Source`.
        backend: What runs it.
        random: Whether its weights are random numbers.
        parameters: Number of them; None if that is not known.
        macs: Multiply-adds for an image; None if that is not known.
        metric: Its metric; None if that is not known.
    """

    kind: str
    backend: str
    random: bool
    parameters: int | None = None
    macs: int | None = None
    metric: float | None = None


@dataclass
class BenchmarkResult:
    """What was measured.

    Attributes:
        latencies: By number of images, then by model; on images, of the whole way.
        layers: Layers by model, at the first number of images.
        models: What is known of the models.
        memory: The most bytes that a model holds, by number of images, then by model.
        comparisons: Each model but the first beside the first, by number of images.
        noise: How noisy the runs were, by number of images.
        stages: Median milliseconds of each stage of the way, by model; empty on noise.
        size: Height and width of the noise; None on images.
        images: On how many images, 0 on noise.
        metric: Name of the metric.
        most_uncertainty: How uncertain medians were to be at most; None where rounds were given.
    """

    latencies: dict[int, dict[str, Latency]] = field(default_factory=dict)
    layers: dict[str, list[LayerTime]] = field(default_factory=dict)
    models: dict[str, ModelFacts] = field(default_factory=dict)
    memory: dict[int, dict[str, int | None]] = field(default_factory=dict)
    comparisons: dict[int, dict[str, Comparison]] = field(default_factory=dict)
    noise: dict[int, Noise] = field(default_factory=dict)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    images: int = 0
    metric: str = 'metric'
    most_uncertainty: float | None = None

    def add(
        self,
        batch: int,
        times: Times,
        meters: Mapping[str, MemoryMeter],
    ) -> None:
        """Summarises the milliseconds of the rounds of a number of images."""
        (first, reference), *others = times.items()
        self.latencies[batch] = {name: latency_of(each, batch) for name, each in times.items()}
        self.memory[batch] = {name: meter.peak for name, meter in meters.items()}
        self.comparisons[batch] = {
            name: compare_times(each, reference, first) for name, each in others
        }
        self.noise[batch] = noise_of(times, self.images or 1)


def benchmark(
    models: Sequence[str | Path],
    config: str | Path | None = None,
    *,
    images: Sequence[str | Path] = (),
    size: tuple[int, int] | None = None,
    batches: Sequence[int] = (1,),
    running: Running | None = None,
    ending: Ending | None = None,
    layers: bool = False,
    metrics: Mapping[str, float] | None = None,
    metric: str | None = None,
    needed: str | None = None,
) -> BenchmarkResult:
    """Times models in turn.

    Args:
        models: Configs, weights, work dirs, exported files and ``timm:NAME``, as
            :func:`.find_sources` takes them.
        config: Config of weights; default: the one of their training.
        images: Files that are predicted on one by one, from the file to the result. Without any
            the networks alone are timed on noise.
        size: Height and width of the noise; default: that of a model which takes no other.
        batches: How many images of noise at once.
        running: Where and how the models run.
        ending: When a measurement ends.
        layers: Whether to measure the layers of graphs as well.
        metrics: Values of a metric by model, beside those that trainings logged.
        metric: Its name; default: see :func:`.read_metrics`.
        needed: A key of :data:`.QUANTITIES` that has to be known of all models.

    Raises:
        UserError: If a model cannot be opened or does not take images of that size, an image
            cannot be used, or what is needed is not known.
    """
    if images and (size or layers or [*batches] != [1]):
        raise UserError(
            '--images are predicted on one by one, each in the size that a pipeline gives it: '
            'leave --shape, --batch and --layers out.'
        )
    running, ending = running or Running(), ending or Ending()
    sources = find_sources(models, config)
    check(sources, running)
    title, values = read_metrics(sources, metrics or {}, metric)
    networks = {source.name: build(source) for source in sources}
    for source in sources:
        import_runtime(source, running)
    result = BenchmarkResult(
        images=len(images),
        metric=title,
        most_uncertainty=None if ending.rounds else ending.most_uncertainty,
    )
    meters = {source.name: MemoryMeter(running.device) for source in sources}
    opened = _open(sources, running, meters, whole=bool(images))

    def note_facts(sizes: Mapping[str, tuple[int, int]]) -> None:
        for source in sources:
            result.models[source.name] = _facts(
                source,
                opened[source.name].backend,
                count_cost(networks[source.name], sizes[source.name]),
                values.get(source.name),
            )
        if needed:
            _require(result, needed)

    with torch_threads(running.threads or None):
        if images:
            _try_images(opened, images, meters)
            note_facts({name: each.size for name, each in opened.items()})
            _time_images(result, opened, images, ending=ending, meters=meters)
            return result
        result.size = common_size(opened, size)
        note_facts(dict.fromkeys(opened, result.size))
        for batch in batches:
            calls = _calls_on_noise(opened, batch, result.size)
            for name, call in calls.items():
                with meters[name].watching():
                    _try(name, call, result.size)
            result.add(batch, ending.measure(calls, LEAST_ROUNDS), meters)
    if layers:
        result.layers = _layer_times(sources, opened, batches[0], result.size, running, ending)
    return result


def _open(
    sources: Sequence[Source], running: Running, meters: Mapping[str, MemoryMeter], *, whole: bool
) -> dict[str, Any]:
    """Opens all models: pipelines if the whole way is timed, else sessions."""
    open_one: Callable = open_pipeline_of if whole else open_session_of
    opened = {}
    for source in tqdm(sources, 'opening', unit='model', disable=None, leave=False):
        with meters[source.name].watching():
            opened[source.name] = open_one(source, running)
    return opened


def _facts(
    source: Source, backend: str, cost: tuple[int, int] | None, metric: float | None
) -> ModelFacts:
    parameters, macs = cost or (None, None)
    return ModelFacts(source.kind, backend, source.is_random, parameters, macs, metric)


def _require(result: BenchmarkResult, needed: str) -> None:
    quantity = QUANTITIES[needed]
    lacking = [
        name for name, each in result.models.items() if getattr(each, quantity.attribute) is None
    ]
    if lacking:
        raise UserError(
            f'the figure against {needed} cannot be drawn, as {quantity.title} of '
            f'{", ".join(lacking)} are not known. {quantity.advice}'
        )


def _calls_on_noise(
    sessions: Mapping[str, Session], batch: int, size: tuple[int, int]
) -> dict[str, Callable]:
    calls: dict[str, Callable] = {}
    for name, session in sessions.items():
        try:
            calls[name] = partial(session.run, random_inputs(session, batch, size=size))
        except UserError as error:
            raise UserError(f'{name}: {error}') from error
    return calls


def _try(name: str, call: Callable, size: tuple[int, int]) -> None:
    """Runs a model for the first time.

    Raises:
        UserError: If PyTorch cannot run it on this size, or it fails otherwise.
    """
    try:
        call()
    except (AssertionError, RuntimeError) as error:
        raise UserError(
            f'{name} cannot be run on images of {size[0]}x{size[1]}: '
            f'{str(error).splitlines()[0]} Give another --shape.'
        ) from error


def _try_images(
    pipelines: Mapping[str, Pipeline],
    images: Sequence[str | Path],
    meters: Mapping[str, MemoryMeter],
) -> None:
    """Runs every model on every image, before anything is timed.

    Raises:
        UserError: With the model and the image that it cannot use.
    """
    for name, pipeline in tqdm(pipelines.items(), 'trying', disable=None, leave=False):
        with meters[name].watching():
            for image in images:
                try:
                    pipeline.run(image)
                except UserError as error:
                    raise UserError(f'{name} cannot use {image}: {error}') from error


def _time_images(
    result: BenchmarkResult,
    pipelines: Mapping[str, Pipeline],
    images: Sequence[str | Path],
    *,
    ending: Ending,
    meters: Mapping[str, MemoryMeter],
) -> None:
    """Times models on images; in a round all of them look at the same one."""
    stages: dict[str, list[dict[str, float]]] = {name: [] for name in pipelines}

    def go(name: str) -> float:
        found = pipelines[name].run(images[len(stages[name]) % len(images)])
        stages[name].append(found)
        return sum(found.values())

    warm_ups = max(ending.warmup - len(images), 0)  # beyond those of _try_images
    passes = math.ceil(LEAST_ROUNDS / len(images))
    times = ending.measure(
        {name: partial(go, name) for name in pipelines},
        passes * len(images),
        clock=lambda call: call(),
        warm_ups=warm_ups,
    )
    result.add(1, times, meters)
    result.stages = {
        name: {
            stage: float(np.median([each[stage] for each in found[warm_ups:]])) for stage in STAGES
        }
        for name, found in stages.items()
    }


def _layer_times(
    sources: Sequence[Source],
    sessions: Mapping[str, Session],
    batch: int,
    size: tuple[int, int],
    running: Running,
    ending: Ending,
) -> dict[str, list[LayerTime]]:
    return {
        source.name: backend_of(source.target, running.device).layer_times(
            sessions[source.name],
            Path(source.target),
            random_inputs(sessions[source.name], batch, size=size),
            rounds=PROFILED_ROUNDS,
            warmup=ending.warmup,
            threads=running.threads,
            timeout=running.timeout,
        )
        for source in sources
        if source.kind == 'file'
    }
