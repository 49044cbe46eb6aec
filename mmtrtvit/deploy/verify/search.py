"""Search for the layers that stay in single precision, so that a metric drops by little enough."""

import re
from collections import deque
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

# Trials to give layers back to eight bits.
GIVING_BACK = 20

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Trial:
    """A file with some layers in single precision.

    Attributes:
        left_out: Names of these layers, the noisiest first.
        metrics: By name, in points (100 is perfect).
        drop: The most that one of them is below that of single precision.
    """

    left_out: tuple[str, ...]
    metrics: Metrics
    drop: float

    def differing(self, other: 'Trial') -> int:
        """How many layers have another precision in another trial."""
        return len(set(self.left_out) ^ set(other.left_out))


@dataclass(frozen=True)
class Search:
    """How the layers were found that stay in single precision.

    Attributes:
        max_drop: The most points that a metric may drop.
        fp32: Metrics of the file of single precision, in points.
        trials: What was tried, in this order.
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

        ``with`` and ``without`` are the first metric of the trials most like the chosen one that
        had the layer in eight bits and in single precision; empty where none had.
        """
        name = next(iter(self.fp32))
        alike = sorted(self.trials, key=self.chosen.differing)
        for layer in self.layers:
            rounded = [each for each in alike if layer.layer not in each.left_out]
            exact = [each for each in alike if layer.layer in each.left_out]
            yield asdict(layer) | {
                'in_fp32': layer.layer in self.chosen.left_out,
                f'{name} with': rounded[0].metrics[name] if rounded else '',
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

    The number is doubled until they do, and bisected then; more layers in single precision are
    taken to be no worse. A layer's noise is not its harm: so halves of these layers are given back
    to eight bits where the metrics hold without them, then halves of the others, and so on, the
    least noisy first.

    Args:
        quantizer: Writes the files.
        evaluate: Gives the metrics of a file.
        source: The file of single precision.
        max_drop: The most points that a metric may drop.
        folder: For the files that are tried.
        start: How many layers are left out in any case, the noisiest.
        progress: Gets a line about each trial.

    Raises:
        UserError: If no metric can be judged, or they hold with no layer in eight bits only.
    """
    fp32 = points(evaluate(source))
    progress(f'single precision: {_text(fp32)}')
    trials: dict[tuple[str, ...], Trial] = {}
    names = tuple(each.layer for each in quantizer.errors)

    def tried(left_out: tuple[str, ...]) -> Trial:
        if left_out not in trials:
            path = folder / 'trial.onnx'
            quantizer.write(path, left_out)
            metrics = points(evaluate(path))
            drop = max(round(value - metrics[name], 6) for name, value in fp32.items())
            trials[left_out] = Trial(left_out, metrics, drop)
            progress(
                f'{len(left_out)} layer(s) in single precision: {_text(metrics)}, drop {drop:.2f}'
            )
        return trials[left_out]

    def holds(left_out: tuple[str, ...]) -> bool:
        return tried(left_out).drop <= max_drop

    most = len(names) - 1
    fails, count, step = start - 1, min(start, most), 1
    while not holds(names[:count]):
        if count == most:
            raise UserError(
                f'calib_config.max_drop={max_drop}: the metrics drop by '
                f'{tried(names[:count]).drop:.2f} points even with one layer in eight bits. Allow '
                'more, take more calib_config.num_images, another calib_config.method, or fp32.'
            )
        fails, count, step = count, min(count + step, most), 2 * step
    while count - fails > 1:
        middle = (fails + count) // 2
        if holds(names[:middle]):
            count = middle
        else:
            fails = middle
    chosen = names[:count]
    parts = deque(_halves(chosen[start:]))
    last = len(trials) + GIVING_BACK
    while parts and len(trials) < last:
        part = parts.popleft()
        fewer = tuple(name for name in chosen if name not in part)
        if holds(fewer):
            chosen = fewer
        else:
            parts += _halves(part)
    return Search(max_drop, fp32, list(trials.values()), tried(chosen), quantizer.errors)


def _halves(names: Sequence[str]) -> list[Sequence[str]]:
    """Both halves of two names or more, the second first."""
    middle = (len(names) + 1) // 2
    return [names[middle:], names[:middle]] if len(names) > 1 else []


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
