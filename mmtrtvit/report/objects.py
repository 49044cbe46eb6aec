"""What a detector finds, misses and takes for something else, by pycocotools' own matches."""

import contextlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from .curves import PrecisionRecall, precision_recall
from .evaluation import Evaluation, Objects, Sample

MATCH = 0.5  # least IoU of an object and what finds it
TOUCH = 0.1  # least IoU of an object and what finds it in the wrong place
MOST = 100  # objects of an image that count, as with COCO
EVERY_SIZE = [[0, 1e10]]

# What is wrong with what was found, in the order in which it is asked; after TIDE (ECCV 2020).
PLACE, CLASS, TWICE, BACKGROUND, BOTH, MISSED = (
    'place',
    'class',
    'duplicate',
    'background',
    'place and class',
    'missed',
)
MEANING = {
    PLACE: f'right class, IoU from {TOUCH} to {MATCH}',
    CLASS: f'wrong class, IoU of {MATCH} or more',
    TWICE: 'an object that a higher score has found already',
    BACKGROUND: f'no object there, IoU under {TOUCH}',
    BOTH: f'wrong class, IoU from {TOUCH} to {MATCH}',
    MISSED: 'an object that nothing finds, not even in the wrong place or class',
}


@dataclass(frozen=True)
class ClassOfObjects:
    """How well a class is found.

    Attributes:
        name: Of the class.
        count: Its objects, without those that the metric leaves out.
        ap: Average precision by kind, ``'bbox'`` and ``'segm'``: over IoU 0.5 to 0.95, and at 0.5;
            NaN for a class without objects.
        curve: Precision and recall at an IoU of :data:`MATCH`.
    """

    name: str
    count: int
    ap: dict[str, tuple[float, float]]
    curve: PrecisionRecall


@dataclass
class ImageErrors:
    """What is right and wrong in an image at the best thresholds.

    Attributes:
        right: Objects that were found.
        errors: Errors by kind.
        surest: The highest score of something wrong.
    """

    right: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    surest: float = 0.0

    @property
    def f1(self) -> float:
        """Share of right answers; 1 for an image where nothing is and nothing was found."""
        wrong = self.errors.total()
        return self.right / (self.right + wrong) if wrong else 1.0


@dataclass
class ObjectAnalysis:
    """What was found out.

    Attributes:
        kind: ``'segm'`` if masks were compared, else ``'bbox'``.
        classes: One for each class.
        confusion: ``(C + 1, C + 1)``: row of the truth, column of what was found; the last ones
            are the background.
        errors: Errors by kind.
        images: One for each sample.
    """

    kind: str
    classes: list[ClassOfObjects]
    confusion: np.ndarray
    errors: Counter[str]
    images: list[ImageErrors]

    def mean_ap(self, kind: str, which: int = 0) -> float:
        """Mean of the classes' AP.

        Args:
            kind: ``'bbox'`` or ``'segm'``.
            which: 0 over IoU 0.5 to 0.95, 1 at 0.5.
        """
        values = [each.ap[kind][which] for each in self.classes]
        return float(np.nanmean(values)) if not np.isnan(values).all() else float('nan')


def analyse_objects(evaluation: Evaluation) -> ObjectAnalysis:
    """Compares what was found with the truth.

    Matches are pycocotools', at an IoU of :data:`MATCH`. Confusion and errors are those that
    remain if of each class all from its best threshold on are kept.

    Args:
        evaluation: Of a detector.
    """
    samples, names = evaluation.samples, evaluation.legend.names
    kind = 'segm' if evaluation.masks else 'bbox'
    full = {each: _evaluate(samples, each, len(names)) for each in dict.fromkeys(['bbox', kind])}
    curves = [_curve(full[kind], label) for label in range(len(names))]
    classes = [
        ClassOfObjects(
            name,
            count,
            {each: _average_precision(judge, label) for each, judge in full.items()},
            curve,
        )
        for label, (name, (curve, count)) in enumerate(zip(names, curves))
    ]
    return _errors(samples, kind, classes)


def best_scores(classes: Sequence[ClassOfObjects]) -> np.ndarray:
    """Returns the best threshold of each class, ``(C,)``."""
    return np.array([each.curve.best_score for each in classes])


