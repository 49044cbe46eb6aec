"""Exported detectors: boxes, and masks if the model has them."""

from collections.abc import Iterable, Sequence

import numpy as np

from ..errors import UserError
from .merging import LEAST_SCORE, merge_detections
from .model import Model
from .pipeline import Prepared
from .results import Detections
from .tiling import Tile, Tiling
from .work_dir import Suppression


class Detector(Model):
    """An exported detector, see :class:`~.model.Model`. Its results are :class:`Detections`."""

    task = 'Detector'
    input_names = 'input', 'sizes'
    output_names = 'num_dets', 'dets', 'labels'

    def result(
        self, outputs: dict[str, np.ndarray], prepared: Prepared, size: tuple[int, int]
    ) -> Detections:
        """Makes detections, in pixels of the image, from the outputs of the graph for it."""
        found = slice(int(outputs['num_dets'][0]))
        dets = outputs['dets'][found]
        if not np.isfinite(dets).all():
            raise UserError(
                'the model gives boxes or scores that are NaN or infinite: its weights are damaged '
                'or half precision is too small for them.'
            )
        return Detections(
            boxes=dets[:, :4] / np.tile(prepared.scale, 2),
            scores=dets[:, 4].copy(),
            labels=outputs['labels'][found].copy(),
            size=prepared.original,
            cells=outputs['masks'][found].copy() if 'masks' in outputs else None,
            mask_threshold=self.work_dir.params.mask_thr_binary,
            note=prepared.note,
        )

    def tiles(self, size: tuple[int, int], tiling: Tiling) -> list[Tile]:
        """Tiles, and the whole image if it is wanted and the pipeline makes it smaller."""
        tiles = super().tiles(size, tiling)
        whole = tiling.whole and len(tiles) > 1 and self.pipeline.resize
        return [*tiles, Tile(0, 0, *size)] if whole else tiles

    def merge(
        self,
        results: Iterable[Detections],
        tiles: Sequence[Tile],
        *,
        size: tuple[int, int],
        tiling: Tiling,
    ) -> Detections:
        """Merges the detections of tiles, see :func:`~.merging.merge_detections`."""
        nms = self.work_dir.params.nms or Suppression()
        return merge_detections(
            list(results),
            tiles,
            size=size,
            iou_threshold=nms.iou_threshold,
            merge=tiling.merge,
            score_thr=max(tiling.score_thr, LEAST_SCORE),
        )
