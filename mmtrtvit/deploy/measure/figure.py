"""The figure of a benchmark: a quantity of the models over their latency."""

import textwrap
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from ...analysis.pareto import Mark, pareto_figure
from .benchmark import BenchmarkResult
from .quantities import QUANTITIES
from .tables import describe_work, short_names

TITLE = 120  # letters of a line of the title
TITLES = dict(
    pytorch='PyTorch', onnxruntime='ONNX Runtime', openvino='OpenVINO', tensorrt='TensorRT'
)


def draw(result: BenchmarkResult, against: str, conditions: Mapping[str, Any]) -> Figure:
    """Draws each model at the first number of images.

    Args:
        result: What was measured, with the quantity of every model.
        against: A key of :data:`.QUANTITIES`.
        conditions: As :func:`.tables.known` returns them, for the title.
    """
    quantity = QUANTITIES[against]
    batch, latencies = next(iter(result.latencies.items()))
    names = short_names(result)
    marks = [
        Mark(
            names[name],
            latencies[name].median,
            getattr(facts, quantity.attribute) / quantity.unit,
            TITLES.get(facts.backend, facts.backend),
            latencies[name].bounds,
        )
        for name, facts in result.models.items()
    ]
    title = '{machine}, threads: {threads}, {versions}, {date}'.format_map(conditions)
    return pareto_figure(
        marks,
        xlabel=f'milliseconds for {describe_work(result, batch)}',
        ylabel=quantity.label or result.metric,
        title=textwrap.fill(title, TITLE),
        more_is_better=quantity.more_is_better,
        joined=False,
    )
