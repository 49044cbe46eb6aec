"""Exported segmentors: the class of each pixel."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import UserError
from .merging import Logits, blend_logits, merge_label_maps
from .model import Model
from .pipeline import Prepared
from .results import LabelMap
from .sessions.base import Session
from .tiling import Tile, Tiling


class Segmentor(Model):
    """An exported segmentor, see :class:`~.model.Model`. Its results are :class:`LabelMap`."""

    task = 'Segmentor'
    output_names = ('output',)

    def __init__(
        self,
        work_dir: str | Path,
        device: str | None = None,
        *,
        threads: int = 0,
        timeout: float | None = None,
        session: Session | None = None,
    ) -> None:
        super().__init__(work_dir, device, threads=threads, timeout=timeout, session=session)
        output = next(each for each in self.session.outputs if each.name == 'output')
        if len(output.shape) not in (3, 4):
            raise UserError(
                f'{self.work_dir.net}: the output has the shape {output.shape}, expected logits '
                '(B, C, H, W) or label maps (B, H, W).'
            )
        self._has_logits = len(output.shape) == 4

    def result(
        self, outputs: dict[str, np.ndarray], prepared: Prepared, size: tuple[int, int]
    ) -> LabelMap:
        """Makes a label map, in the size of the image, from the outputs of the graph for it."""
        output = outputs['output']
        if output.ndim == 3 and len(output) == 1:
            logits = np.stack([*self._enlarged(output, prepared, size)])
            return LabelMap(self._labels(logits), prepared.note)
        count = len(output) if output.ndim == 3 else self.work_dir.params.num_classes
        count = count or int(output.max()) + 1
        labels: np.ndarray = np.zeros(prepared.original, _dtype(count))
        best = None
        names = range(count) if output.ndim == 3 else np.unique(output)
        planes = output if output.ndim == 3 else (output == label for label in names)
        for label, logits in zip(names, self._enlarged(planes, prepared, size)):
            if best is None:
                best = logits.copy()
                labels[:] = label
            else:
                better = logits > best
                labels[better] = label
                best[better] = logits[better]
        return LabelMap(labels, prepared.note)

    def part(
        self, outputs: dict[str, np.ndarray], prepared: Prepared, size: tuple[int, int]
    ) -> LabelMap | Logits:
        """Logits of a tile in its size, or its label map if the graph gives no logits."""
        output = outputs['output']
        if output.ndim == 2:
            return self.result(outputs, prepared, size)
        planes = self._enlarged(output, prepared, size)
        return Logits(planes, len(output), prepared.note)

    def merge(
        self,
        results: Iterable[Any],
        tiles: Sequence[Tile],
        *,
        size: tuple[int, int],
        tiling: Tiling,
    ) -> LabelMap:
        """Blends the logits of tiles; of two label maps that overlap, each keeps its half."""
        if self._has_logits:
            return blend_logits(results, tiles, size=size, label=self._labels)
        return merge_label_maps(list(results), tiles, size)

    def _enlarged(
        self, planes: Iterable[np.ndarray], prepared: Prepared, size: tuple[int, int]
    ) -> Iterator[np.ndarray]:
        """Planes of the graph's output in the size of the image, ``(H, W)``, float32."""
        align_corners = self.work_dir.params.align_corners
        for plane in planes:
            plane = resize(plane.astype(np.float32, copy=False), size, align_corners)
            plane = plane[: prepared.size[0], : prepared.size[1]]
            yield resize(plane, prepared.original, align_corners)

    def _labels(self, logits: np.ndarray) -> np.ndarray:
        """Labels ``(H, W)`` of logits ``(C, H, W)``."""
        if len(logits) == 1:
            return (1 / (1 + np.exp(-logits[0])) > self.work_dir.params.threshold).astype(np.uint8)
        return logits.argmax(axis=0).astype(_dtype(len(logits)))


def _dtype(count: int) -> type:
    """The smallest type that holds labels of a number of classes."""
    return np.uint8 if count <= 256 else np.uint16


def resize(plane: np.ndarray, size: tuple[int, int], align_corners: bool) -> np.ndarray:
    """Enlarges or shrinks ``(h, w)``, float32, to ``(H, W)`` as PyTorch's bilinear interpolation.

    Args:
        plane: The values.
        size: Height and width.
        align_corners: Whether the centres of the corners stay where they are, rather than their
            outer borders.
    """
    if plane.shape == tuple(size):
        return plane
    if not align_corners:
        return cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR)
    for axis, side in enumerate(size):
        place = np.linspace(0, plane.shape[axis] - 1, side, dtype=np.float32)
        lower = np.minimum(place.astype(np.intp), max(plane.shape[axis] - 2, 0))
        upper = np.minimum(lower + 1, plane.shape[axis] - 1)
        share = (place - lower).reshape((-1, 1) if axis == 0 else (1, -1))
        plane = plane.take(lower, axis) * (1 - share) + plane.take(upper, axis) * share
    return plane
