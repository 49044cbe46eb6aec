"""Exported segmentors: the class of each pixel."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError
from .model import Model
from .pipeline import Prepared
from .results import LabelMap
from .sessions.base import Session
from .tiles import Tile, merge_label_maps


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

    def result(
        self, outputs: dict[str, np.ndarray], prepared: Prepared, size: tuple[int, int]
    ) -> LabelMap:
        """Makes a label map, in the size of the image, from the outputs of the graph for it."""
        params = self.work_dir.params
        output = outputs['output']
        align_corners = params.align_corners
        count = len(output) if output.ndim == 3 else params.num_classes or int(output.max()) + 1
        labels = np.zeros(prepared.original, np.uint8 if count <= 256 else np.uint16)
        best = None
        for label, logits in _planes(output):
            logits = resize(logits, size, align_corners)
            logits = logits[: prepared.size[0], : prepared.size[1]]
            logits = resize(logits, prepared.original, align_corners)
            if output.ndim == 3 and count == 1:
                threshold = params.threshold
                labels[1 / (1 + np.exp(-logits)) > threshold] = 1
            elif best is None:
                best = logits.copy()
                labels[:] = label
            else:
                better = logits > best
                labels[better] = label
                best[better] = logits[better]
        return LabelMap(labels, prepared.note)

    def merge(
        self, results: Sequence[LabelMap], tiles: Sequence[Tile], size: tuple[int, int]
    ) -> LabelMap:
        """Merges the label maps of tiles: where two overlap, each keeps its half."""
        return merge_label_maps(results, tiles, size)


def _planes(output: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each class with its logits, or with ones where a label map has it: ``(H, W)``, float32."""
    if output.ndim == 3:
        yield from enumerate(output)
    else:
        for label in np.unique(output):
            yield int(label), (output == label).astype(np.float32)


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