def _errors(samples: list[Sample], kind: str, classes: list[ClassOfObjects]) -> ObjectAnalysis:
    """Sorts what is wrong at the thresholds of the classes."""
    background, thresholds = len(classes), best_scores(classes)
    confusion = np.zeros((background + 1, background + 1), int)
    images = [ImageErrors() for _ in samples]
    kept = [
        Sample(each.path, each.size, each.truth, above(each.found, thresholds)) for each in samples
    ]
    first = _matches(_evaluate(kept, kind, background))
    rest = []
    for sample, (found, truth, ignored), image in zip(kept, first, images):
        for label in np.array(sample.truth.labels, int)[truth]:
            confusion[label, label] += 1
            image.right += 1
        rest.append(
            Sample(
                sample.path,
                sample.size,
                sample.truth.kept(~truth & ~np.array(sample.truth.ignored, bool)),
                sample.found.kept(~found & ~ignored),
            )
        )
    pairs = _evaluate(rest, kind, background, by_class=False)
    places = _evaluate(
        [Sample(a.path, a.size, b.truth, a.found) for a, b in zip(rest, kept)],
        kind,
        background,
        by_class=False,
    )
    for number, (sample, whole, image) in enumerate(zip(rest, kept, images)):
        for label, other in _pairs(pairs, number, background):
            confusion[label, other] += 1
        shape = min(len(sample.found.labels), MOST), len(whole.truth.labels)
        ious = np.asarray(places.ious[number + 1, -1] if all(shape) else np.zeros(shape))
        _sort_errors(sample, whole.truth, ious, image)
    return ObjectAnalysis(
        kind, classes, confusion, sum((image.errors for image in images), Counter()), images
    )


def _sort_errors(sample: Sample, truth: Objects, ious: np.ndarray, image: ImageErrors) -> None:
    """Adds the kinds of an image's errors.

    Args:
        sample: What is left of truth and prediction when all matches are taken away.
        truth: All objects of the image.
        ious: ``(F, T)`` of what was found, by score, with all objects.
        image: Gets the errors.
    """
    labels, ignored = np.array(truth.labels, int), np.array(truth.ignored, bool)
    order = np.argsort(-np.array(sample.found.scores), kind='mergesort')[:MOST]
    explained = set()
    for row, index in zip(ious, order):
        same = np.where((labels == sample.found.labels[index]) & ~ignored, row, 0.0)
        other = np.where((labels != sample.found.labels[index]) & ~ignored, row, 0.0)
        right, wrong = same.max(initial=0), other.max(initial=0)
        if TOUCH <= right < MATCH:
            error, object_ = PLACE, same.argmax()
        elif wrong >= MATCH:
            error, object_ = CLASS, other.argmax()
        elif right >= MATCH:
            error, object_ = TWICE, None
        elif wrong >= TOUCH:
            error, object_ = BOTH, None
        else:
            error, object_ = BACKGROUND, None
        image.errors[error] += 1
        image.surest = max(image.surest, sample.found.scores[index])
        if object_ is not None:
            explained.add((tuple(truth.boxes[object_]), truth.labels[object_]))
    left = zip(map(tuple, sample.truth.boxes), sample.truth.labels)
    missed = sum(each not in explained for each in left)
    if missed:
        image.errors[MISSED] += missed


def above(found: Objects, thresholds: np.ndarray) -> Objects:
    """Returns what has at least the score that its class asks for.

    Args:
        found: What was found.
        thresholds: Of each class, ``(C,)``.
    """
    labels = np.array(found.labels, int)
    return found.kept(np.array(found.scores) >= thresholds[labels])


def _evaluate(samples: list[Sample], kind: str, count: int, *, by_class: bool = True) -> COCOeval:
    """Runs pycocotools.

    Args:
        samples: Truth and predictions.
        kind: ``'bbox'`` or ``'segm'``.
        count: Number of classes.
        by_class: Whether only objects of one class match; else :data:`MATCH` is the only IoU.
    """
    images = [
        dict(id=number, height=sample.size[0], width=sample.size[1])
        for number, sample in enumerate(samples, 1)
    ]
    categories = [dict(id=label + 1, name=str(label)) for label in range(count)]
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        for coco, side in ((truth, 'truth'), (found, 'found')):
            coco.dataset = dict(
                images=images, categories=categories, annotations=_entries(samples, side)
            )
            coco.createIndex()
        judge = COCOeval(truth, found, kind)
        judge.params.areaRng, judge.params.areaRngLbl = EVERY_SIZE, ['all']
        judge.params.useCats = int(by_class)
        if not by_class:
            judge.params.iouThrs = np.array([MATCH])
        judge.evaluate()
        if by_class:
            judge.accumulate()
    return judge


