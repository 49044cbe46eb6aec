"""Comparison of an ONNX file step by step, also in front of its score threshold.

Where a model finds nothing, its predictions say nothing of the file. So a copy of the graph shows
its steps (:mod:`..graphs.steps`), and MMDetection or MMSegmentation computes each step from what
the graph itself had in front of it. Rounding decides which of two equal boxes stays; compared like
this, it does not make all that comes behind another.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...engine.predictor import Predictor
from ...runtime.sessions.base import Session, image_input, resizes
from ...runtime.sessions.onnx import OnnxSession
from ..export.support import is_classifier, is_segmentor
from ..graphs.graph import load_onnx
from ..graphs.steps import (
    BOX_DELTAS,
    BOX_LOGITS,
    CLASS_LOGITS,
    DELTAS,
    LOGITS,
    PROPOSALS,
    SCORES,
    THRESHOLD,
    VALID,
    show,
)
from .compare import BOX_TOLERANCE, SCORE_TOLERANCE, Difference, Part, match, merged
from .evaluation import HostPreprocessor

CANDIDATES = 300  # pairs of box and class of an image that NMS gets here: the best
MAP_TOLERANCE = 2e-4  # of the spread of a map's values
LEAST_SPREAD = 1e-2  # of the largest value: single precision tells no finer
CELL_TOLERANCE = 1e-3  # of a mask's probabilities
# Share of the boxes that may be without partner: of two that overlap and have scores equal but for
# rounding, one side keeps the one and one the other.
SPARE = 0.05


def compare_steps(
    predictor: Predictor,
    path: str | Path,
    *,
    images: Sequence[np.ndarray],
    device: str = 'cpu',
    timeout: float | None = None,
    open_graph: Callable[[Path], Session] | None = None,
) -> list[Difference]:
    """Compares the steps of an exported file with those of the model.

    Args:
        predictor: The model in PyTorch.
        path: The ONNX file.
        images: Images as OpenCV reads them.
        device: Where the file runs.
        timeout: Most seconds of a run of it.
        open_graph: Opens it; default: in ONNX Runtime.

    Returns:
        A difference for each step. Of a detector NMS and all behind it are run on the best
        :data:`CANDIDATES` pairs of box and class, whatever the score threshold.

    Raises:
        UserError: If the file does not show its steps, or a run takes longer.
    """
    with tempfile.TemporaryDirectory() as folder:
        graph = load_onnx(path)
        show(graph)
        copy = Path(folder, 'steps.onnx')
        onnx.save(graph, copy)
        session = open_graph(copy) if open_graph else OnnxSession(copy, device, timeout=timeout)
    model = predictor.model
    parts: list[Part] = []
    for image in images:
        found, inputs, meta = _run(predictor, session, image)
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            maps = model.extract_feat(inputs)
            if is_classifier(model):
                parts.append(_maps('logits', [found[CLASS_LOGITS]], [model.head(maps)]))
            elif is_segmentor(model):
                logits = found.get(LOGITS, found['output'])
                parts.append(_maps('logits', [logits], [model.decode_head(maps)]))
            elif hasattr(model, 'roi_head'):
                parts += _two_stages(model, maps, found, meta)
            else:
                parts += _one_stage(model, maps, found, meta)
    return merged(parts)


def _run(
    predictor: Predictor, session: Session, image: np.ndarray
) -> tuple[dict[str, Tensor], Tensor, dict]:
    """The graph's tensors, the input of the model, and what is known of the image."""
    preprocessor, resized = predictor.model.data_preprocessor, resizes(session)
    of_graph = HostPreprocessor(preprocessor, image_input(session).shape, resizes=resized)
    of_model = HostPreprocessor(preprocessor, (None, 3, *of_graph.network_size))
    before = predictor.without_resizing() if resized else predictor
    data = of_graph(pseudo_collate([before.prepare(image)]))
    arrays = of_graph.arrays(data['inputs'], [data['data_samples'][0].img_shape[:2]])
    if any(each.name == THRESHOLD for each in session.inputs):
        # A threshold changes nothing in front of it, and 1 lets nothing through.
        scores = session.run(arrays | {THRESHOLD: np.array(1, np.float32)})[SCORES][0]
        arrays[THRESHOLD] = np.array(_threshold(scores))
    found = {name: torch.from_numpy(value) for name, value in session.run(arrays).items()}
    data = of_model(pseudo_collate([predictor.prepare(image)]))
    meta = dict(data['data_samples'][0].metainfo, score_thr=float(arrays.get(THRESHOLD, 0)))
    inputs = data['inputs']
    return {name: value.to(inputs.device) for name, value in found.items()}, inputs, meta


def _threshold(scores: np.ndarray) -> np.float32:
    """A score between the best :data:`CANDIDATES` and the others, or 0 where there are none."""
    ranked = np.sort(scores[scores > 0])[::-1]
    others = ranked[CANDIDATES:]
    others = others[others < ranked[CANDIDATES - 1]] if len(others) else others
    return np.float32((others[0] + ranked[CANDIDATES - 1]) / 2 if len(others) else 0)


