"""MMDetection's CocoMetric with categories by the names of the classes."""

from typing import Any

from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.fileio import get_local_path

from .by_name import CocoByName


@METRICS.register_module()
class CocoMetricByName(CocoMetric):
    """CocoMetric of mmdet for labels as :class:`~.by_name.CocoDatasetByName` gives them.

    Args:
        ann_file: The annotation file; None to evaluate on what the data set gives.
        **settings: As CocoMetric takes them.
    """

    def __init__(self, ann_file: str | None = None, **settings: Any) -> None:
        super().__init__(None, **settings)
        if ann_file is not None:
            with get_local_path(ann_file, backend_args=self.backend_args) as local_path:
                self._coco_api = CocoByName(str(local_path))
