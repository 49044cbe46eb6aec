"""Layers of an ONNX file in ONNX Runtime."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import numpy as np

from ....runtime.sessions.onnx import OnnxSession
from ...graphs.layer_times import LayerTime, common_module
from ...graphs.nodes import nodes_of_layer


def onnx_layers(
    path: str | Path,
    inputs: Mapping[str, np.ndarray],
    *,
    rounds: int = 10,
    warmup: int = 2,
    threads: int = 0,
    timeout: float | None = None,
) -> list[LayerTime]:
    """Layers of an ONNX file in ONNX Runtime on the CPU, by its own profiler.

    Args:
        path: The file.
        inputs: Arrays by name.
        rounds: Runs that count.
        warmup: Runs before them.
        threads: Threads of one operator; 0 for one per core.
        timeout: Most seconds of a run; None for no limit.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = OnnxSession(
            path, threads=threads, timeout=timeout, profile=Path(folder, 'profile')
        )
        for _ in range(warmup + rounds):
            session.run(inputs)
        events = json.loads(session.end_profile().read_text())
    times: dict[str, list[float]] = {}
    for event in events:
        if event.get('cat') == 'Node' and event['name'].endswith('_kernel_time'):
            name = event['name'].removesuffix('_kernel_time')
            times.setdefault(name, []).append(event['dur'] / 1000)
    return [
        LayerTime(name, common_module(nodes_of_layer(name)), median(values[warmup:]))
        for name, values in times.items()
    ]
