"""Sizes of objects and shares of classes, as a model sees them after the resizing of its config."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mmengine.config import Config

from ...annotations.findings import Split
from ...annotations.problems import LEAST_SIDE
from .resizing import Resizing, read_resizing

PERCENTILES = 1, 5, 25, 50, 75, 95, 99
BLOCK = 1 << 13  # objects that are compared with all anchors at a time


@dataclass(frozen=True)
class Anchors:
    """The shapes of a head's anchors.

    Attributes:
        shapes: Widths and heights in pixels, ``(A, 2)``.
        least: The IoU under which the head takes an anchor for background, its ``neg_iou_thr``.
    """

    shapes: np.ndarray
    least: float


@dataclass
class Sizes:
    """What a model sees of a split.

    Attributes:
        resizing: How images are resized, see :class:`~.resizing.Resizing`.
        sides: Side in pixels of the square with the area of each object's box, after resizing,
            ``(N,)``; none for label maps.
        objects: How many they are, by class.
        small: How many of them are under :data:`~mmtrtvit.annotations.problems.LEAST_SIDE`, by
            class.
        unfit: How many of them no anchor fits, by class; None for a model without such anchors.
        least: The IoU that they do not reach.
        pixels: For label maps, pixels by class after resizing.
    """

    resizing: Resizing
    sides: np.ndarray
    objects: dict[str, int]
    small: dict[str, int]
    unfit: dict[str, int] | None = None
    least: float | None = None
    pixels: dict[str, float] = field(default_factory=dict)

    @property
    def percentiles(self) -> dict[int, float]:
        """The sides by percentile, see :data:`PERCENTILES`; none where there is no object."""
        if not len(self.sides):
            return {}
        return dict(zip(PERCENTILES, np.percentile(self.sides, PERCENTILES).tolist()))

    @property
    def shares(self) -> dict[str, float]:
        """For label maps, the share of the pixels by class; ignored pixels count nowhere."""
        total = sum(self.pixels.values())
        return {name: count / total for name, count in self.pixels.items()} if total else {}


def measure(config: Config, split: Split) -> Sizes:
    """Measures the objects or label maps of a split whose files were read.

    Objects that a training leaves out are not counted.

    Args:
        config: The config.
        split: The split.
    """
    resizing = read_resizing(config, split.name)
    boxes, labels = _objects(split, resizing)
    sides = np.sqrt(boxes.prod(axis=1))
    anchors = read_anchors(config.get('model'))
    pixels: dict[str, float] = {}
    for data in split.data:
        if data.labels_of_values is not None:
            for label, name in enumerate(data.classes):
                pixels[name] = pixels.get(name, 0) + data.resized[label]

    def by_class(chosen: np.ndarray) -> dict[str, int]:
        counts = np.bincount(labels[chosen], minlength=len(split.counts))
        return dict(zip(split.counts, counts.tolist()))

    return Sizes(
        resizing,
        sides,
        objects=by_class(sides >= 0),
        small=by_class(sides < LEAST_SIDE),
        unfit=None if anchors is None else by_class(best_fit(boxes, anchors) < anchors.least),
        least=None if anchors is None else anchors.least,
        pixels=pixels,
    )


def _objects(split: Split, resizing: Resizing) -> tuple[np.ndarray, np.ndarray]:
    """Returns width and height of each object after resizing, ``(N, 2)``, and its class, ``(N,)``.

    A class is numbered by its place in the split's ``counts``.
    """
    places = {name: place for place, name in enumerate(split.counts)}
    boxes, labels = [np.zeros((0, 2))], [np.zeros(0, int)]
    for data in split.data:
        images = [each for each in data.images if each.boxes and each.size and all(each.size)]
        if not images:
            continue
        corners = np.concatenate([np.array(image.boxes, float) for image in images])
        kept = ~np.concatenate([np.array(image.ignored, bool) for image in images])
        factors = resizing.factors(np.array([image.size for image in images]))
        factors = np.repeat(factors, [len(image.boxes) for image in images], axis=0)
        boxes.append(((corners[:, 2:] - corners[:, :2]) * factors)[kept])
        own = np.array([places[name] for name in data.classes])
        labels.append(own[np.concatenate([image.labels for image in images])][kept])
    return np.concatenate(boxes), np.concatenate(labels)


def read_anchors(model: Any) -> Anchors | None:
    """Returns the anchors of a model's config, as MMDetection's own generator makes them.

    They are those of ``rpn_head``, or of ``bbox_head`` in a detector of one stage. None for a head
    without an ``anchor_generator``, or whose assigner does not go by IoU (no ``neg_iou_thr``).
    """
    model = model if isinstance(model, dict) else {}
    training = model.get('train_cfg') or {}
    head, settings = model.get('rpn_head'), training.get('rpn')
    if not isinstance(head, dict):
        head, settings = model.get('bbox_head'), training
    given = head.get('anchor_generator') if isinstance(head, dict) else None
    assigner = (settings or {}).get('assigner') or {}
    least = assigner.get('neg_iou_thr') if isinstance(assigner, dict) else None
    if given is None or least is None:
        return None
    from mmdet.registry import TASK_UTILS

    try:
        levels = TASK_UTILS.build(given).base_anchors
        shapes = np.concatenate([level.numpy()[:, 2:] - level.numpy()[:, :2] for level in levels])
        return Anchors(shapes.astype(float), float(np.max(least)))
    except Exception:  # settings that do not fit their class: building the model tells
        return None


def best_fit(boxes: np.ndarray, anchors: Anchors) -> np.ndarray:
    """Returns the IoU of each object with the anchor that has the most similar shape.

    Both have the same centre. The anchors of an image stand on a grid, so that the true IoU is this
    one or less: an object counted as unfit is one, and some others may be. MMDetection's assigner
    still gives such an object its one best anchor where ``match_low_quality`` is set, as it is by
    default.

    Args:
        boxes: Widths and heights in pixels, after resizing, ``(N, 2)``.
        anchors: The anchors.

    Returns:
        ``(N,)``.
    """
    areas = anchors.shapes.prod(axis=1)
    best = np.zeros(len(boxes))
    for start in range(0, len(boxes), BLOCK):
        block = boxes[start : start + BLOCK]
        common = np.minimum(block[:, None, 0], anchors.shapes[:, 0])
        common *= np.minimum(block[:, None, 1], anchors.shapes[:, 1])
        union = block.prod(axis=1)[:, None] + areas - common
        best[start : start + BLOCK] = (common / union).max(axis=1)
    return best
