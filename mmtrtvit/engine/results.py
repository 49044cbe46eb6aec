"""Results: predictions of the host packages in the classes of the runtime."""

import numpy as np
from mmengine.structures import BaseDataElement

from ..runtime import Detections, LabelMap, Scores


def result_of(sample: BaseDataElement) -> Detections | LabelMap | Scores:
    """Returns a prediction in pixels of the image, as arrays.

    Args:
        sample: ``DetDataSample`` with ``pred_instances``, ``SegDataSample`` with ``pred_sem_seg``,
            or MMPretrain's ``DataSample`` with ``pred_score``.

    Returns:
        Detections, the best first, with masks in the whole image if there are any; or a label map,
        in the smallest type that PNG has for it; or scores.
    """
    if 'pred_score' in sample:
        scores = sample.pred_score.cpu().numpy().astype(np.float32)
        return Scores(scores, tuple(sample.ori_shape[:2]))
    if 'pred_sem_seg' in sample:
        labels = sample.pred_sem_seg.data[0].cpu().numpy()
        return LabelMap(labels.astype(np.uint8 if labels.max() < 256 else np.uint16))
    found = sample.pred_instances.cpu()
    found = found[found.scores.argsort(descending=True, stable=True)].numpy()
    return Detections(
        boxes=found.bboxes.astype(np.float32),
        scores=found.scores.astype(np.float32),
        labels=found.labels.astype(np.int32),
        size=tuple(sample.ori_shape[:2]),
        whole_masks=found.masks.astype(bool) if 'masks' in found else None,
    )