def _entries(samples: list[Sample], side: str) -> list[dict]:
    entries: list[dict] = []
    for number, sample in enumerate(samples, 1):
        objects: Objects = getattr(sample, side)
        for index, (left, top, right, bottom) in enumerate(objects.boxes):
            entry = dict(
                id=len(entries) + 1,
                image_id=number,
                category_id=objects.labels[index] + 1,
                bbox=[left, top, right - left, bottom - top],
                area=(right - left) * (bottom - top),
                iscrowd=0,
            )
            if objects.scores:
                entry['score'] = objects.scores[index]
            if objects.ignored:
                entry.update(iscrowd=int(objects.ignored[index]), area=objects.areas[index])
            if objects.masks:
                size = list(sample.size)
                entry['segmentation'] = dict(size=size, counts=objects.masks[index].encode())
            entries.append(entry)
    return entries


def _average_precision(judge: COCOeval, label: int) -> tuple[float, float]:
    """Returns a class's AP over IoU 0.5 to 0.95 and at 0.5."""
    precision = judge.eval['precision'][:, :, label, 0, -1]
    if not (precision > -1).any():
        return float('nan'), float('nan')
    return float(precision.mean()), float(precision[0].mean())


def _curve(judge: COCOeval, label: int) -> tuple[PrecisionRecall, int]:
    """Returns a class's curve and how many objects it has."""
    step = len(judge.params.imgIds)
    results = [each for each in judge.evalImgs[label * step : (label + 1) * step] if each]
    used = [~each['dtIgnore'][0].astype(bool) for each in results]
    scores = [np.array(each['dtScores'])[use] for each, use in zip(results, used)]
    right = [each['dtMatches'][0][use] > 0 for each, use in zip(results, used)]
    count = sum(int((np.array(each['gtIgnore']) == 0).sum()) for each in results)
    empty = np.zeros(0)
    curve = precision_recall(
        np.concatenate([empty, *scores]), np.concatenate([empty, *right]).astype(bool), count
    )
    return curve, count


def _matches(judge: COCOeval) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Returns for each image what matches: found, truth, and what finds an ignored object."""
    images = judge.params.imgIds
    found_ids = [[entry['id'] for entry in judge.cocoDt.imgToAnns[key]] for key in images]
    truth_ids = [[entry['id'] for entry in judge.cocoGt.imgToAnns[key]] for key in images]
    found, truth, ignored = set(), set(), set()
    for each in filter(None, judge.evalImgs):
        for key, match, ignore in zip(each['dtIds'], each['dtMatches'][0], each['dtIgnore'][0]):
            if ignore:
                ignored.add(key)
            elif match:
                found.add(key)
                truth.add(int(match))
    return [
        (_among(of_found, found), _among(of_truth, truth), _among(of_found, ignored))
        for of_found, of_truth in zip(found_ids, truth_ids)
    ]


def _among(keys: list[int], chosen: set[int]) -> np.ndarray:
    return np.array([key in chosen for key in keys], bool)


def _pairs(judge: COCOeval, number: int, background: int) -> list[tuple[int, int]]:
    """Returns truth and prediction of all that is wrong in an image, as class indices."""
    each = judge.evalImgs[number]
    if each is None:
        return []
    labels = {entry['id']: entry['category_id'] - 1 for entry in judge.cocoGt.imgToAnns[number + 1]}
    others = {entry['id']: entry['category_id'] - 1 for entry in judge.cocoDt.imgToAnns[number + 1]}
    matches = {int(match): key for key, match in zip(each['dtIds'], each['dtMatches'][0]) if match}
    pairs = [(labels[key], others[match]) for key, match in matches.items()]
    pairs += [(label, background) for key, label in labels.items() if key not in matches]
    found = set(matches.values())
    return pairs + [(background, label) for key, label in others.items() if key not in found]
