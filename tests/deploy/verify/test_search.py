"""The search for layers that stay in single precision until the metrics hold."""

import json
from types import SimpleNamespace

import pytest

from mmtrtvit.deploy.graphs.noise import LayerError
from mmtrtvit.deploy.record import write_search
from mmtrtvit.deploy.report import format_search
from mmtrtvit.deploy.verify.search import find_left_out, points
from mmtrtvit.errors import UserError

LAYERS = [LayerError(f'/layer{index}/Conv', 'Conv', float(index)) for index in range(20)]


class Quantizer:
    """Writes the layers that are left out, in the place of a file."""

    def __init__(self):
        self.layers, self.errors, self.written = LAYERS, LAYERS, []

    def write(self, path, left_out):
        self.written.append(tuple(left_out))
        path.write_text(' '.join(left_out))


def search(folder, needed, max_drop=0.5, start=0):
    """One in which each of these layers costs a point in eight bits."""
    quantizer, lines = Quantizer(), []
    needed = {f'/layer{index}/Conv' for index in needed}
    (folder / 'fp32.onnx').write_text(' '.join(needed))

    def evaluate(path):
        harmed = needed - set(path.read_text().split())
        return {'coco/bbox_mAP': 0.5 - len(harmed) * 0.01, 'coco/bbox_mAP_50': 0.7}

    found = find_left_out(
        quantizer,
        evaluate,
        folder / 'fp32.onnx',
        max_drop=max_drop,
        folder=folder,
        start=start,
        progress=lines.append,
    )
    return found, SimpleNamespace(written=quantizer.written, lines=lines)


def indices(trial):
    return [int(name.removeprefix('/layer').removesuffix('/Conv')) for name in trial.left_out]


@pytest.mark.parametrize('count', [0, 1, 2, 3, 6, 13, 19])
def test_the_noisiest_layers_are_found(tmp_path, count):
    found, seen = search(tmp_path, range(count))
    assert indices(found.chosen) == list(range(count)) and found.chosen.drop <= 0.5
    assert len(set(seen.written)) == len(seen.written) <= 8 + 20
    assert [each.left_out for each in found.trials] == seen.written
    assert seen.lines[0] == 'single precision: coco/bbox_mAP 50.00'
    assert len(seen.lines) == 1 + len(seen.written)


@pytest.mark.parametrize(
    'needed, most', [([5], 1), ([15], 1), ([1, 2, 14], 3), ([0, 7, 18], 3), ([0, 4, 9, 13, 17], 7)]
)
def test_layers_that_do_no_harm_are_given_back(tmp_path, needed, most):
    found, seen = search(tmp_path, needed)
    assert set(needed) <= set(indices(found.chosen)) and len(found.chosen.left_out) <= most
    assert found.chosen.drop <= 0.5 and found.chosen in found.trials
    assert indices(found.chosen) == sorted(indices(found.chosen))
    assert len(set(seen.written)) == len(seen.written) <= 8 + 20


def test_a_search_begins_with_what_is_left_out_anyway(tmp_path):
    found, seen = search(tmp_path, range(3), start=8)
    assert len(seen.written) == 1 and indices(found.chosen) == list(range(8))
    found, _ = search(tmp_path, [12], start=8)
    assert indices(found.chosen) == [*range(8), 12]


def test_a_larger_drop_leaves_more_in_eight_bits(tmp_path):
    found, _ = search(tmp_path, range(9), max_drop=4.5)
    assert indices(found.chosen) == list(range(5)) and found.chosen.drop == pytest.approx(4)


def test_a_drop_as_large_as_allowed_holds(tmp_path):
    assert 50 - (0.5 - 17 * 0.01) * 100 > 17  # by rounding
    found, _ = search(tmp_path, range(17), max_drop=17)
    assert indices(found.chosen) == [] and found.chosen.drop == 17


def test_what_cannot_hold_is_refused(tmp_path):
    with pytest.raises(UserError, match='drop by 1.00 points even with one layer in eight bits'):
        search(tmp_path, range(20))


@pytest.mark.parametrize(
    'metrics, message',
    [
        ({}, 'of these metrics none can be judged: none. Expected box or mask mAP'),
        ({'loss': 1.0}, 'none can be judged: loss'),
        ({'mIoU': float('nan')}, 'mIoU is nan on the held-out .* Do they have annotations'),
        ({'coco/bbox_mAP': -1.0}, 'coco/bbox_mAP is -100 on the held-out'),
    ],
)
def test_metrics_that_cannot_be_judged(metrics, message):
    with pytest.raises(UserError, match=message):
        points(metrics)


def test_points():
    found = points({'coco/bbox_mAP': 0.25, 'coco/bbox_mAP_s': 0.1, 'mIoU': 40, 'aAcc': 90})
    assert found == {'coco/bbox_mAP': 25, 'mIoU': 40}
    assert points({'accuracy/top1': 70, 'accuracy/top5': 90}) == {'accuracy/top1': 70}


def test_the_report_of_a_search(tmp_path):
    found, _ = search(tmp_path, range(2))
    text = format_search(found)
    assert 'layers in FP32' in text and '/layer1/Conv' in text and '/layer2/Conv' not in text
    table, record = write_search(tmp_path, found)
    lines = table.read_text().splitlines()
    assert lines[0] == ('layer,operator,decibels,in_fp32,coco/bbox_mAP with,coco/bbox_mAP without')
    assert lines[1] == '/layer0/Conv,Conv,0.0,True,49.0,50.0' and len(lines) == 21
    assert lines[3:5] == [
        '/layer2/Conv,Conv,2.0,False,50.0,50.0',
        '/layer3/Conv,Conv,3.0,False,50.0,',
    ]
    left_out = [f'/layer{index}/Conv' for index in range(2)]
    assert json.loads(record.read_text())['chosen']['left_out'] == left_out
