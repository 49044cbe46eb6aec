"""Search for the layers that stay in single precision, so that a metric drops by little enough."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ..graphs.noise import LayerError
from ..graphs.quantize import Quantizer

# What is judged, and how many points it is when it is all right.
JUDGED = {r'(bbox|segm)_mAP$': 100, r'pascal_voc/mAP$': 100, r'mIoU$': 1, r'accuracy/top1$': 1}

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Trial:
    """A file with some layers in single precision.

    Attributes:
        left_out: How many layers are, the noisiest.
        metrics: By name, in points (100 is perfect).
        drop: The most that one of them is below that of single precision.
    """

    left_out: int
    metrics: Metrics
    drop: float


@dataclass(frozen=True)
class Search:
    """How the layers were found that stay in single precision.

    Attributes:
        max_drop: The most points that a metric may drop.
        fp32: Metrics of the file of single precision, in points.
        trials: What was tried, in the order of the number of layers.
        chosen: That which holds, with the fewest layers in single precision.
        layers: All layers, the noisiest first.
    """

    max_drop: float
    fp32: Metrics
    trials: Sequence[Trial]
    chosen: Trial
    layers: Sequence[LayerError]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yields a row for each layer, the noisiest first.

        ``with`` and ``without`` are the first metric of the nearest trials that had the layer in
        eight bits and in single precision; empty where none had.
        """
        name = next(iter(self.fp32))
        for index, layer in enumerate(self.layers):
            rounded = [each for each in self.trials if each.left_out <= index]
            exact = [each for each in self.trials if each.left_out > index]
            yield asdict(layer) | {
                'in_fp32': index < self.chosen.left_out,
                f'{name} with': rounded[-1].metrics[name] if rounded else '',
                f'{name} without': exact[0].metrics[name] if exact else '',
            }


def find_left_out(
    quantizer: Quantizer,
    evaluate: Callable[[Path], Mapping[str, float]],
    source: Path,
    *,
    max_drop: float,
    folder: Path,
    start: int = 0,
    progress: Callable[[str], None],
) -> Search:
    """Leaves out more and more layers, the noisiest first, until the metrics hold.

    The number is doubled until they do, and bisected then. More layers in single precision are
    taken to be no worse.

    Args:
        quantizer: Writes the files.
        evaluate: Gives the metrics of a file.
        source: The file of single precision.
        max_drop: The most points that a metric may drop.
        folder: For the files that are tried.
        start: How many layers are left out in any case.
        progress: Gets a line about each trial.

    Raises:
        UserError: If no metric can be judged, or they hold with no layer in eight bits only.
    """
    fp32 = points(evaluate(source))
    progress(f'single precision: {_text(fp32)}')
    trials: dict[int, Trial] = {}
    most = len(quantizer.layers) - 1

    def holds(count: int) -> bool:
        path = folder / 'trial.onnx'
        quantizer.write(path, quantizer.noisiest(count))
        metrics = points(evaluate(path))
        drop = max(value - metrics[name] for name, value in fp32.items())
        trials[count] = Trial(count, metrics, drop)
        progress(f'{count} layer(s) in single precision: {_text(metrics)}, drop {drop:.2f}')
        return drop <= max_drop

    fails, count, step = start - 1, min(start, most), 1
    while not holds(count):
        if count == most:
            raise UserError(
                f'calib_config.max_drop={max_drop}: the metrics drop by '
                f'{trials[count].drop:.2f} points even with one layer in eight bits. Allow more, '
                'take more calib_config.num_images, another calib_config.method, or fp32.'
            )
        fails, count, step = count, min(count + step, most), 2 * step
    while count - fails > 1:
        middle = (fails + count) // 2
        if holds(middle):
            count = middle
        else:
            fails = middle
    ordered = [trials[key] for key in sorted(trials)]
    return Search(max_drop, fp32, ordered, trials[count], quantizer.errors)


def points(metrics: Mapping[str, float]) -> dict[str, float]:
    """Returns the metrics that are judged, in points.

    Raises:
        UserError: If there is none, or one is nothing that could drop.
    """
    found = {
        name: float(value) * scale
        for name, value in metrics.items()
        for pattern, scale in JUDGED.items()
        if re.search(pattern, name)
    }
    if not found:
        raise UserError(
            'calib_config.max_drop: of these metrics none can be judged: '
            f'{", ".join(metrics) or "none"}. Expected box or mask mAP, mIoU or accuracy/top1.'
        )
    for name, value in found.items():
        if not np.isfinite(value) or value < 0:
            raise UserError(
                f'calib_config.max_drop: {name} is {value:g} on the held-out training images, so '
                'it cannot be judged. Do they have annotations?'
            )
    return found


def _text(metrics: Metrics) -> str:
    return ', '.join(f'{name} {value:.2f}' for name, value in metrics.items())
