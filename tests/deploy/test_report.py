"""What a deployment says of files that do not agree, or that could not be compared."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

from mmtrtvit.analysis.timing import Timing
from mmtrtvit.deploy.measure.speed import Speed
from mmtrtvit.deploy.record import write_record
from mmtrtvit.deploy.report import format_differences, format_failure, format_speed
from mmtrtvit.deploy.result import Comparison, DeployResult
from mmtrtvit.deploy.verify.agreement import Agreement
from mmtrtvit.deploy.verify.compare import Difference
from mmtrtvit.deploy.verify.peaks import Peak, Peaks

SAME = Difference('class logits', 1e-6, 1e-7, 100, 0, 1e-3)
OTHER = Difference('class logits', 1e-2, 1e-3, 100, 0, 1e-3)
NOTHING = Difference('boxes (pixels)', 0, 0, 0, 0, 1e-2)
ONE_SIDE = Difference('boxes (pixels)', 0, 0, 0, 3, 1e-2)


def result_of(**comparisons):
    result = DeployResult(Path('out/end2end.onnx'))
    for name, differences in comparisons.items():
        result.add(Path(f'out/end2end.{name}'), Comparison(differences))
    return result


def test_nothing_compared_is_not_verified():
    assert result_of(onnx=[NOTHING, SAME]).verified
    assert not result_of(onnx=[NOTHING]).verified
    result = result_of(onnx=[NOTHING, SAME], engine=[NOTHING])
    assert not result.verified and result.not_judged == ['end2end.engine']
    text = format_failure(result)
    assert text.startswith('Nothing of out/end2end.engine was compared: neither it nor PyTorch')
    assert '--test-img' in text and 'end2end.onnx' not in text


def test_what_one_side_alone_finds_differs():
    result = result_of(onnx=[SAME], engine=[ONE_SIDE])
    assert not result.verified and not result.not_judged
    assert format_failure(result).startswith('out/end2end.engine finds something else than')


def test_not_verified_at_all_is_not_a_failure():
    assert result_of().verified


def test_lower_precision_fails_by_what_it_does_not_find():
    result = DeployResult(Path('out/end2end.onnx'))
    ours = Agreement('clear detections', 0.5, 8, 0.5)
    result.add(Path('out/end2end.onnx'), Comparison([OTHER], ours))
    assert result.verified
    result.add(Path('out/end2end.engine'), Comparison([OTHER], replace(ours, share=0.25)))
    assert not result.verified and result.different == ['end2end.engine']
    assert format_failure(result).startswith(
        'out/end2end.engine does not find what PyTorch finds: 25.0% of 8 (clear detections), at '
        'least 50% expected. Try another calib_config.method'
    )
    result.add(Path('out/end2end.engine'), Comparison([NOTHING], replace(ours, count=0)))
    assert result.not_judged == ['end2end.engine']
    assert format_failure(result).startswith('Nothing of out/end2end.engine was compared')


def test_lower_precision_fails_by_what_it_cannot_hold():
    result = result_of(onnx=[SAME])
    assert result.verified
    result.peaks = Peaks((Peak('neck.conv', 6e4), Peak('head.conv', 7e4)), 3)
    assert not result.verified
    text = format_failure(result)
    assert text.startswith('Half precision cannot hold 1 layer(s) of out/end2end.onnx, first head')
    assert 'finds something else' not in text


def test_the_table_says_what_was_not_compared():
    lines = format_differences([SAME, NOTHING, OTHER, ONE_SIDE], what='end2end.onnx').splitlines()
    assert [line.split('  ')[-1].strip() for line in lines[1:]] == [
        'ok',
        'nothing to compare',
        'DIFFERS',
        'DIFFERS',
    ]
    (row,) = format_differences([OTHER], judged=False).splitlines()[1:]
    assert 'DIFFERS' not in row and '1e-03' not in row.split()[-1]


def speed(milliseconds):
    times = Timing(20.0, 19.0, 0.1), Timing(milliseconds, milliseconds, 0.1)
    return Speed('onnxruntime', 'int8', *times, images=2, rounds=5)


def test_a_slower_file_is_told_loudly():
    text = format_speed(speed(10.0), 'end2end.onnx')
    assert re.search(r'INT8 +10.0 +10.0  2.00 times as fast', text) and 'WARNING' not in text
    text = format_speed(speed(25.0), 'end2end.onnx')
    assert '0.80 times as fast' in text
    assert 'WARNING: end2end.onnx IS SLOWER THAN FP32: INT8 takes 1.25 times as long in' in text


def test_the_record_is_for_programs(tmp_path):
    result = DeployResult(tmp_path / 'end2end.onnx', notes=['a note'], speed=speed(10.0))
    share = Agreement('clear detections', 0.9, 8, 0.5)
    result.add(result.onnx, Comparison([replace(OTHER, largest=math.nan)], share))
    path = write_record(result)
    assert path.name == 'deploy_report.json'
    found = json.loads(path.read_text(), parse_constant=lambda name: 1 / 0)
    file = found['files']['end2end.onnx']
    assert file['differences'][0]['largest'] is None and not file['differences'][0]['within']
    assert file['agreement']['share'] == 0.9 and file['agreement']['enough'] and found['verified']
    assert found['speed']['ratio'] == 2 and found['speed']['fp32']['milliseconds'] == 20
    assert found['notes'] == ['a note'] and found['machine']
    assert json.loads(write_record(DeployResult(tmp_path / 'a.onnx')).read_text())['speed'] is None
