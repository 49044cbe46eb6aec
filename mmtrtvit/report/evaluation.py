"""An evaluation with its predictions, and the file that keeps it for the next report."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from ..errors import UserError
from ..files import read_json, write_whole
from ..runtime.legend import Legend
from ..runtime.results import Classification, Detections, LabelMap, Result

OBJECTS, LABEL_MAPS, CLASSES = 'objects', 'label maps', 'classes of images'  # what is evaluated
VERSION = 1  # of the file
MOST_BYTES = 200_000_000  # of the file; the predictions of a larger evaluation are not kept


@dataclass
class Objects:
    """Objects in an image.

    Attributes:
        boxes: Left, top, right and bottom in pixels of each.
        labels: Class index of each.
        scores: Score of each; of the truth nothing.
        masks: Counts of each one's compressed RLE; nothing without masks.
        ignored: Of the truth, whether the metric leaves the object out, as it does with crowds.
        areas: Of the truth, as the annotations have them.
    """

    boxes: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    ignored: list[bool] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)

    def kept(self, which: Sequence[bool]) -> 'Objects':
        """Returns some of them.

        Args:
            which: Whether to keep each.
        """
        lists = {
            name: [value for value, keep in zip(values, which) if keep]
            for name, values in vars(self).items()
        }
        return Objects(**lists)


@dataclass
class Sample:
    """An image with what is in it and what was found.

    Attributes:
        path: The image file.
        size: Height and width in pixels.
        truth: Objects, the class index, or the label map as PNG in base 64.
        found: Objects, the probability of each class, or a label map like the truth.
    """

    path: str
    size: tuple[int, int]
    truth: Any
    found: Any

    @property
    def name(self) -> str:
        """The image's name with that of its folder."""
        return '/'.join(Path(self.path).parts[-2:])


@dataclass
class Evaluation:
    """What an evaluation gave.

    Attributes:
        task: One of :data:`OBJECTS`, :data:`LABEL_MAPS` and :data:`CLASSES`.
        checkpoint: File of the weights.
        legend: Names and colours of the classes.
        metrics: The metrics by name, as tools/test.py prints them.
        samples: The images.
        masks: Whether objects have masks.
        ignored_label: Of label maps, the class index that the metric leaves out.
        input_size: Height and width of most images as the model gets them, with padding.
    """

    task: str
    checkpoint: str
    legend: Legend
    metrics: dict[str, float]
    samples: list[Sample]
    masks: bool = False
    ignored_label: int = 255
    input_size: tuple[int, int] | None = None


def digest_of(*parts: bytes) -> str:
    """Returns what tells one evaluation from another: a hash of all that it depends on."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(hashlib.blake2b(part, digest_size=16).digest())
    return digest.hexdigest()


def write_evaluation(evaluation: Evaluation, path: Path, digest: str) -> None:
    """Writes an evaluation as JSON, unless that would be huge.

    Args:
        evaluation: The evaluation.
        path: The file.
        digest: Of what it depends on.
    """
    text = json.dumps(dict(version=VERSION, digest=digest, **asdict(evaluation)))
    if len(text) <= MOST_BYTES:
        write_whole(path, text)


def read_evaluation(path: Path, digest: str) -> Evaluation | None:
    """Reads an evaluation; None if there is none, or it is of something else.

    Args:
        path: The file.
        digest: Of what it has to depend on.
    """
    try:
        content = read_json(path)
        if content.pop('version') != VERSION or content.pop('digest') != digest:
            return None
        names, palette = content.pop('legend')
        samples = [Sample(**sample) for sample in content.pop('samples')]
        if content['task'] == OBJECTS:
            for sample in samples:
                sample.truth, sample.found = Objects(**sample.truth), Objects(**sample.found)
        legend = Legend(tuple(names), tuple(map(tuple, palette)))
        return Evaluation(legend=legend, samples=samples, **content)
    except (OSError, UserError, ValueError, KeyError, TypeError, AttributeError):
        return None  # it is made anew


def as_png(labels: np.ndarray) -> str:
    """Returns a label map ``(H, W)``, uint8 or uint16, as PNG in base 64."""
    _, data = cv2.imencode('.png', labels)
    return base64.b64encode(data).decode()


def from_png(text: str) -> np.ndarray:
    """Returns the label map that :func:`as_png` wrote."""
    data = np.frombuffer(base64.b64decode(text), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


def as_result(value: Any, task: str, size: tuple[int, int]) -> Result:
    """Returns the truth or a prediction as what can be drawn; there is no drawing of a class index.

    Args:
        value: ``truth`` or ``found`` of a sample.
        task: That of the evaluation.
        size: Height and width of the image.
    """
    if task == LABEL_MAPS:
        return LabelMap(from_png(value))
    if task == CLASSES:
        return Classification(np.array(value, np.float32), size)
    height, width = size
    masks = None
    if value.masks:
        codes = [dict(size=[height, width], counts=counts) for counts in value.masks]
        masks = coco_mask.decode(codes).astype(bool).transpose(2, 0, 1)
    return Detections(
        boxes=np.array(value.boxes, np.float32).reshape(-1, 4),
        scores=np.array(value.scores or [1.0] * len(value.boxes), np.float32),
        labels=np.array(value.labels, np.int32),
        size=size,
        whole_masks=masks,
    )
