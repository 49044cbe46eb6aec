"""How a config resizes its images: what a model sees of an object's size."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.config import Config

RESIZES = ('Resize', 'RandomResize', 'RandomChoiceResize')


@dataclass(frozen=True)
class Resizing:
    """What a pipeline does to the size of an image; by default nothing.

    Attributes:
        scale: Width and height of the result in pixels, or what it has to fit into; None for none.
        factor: Factor of both sides, of the image where there is no ``scale``, else of that.
        keep_ratio: Whether the image keeps its aspect: its longer side then fits into the longer
            one of ``scale``, and its shorter side into the shorter one.
        random: Whether this is the middle of what the pipeline draws from.
    """

    scale: tuple[float, float] | None = None
    factor: float = 1
    keep_ratio: bool = False
    random: bool = False

    def factors(self, sizes: np.ndarray) -> np.ndarray:
        """Returns the factors of width and height of images.

        Args:
            sizes: Widths and heights in pixels, ``(N, 2)``.

        Returns:
            ``(N, 2)``.
        """
        sizes = np.asarray(sizes, float).reshape(-1, 2)
        if self.scale is None:
            return np.full(sizes.shape, float(self.factor))
        target = np.array(self.scale, float) * self.factor
        if not self.keep_ratio:
            return target / sizes
        factor = (np.sort(target) / np.sort(sizes, axis=1)).min(axis=1)
        return np.repeat(factor[:, None], 2, axis=1)

    def __str__(self) -> str:
        if self.scale is None:
            return 'as they are' if self.factor == 1 else f'x {self.factor:g}'
        width, height = (round(side * self.factor) for side in self.scale)
        kind = 'within' if self.keep_ratio else 'to'
        return f'{kind} {width} x {height}{", on average" if self.random else ""}'


def read_resizing(config: Config, split: str) -> Resizing:
    """Returns how the pipeline of a split resizes images.

    It is the first Resize, RandomResize or RandomChoiceResize of the split's data sets, wherever it
    stands in them; of a random one, the middle of its range. Crops, mosaics and other transforms
    that change sizes are not looked at.
    """
    loader = config.get(f'{split}_dataloader') or {}
    for step in _steps(loader.get('dataset')):
        try:
            return _resizing(step)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            continue  # a step that does not fit its class: building it tells
    return Resizing()


def _steps(part: Any) -> Iterator[dict]:
    if isinstance(part, dict):
        if str(part.get('type')).rpartition('.')[2] in RESIZES:
            yield part
        part = list(part.values())
    for value in part if isinstance(part, list | tuple) else ():
        yield from _steps(value)


def _resizing(step: dict) -> Resizing:
    kind = str(step['type']).rpartition('.')[2]
    keep = bool(step.get('keep_ratio', False))
    if kind == 'RandomChoiceResize':
        scales = sorted((_pair(scale) for scale in step['scales']), key=np.prod)
        return Resizing(scales[len(scales) // 2], keep_ratio=keep, random=len(scales) > 1)
    scale = step.get('scale')
    if kind == 'Resize':
        factor = float(step.get('scale_factor') or 1) if scale is None else 1.0
        return Resizing(None if scale is None else _pair(scale), factor, keep)
    if isinstance(scale[0], list | tuple):  # a range of scales
        first, last = (np.array(_pair(each)) for each in scale)
        return Resizing(tuple(((first + last) / 2).tolist()), keep_ratio=keep, random=True)
    ratios = step.get('ratio_range')
    factor = float(np.mean(ratios)) if ratios else 1.0
    return Resizing(_pair(scale), factor, keep, random=bool(ratios))


def _pair(scale: Any) -> tuple[float, float]:
    width, height = (scale, scale) if isinstance(scale, int | float) else scale
    if not min(width, height) > 0:
        raise ValueError(f'a scale of {scale}')
    return float(width), float(height)