def _one_stage(
    model: nn.Module, maps: Sequence[Tensor], found: dict[str, Tensor], meta: dict
) -> Iterator[Part]:
    head = model.bbox_head
    logits, deltas = _of_levels(found, LOGITS), _of_levels(found, DELTAS)
    expected_logits, expected_deltas = head(maps)
    yield _maps('class logits', logits, expected_logits)
    yield _maps('box deltas', deltas, expected_deltas)
    settings = deepcopy(model.test_cfg)
    settings.score_thr = meta['score_thr']
    (expected,) = head.predict_by_feat(
        logits, deltas, batch_img_metas=[meta], cfg=settings, rescale=False
    )
    yield from _best(found, expected)


def _two_stages(
    model: nn.Module, maps: Sequence[Tensor], found: dict[str, Tensor], meta: dict
) -> Iterator[Part]:
    logits, deltas = _of_levels(found, LOGITS), _of_levels(found, DELTAS)
    expected_logits, expected_deltas = model.rpn_head(maps)
    yield _maps('RPN logits', logits, expected_logits)
    yield _maps('RPN deltas', deltas, expected_deltas)
    (expected,) = model.rpn_head.predict_by_feat(
        logits, deltas, batch_img_metas=[meta], cfg=model.test_cfg.rpn, rescale=False
    )
    valid = found[VALID][0]
    proposals = found[PROPOSALS][0, valid]
    yield _boxes('proposals', _alike(proposals), _alike(expected.bboxes))

    roi_head = model.roi_head
    logits = found[BOX_LOGITS][0, valid]
    deltas = found[BOX_DELTAS].reshape(*valid.shape, -1)[valid]
    regions = _regions(proposals)
    expected = roi_head._bbox_forward(maps, regions)
    yield _maps('class logits', [logits], [expected['cls_score']])
    yield _maps('box deltas', [deltas], [expected['bbox_pred']])
    settings = deepcopy(model.test_cfg.rcnn)
    settings.score_thr = meta['score_thr']
    (expected,) = roi_head.bbox_head.predict_by_feat(
        (regions,), (logits,), (deltas,), [meta], rcnn_test_cfg=settings, rescale=False
    )
    yield from _best(found, expected)

    if roi_head.with_mask:
        best = _instances(found)
        cells = roi_head._mask_forward(maps, _regions(best.bboxes))['mask_preds'].sigmoid()
        classes = best.labels * (not roi_head.mask_head.class_agnostic)
        errors = found['masks'][0, : len(best)] - cells[torch.arange(len(best)), classes]
        yield Part('best boxes: mask probabilities', errors.abs(), CELL_TOLERANCE)


def _of_levels(found: dict[str, Tensor], step: str) -> list[Tensor]:
    """The maps of a step, level by level, in single precision."""
    count = sum(name.startswith(f'{step}/') for name in found)
    return [found[f'{step}/{level}'].float() for level in range(count)]


def _regions(boxes: Tensor) -> Tensor:
    """Boxes of one image as MMDetection's pooling takes them: ``(N, 4) -> (N, 5)``."""
    return torch.cat([boxes.new_zeros(len(boxes), 1), boxes], dim=1)


def _alike(boxes: Tensor) -> InstanceData:
    """Boxes without scores and classes."""
    zeros = boxes.new_zeros(len(boxes))
    return InstanceData(bboxes=boxes, scores=zeros, labels=zeros.long())


def _instances(found: dict[str, Tensor]) -> InstanceData:
    dets = found['dets'][0, : int(found['num_dets'][0, 0])]
    labels = found['labels'][0, : len(dets)].long()
    return InstanceData(bboxes=dets[:, :4], scores=dets[:, 4], labels=labels)


def _best(found: dict[str, Tensor], expected: InstanceData) -> Iterator[Part]:
    ours = _instances(found)
    yield _boxes('best boxes', ours, expected)
    first, second = match(ours, expected)
    errors = (ours.scores[first] - expected.scores[second]).abs()
    yield Part('best boxes: scores', errors, SCORE_TOLERANCE)


def _boxes(what: str, ours: InstanceData, theirs: InstanceData) -> Part:
    first, second = match(ours, theirs)
    errors = (ours.bboxes[first] - theirs.bboxes[second]).abs().flatten()
    total = len(ours) + len(theirs)
    return Part(
        f'{what} (pixels)',
        errors,
        BOX_TOLERANCE,
        unmatched=total - 2 * len(first),
        spare=SPARE * total,
    )


def _maps(what: str, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Part:
    """Differences of maps in units of their spread, so that a constant bias hides nothing.

    The spread is the largest distance of a value from the mean of its channel over all maps.
    """
    a, b = (torch.cat([_rows(x) for x in side]) for side in (ours, theirs))
    spread = torch.maximum((b - b.mean(dim=0)).abs().amax(), LEAST_SPREAD * b.abs().amax())
    return Part(f'{what} (of their spread)', (a - b).abs() / spread.clamp(min=1e-30), MAP_TOLERANCE)


def _rows(x: Tensor) -> Tensor:
    """``(B, C, H, W)`` or ``(N, C)`` as rows of C numbers in single precision."""
    return (x.movedim(1, -1).flatten(0, -2) if x.dim() > 2 else x).float()
