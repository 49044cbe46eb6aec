"""The search for layers that stay in single precision until the metrics hold."""

from types import SimpleNamespace

import pytest

from mmtrtvit.deploy.graphs.noise import LayerError
from mmtrtvit.deploy.record import write_search
from mmtrtvit.deploy.report import format_search
from mmtrtvit.deploy.verify.search import find_left_out, points
from mmtrtvit.errors import UserError

LAYERS = [LayerError(f'/layer{index}/Conv', 'Conv', float(index)) for index in range(20)]


class Quantizer:
    """Writes how many layers are left out, in the place of a file."""

    def __init__(self):
        self.layers, self.errors, self.written = LAYERS, LAYERS, []

    def noisiest(self, count):
        return {each.layer for each in LAYERS[:count]}

    def write(self, path, left_out):
        self.written.append(len(left_out))
        path.write_text(str(len(left_out)))


def search(folder, needed, max_drop=0.5, start=0):
    """One in which ``needed`` layers in FP32 bring the metric within half a point."""
    quantizer, lines = Quantizer(), []
    (folder / 'fp32.onnx').write_text('20')

    def evaluate(path):
        count = int(path.read_text())
        return {'coco/bbox_mAP': 0.5 - max(needed - count, 0) * 0.01, 'coco/bbox_mAP_50': 0.7}

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


@pytest.mark.parametrize('needed', [0, 1, 2, 3, 6, 13, 19])
def test_the_fewest_layers_are_found(tmp_path, needed):
    found, seen = search(tmp_path, needed)
    assert found.chosen.left_out == needed and found.chosen.drop <= 0.5
    assert len(set(seen.written)) == len(seen.written) <= 9
    assert [each.left_out for each in found.trials] == sorted(seen.written)
    assert seen.lines[0] == 'single precision: coco/bbox_mAP 50.00'


def test_a_search_begins_with_what_is_left_out_anyway(tmp_path):
    found, seen = search(tmp_path, needed=3, start=8)
    assert seen.written == [8] and found.chosen.left_out == 8


def test_a_larger_drop_leaves_more_in_eight_bits(tmp_path):
    found, _ = search(tmp_path, needed=9, max_drop=4.5)
    assert found.chosen.left_out == 5 and found.chosen.drop == pytest.approx(4)


def test_what_cannot_hold_is_refused(tmp_path):
    with pytest.raises(UserError, match='drop by 1.00 points even with one layer in eight bits'):
        search(tmp_path, needed=20)


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
    found, _ = search(tmp_path, needed=2)
    text = format_search(found)
    assert 'layers in FP32' in text and '/layer1/Conv' in text and '/layer2/Conv' not in text
    table, record = write_search(tmp_path, found)
    lines = table.read_text().splitlines()
    assert lines[0] == ('layer,operator,decibels,in_fp32,coco/bbox_mAP with,coco/bbox_mAP without')
    assert lines[1] == '/layer0/Conv,Conv,0.0,True,48.0,49.0' and len(lines) == 21
    assert lines[3:5] == [
        '/layer2/Conv,Conv,2.0,False,50.0,50.0',
        '/layer3/Conv,Conv,3.0,False,50.0,',
    ]
    assert '"left_out": 2' in record.read_text()
