"""What a detector gets wrong is sorted into kinds, and counted once."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmtrtvit.report.curves import precision_recall
from mmtrtvit.report.evaluation import OBJECTS, Evaluation, Objects, Sample
from mmtrtvit.report.objects import (
    BACKGROUND,
    BOTH,
    CLASS,
    MISSED,
    PLACE,
    TWICE,
    above,
    analyse_objects,
    best_scores,
)
from mmtrtvit.report.show_objects import find_objects
from mmtrtvit.runtime.legend import Legend

CAT, DOG, OWL = range(3)
AT = [10.0, 10.0, 50.0, 50.0]  # an object
NEAR = [35.0, 10.0, 75.0, 50.0]  # IoU 0.23 with it
FAR = [200.0, 200.0, 240.0, 240.0]
ALMOST = [12.0, 10.0, 52.0, 50.0]  # IoU 0.9
SIZE = 300, 300


def sample(truth, found, ignored=()):
    """An image with (box, label) of the truth and (box, label, score) of what was found."""
    return Sample(
        'a.jpg',
        SIZE,
        Objects(
            [box for box, _ in truth],
            [label for _, label in truth],
            ignored=[index in ignored for index in range(len(truth))],
            areas=[1600.0] * len(truth),
        ),
        Objects(*([each[part] for each in found] for part in range(3))),
    )


def evaluation(*samples, masks=False):
    return Evaluation(OBJECTS, 'a.pth', Legend(('cat', 'dog', 'owl')), {}, [*samples], masks)


# The many right answers beside it make a threshold the best that keeps what is wrong, too.
RIGHT = [sample([(AT, label)], [(AT, label, 0.3)]) for label in (CAT, DOG) for _ in range(9)]


@pytest.mark.parametrize(
    'truth, found, errors, cell',
    [
        ([(AT, CAT)], [(AT, CAT, 0.9)], {}, (CAT, CAT)),
        ([(AT, CAT)], [(NEAR, CAT, 0.9)], {PLACE: 1}, (3, CAT)),
        ([(AT, CAT)], [(ALMOST, DOG, 0.9)], {CLASS: 1}, (CAT, DOG)),
        ([(AT, CAT)], [(NEAR, DOG, 0.9)], {BOTH: 1, MISSED: 1}, (3, DOG)),
        ([(AT, CAT)], [(AT, CAT, 0.9), (ALMOST, CAT, 0.8)], {TWICE: 1}, (3, CAT)),
        ([(AT, CAT)], [(AT, CAT, 0.9), (FAR, DOG, 0.8)], {BACKGROUND: 1}, (3, DOG)),
        ([(AT, CAT)], [], {MISSED: 1}, (CAT, 3)),
        ([], [(FAR, DOG, 0.8)], {BACKGROUND: 1}, (3, DOG)),
        ([(AT, CAT)], [(NEAR, CAT, 0.1)], {MISSED: 1}, (CAT, 3)),  # under the threshold
        ([], [], {}, None),
    ],
)
def test_an_error_has_one_kind(truth, found, errors, cell):
    analysis = analyse_objects(evaluation(*RIGHT, sample(truth, found)))
    assert +analysis.errors == errors == +analysis.images[-1].errors
    usual = analyse_objects(evaluation(*RIGHT)).confusion
    changed = analysis.confusion - usual
    assert cell is None or changed[cell] == 1
    assert changed[:3].sum() == len(truth)


def test_an_object_that_the_metric_leaves_out_is_no_error():
    crowd = sample([(AT, CAT), (FAR, CAT)], [(FAR, CAT, 0.9)], ignored={0})
    found = sample([(AT, CAT)], [(ALMOST, CAT, 0.9)], ignored={0})
    analysis = analyse_objects(evaluation(*RIGHT, crowd, found))
    assert not +analysis.errors
    assert analysis.classes[CAT].count == 9 + 1


def test_average_precision_and_best_threshold():
    samples = [
        sample([(AT, CAT)], [(AT, CAT, 0.9)]),
        sample([(AT, CAT)], [(FAR, CAT, 0.2)]),
        sample([(AT, CAT)], [(AT, CAT, 0.6), (AT, OWL, 0.7)]),
    ]
    analysis = analyse_objects(evaluation(*samples))
    cat, dog, owl = analysis.classes
    assert cat.ap['bbox'] == pytest.approx((67 / 101, 67 / 101))  # 2 of 3, at 101 recalls
    assert cat.curve.best_score == 0.6 and cat.curve.f1.max() == pytest.approx(0.8)
    assert np.isnan(dog.ap['bbox']).all() and np.isnan(owl.ap['bbox']).all()
    assert analysis.mean_ap('bbox') == pytest.approx(67 / 101)
    thresholds = best_scores(analysis.classes)
    assert thresholds.tolist() == [0.6, np.inf, np.inf]
    assert above(samples[2].found, thresholds).scores == [0.6]


def test_masks_are_compared_as_masks():
    def code(columns):
        mask = np.zeros(SIZE, np.uint8, order='F')
        mask[10:50, columns] = 1
        return coco_mask.encode(mask)['counts'].decode()

    image = sample([(AT, CAT)], [(AT, CAT, 0.9)])
    image.truth.masks, image.found.masks = [code(slice(10, 50))], [code(slice(10, 18))]
    analysis = analyse_objects(evaluation(image, masks=True))
    assert analysis.kind == 'segm'
    assert analysis.mean_ap('bbox') == pytest.approx(1) and analysis.mean_ap('segm') == 0


def test_equal_scores_share_a_threshold():
    curve = precision_recall(np.array([0.5, 0.9, 0.5]), np.array([True, True, False]), 4)
    assert curve.scores.tolist() == [0.9, 0.5]
    assert curve.precision.tolist() == [1, 2 / 3] and curve.recall.tolist() == [0.25, 0.5]
    assert curve.best_score == 0.5
    assert precision_recall(np.zeros(0), np.zeros(0, bool), 3).best is None


def test_rankings():
    images = [
        sample([(AT, CAT)], [(AT, CAT, 0.9)]),
        sample([(AT, CAT), (FAR, CAT)], [(AT, CAT, 0.5), (NEAR, CAT, 0.8)]),
        sample([(AT, CAT)], [(AT, CAT, 0.9), (FAR, CAT, 0.95)]),
    ]
    findings = find_objects(evaluation(*images))
    orders = {ranking.key: list(ranking.order) for ranking in findings.rankings}
    assert orders['worst'] == [1, 2] and orders['confusing'] == [2, 1] and orders['best'][0] == 0
    assert sorted(orders['random']) == [0, 1, 2]
    assert findings.captions(1) == ['1 right; errors: 1 place, 1 missed']
