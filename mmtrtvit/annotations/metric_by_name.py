"""MMDetection's CocoMetric with categories by the names of the classes."""

from typing import Any

from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.fileio import get_local_path

from .by_name import CocoByName


@METRICS.register_module()
class CocoMetricByName(CocoMetric):
    """CocoMetric of mmdet for labels as :class:`~.by_name.CocoDatasetByName` gives them.

    pycocotools sorts categories by their ids, MMDetection names the classes of ``classwise`` in the
    order of the config. For the two to agree, categories in another order get other ids, unless
    ``outfile_prefix`` asks for files of results, which have the ids of the annotation file.

    Args:
        ann_file: The annotation file; None to evaluate on what the data set gives.
        **settings: As CocoMetric takes them.
    """

    def __init__(self, ann_file: str | None = None, **settings: Any) -> None:
        super().__init__(None, **settings)
        if ann_file is not None:
            with get_local_path(ann_file, backend_args=self.backend_args) as local_path:
                self._coco_api = CocoByName(str(local_path))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Computes the metrics from the results of all images."""
        if self._coco_api is not None and self.outfile_prefix is None:
            classes = self.dataset_meta['classes']
            ids = self._coco_api.get_cat_ids(classes)
            if ids != sorted(ids):
                self._coco_api.renumber(classes)
        return super().compute_metrics(results)
