"""Results of a model, in pixels of the original image."""

from dataclasses import dataclass, replace

import numpy as np

from .masks import paste


@dataclass(frozen=True)
class BadImage:
    """Stands for the result of an image that cannot be used.

    Attributes:
        reason: Why.
    """

    reason: str


@dataclass(frozen=True, eq=False)
class Detections:
    """Boxes in an image, the best first.

    Attributes:
        boxes: Left, top, right and bottom in pixels, ``(N, 4)``, float32.
        scores: ``(N,)``, float32.
        labels: ``(N,)``, int32.
        size: Height and width of the image.
        cells: Probabilities that the parts of the boxes belong to the objects, ``(N, h, w)``,
            float32; None if there are no masks, or whole ones.
        mask_threshold: Least probability of a pixel that belongs to a mask.
        note: What was done to the image that the pipeline does not say, or nothing.
        whole_masks: Masks in the whole image, ``(N, H, W)``, bool, instead of the cells.
        track_ids: Identities in a video, ``(N,)``, int64, from 1; 0 for objects without one; None
            if nothing was tracked.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    size: tuple[int, int]
    cells: np.ndarray | None = None
    mask_threshold: float = 0.5
    note: str = ''
    whole_masks: np.ndarray | None = None
    track_ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: np.ndarray | slice) -> 'Detections':
        """Those of a slice, of indices or of a mask over all of them."""
        parts = 'boxes', 'scores', 'labels', 'cells', 'whole_masks', 'track_ids'
        values = {name: getattr(self, name) for name in parts}
        return replace(
            self,
            **{name: value[index] for name, value in values.items() if value is not None},
        )

    def above(self, score: float) -> 'Detections':
        """Those with a higher score."""
        return self[self.scores > score]

    @property
    def best_score(self) -> float:
        """The highest score; 0 if there is none."""
        return float(self.scores.max(initial=0))

    def classes(self) -> list[int]:
        """The label of each detection."""
        return self.labels.tolist()

    def track_id(self, index: int) -> int | None:
        """The identity of one detection, None if it has none."""
        return None if self.track_ids is None else int(self.track_ids[index]) or None

    @property
    def has_masks(self) -> bool:
        """Whether the model finds masks, too."""
        return self.cells is not None or self.whole_masks is not None

    def mask(self, index: int) -> np.ndarray:
        """Mask of one detection in the whole image, ``(H, W)``, bool."""
        if self.whole_masks is not None:
            return self.whole_masks[index]
        return paste(
            self.cells[index], self.boxes[index], size=self.size, threshold=self.mask_threshold
        )

    @property
    def masks(self) -> np.ndarray:
        """All masks, ``(N, H, W)``, bool; made anew at each call."""
        masks = np.zeros((len(self), *self.size), bool)
        for index in range(len(self)):
            masks[index] = self.mask(index)
        return masks


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The class of each pixel of an image.

    Attributes:
        labels: ``(H, W)``, uint8, or uint16 for more than 256 classes.
        note: What was done to the image that the pipeline does not say, or nothing.
    """

    labels: np.ndarray
    note: str = ''

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.labels.shape

    best_score = 1.0  # a label map has no scores

    def above(self, score: float) -> 'LabelMap':
        """All of it."""
        return self

    def classes(self) -> list[int]:
        """The labels that it has, that of the largest part first."""
        return [*self.shares()]

    def shares(self) -> dict[int, float]:
        """Share of the image of each label that it has, the largest first."""
        counts = np.bincount(self.labels.ravel())
        order = np.argsort(-counts, kind='stable')
        return {int(label): counts[label] / self.labels.size for label in order if counts[label]}


@dataclass(frozen=True, eq=False)
class Classification:
    """How likely an image is of each class.

    Attributes:
        scores: Probabilities by label, ``(C,)``, float32.
        size: Height and width of the image.
        note: What was done to the image that the pipeline does not say, or nothing.
    """

    scores: np.ndarray
    size: tuple[int, int]
    note: str = ''

    @property
    def label(self) -> int:
        """The most likely class."""
        return int(self.scores.argmax())

    @property
    def best_score(self) -> float:
        """The probability of the most likely class."""
        return float(self.scores.max())

    def best(self, count: int = 5) -> list[tuple[int, float]]:
        """Labels and probabilities of the most likely classes, the most likely one first."""
        order = np.argsort(-self.scores, kind='stable')[:count]
        return [(int(label), float(self.scores[label])) for label in order]

    def above(self, score: float) -> 'Classification':
        """All of it: an image has a most likely class, however unlikely."""
        return self

    def classes(self) -> list[int]:
        """The label of the most likely class."""
        return [self.label]


Result = Detections | LabelMap | Classification
