"""What is known of the models of a benchmark beside their times."""

import json

import pytest
import torch

from mmtrtvit.deploy.measure.quantities import build, count_cost, read_metrics
from mmtrtvit.deploy.measure.sources import Source, find_sources
from mmtrtvit.errors import UserError

LOG = (
    dict(loss=1.0, iter=10, step=10, epoch=1),
    dict(aAcc=60.0, mIoU=50.0, step=10),
    dict(aAcc=80.0, mIoU=70.0, step=20),
)


@pytest.fixture
def run(tmp_path):
    """A training that logged twice, and what was exported of its newest weights."""
    run = tmp_path / 'run'
    log = run / '20260101_000000/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('\n'.join(map(json.dumps, LOG)))
    (run / 'config.py').write_text("default_hooks = dict(checkpoint=dict(save_best='mIoU'))")
    for step in (10, 20):
        meta = dict(experiment_name='config_20260101_000000', iter=step)
        weights = dict(state_dict=dict(x=torch.zeros(1)), meta=meta)
        torch.save(weights, run / f'iter_{step}.pth')
    for precision in ('fp32', 'int8'):
        folder = run / precision
        folder.mkdir()
        codebase = dict(config=str(run / 'config.py'), pth=str(run / 'iter_20.pth'))
        detail = dict(codebase=codebase, settings=dict(precision=precision))
        (folder / 'detail.json').write_text(json.dumps(detail))
        (folder / 'deploy_report.json').write_text('{"verified": true}')
    return run


def test_metrics_are_those_that_were_logged_with_the_weights(run):
    """The metric is that by which the best is saved; int8 is not what was evaluated."""
    names = [run, run / 'iter_10.pth', *(run / each / 'x.onnx' for each in ('fp32', 'int8'))]
    names = list(map(str, names))
    sources = find_sources(names)
    assert [each.kind for each in sources] == ['weights', 'weights', 'file', 'file']
    assert {each.config for each in sources} == {str(run / 'config.py')}
    expected = dict(zip(names, (70.0, 50.0, 70.0)))
    assert read_metrics(sources, {}) == ('mIoU', expected)
    assert read_metrics(sources, {}, 'aAcc')[1][names[0]] == 80
    assert read_metrics(sources, {names[3]: 69.5}) == ('mIoU', {**expected, names[3]: 69.5})
    (run / 'fp32/deploy_report.json').write_text('{"verified": false}')
    assert names[2] not in read_metrics(find_sources(names), {})[1]


def test_trainings_with_other_metrics(run, tmp_path):
    other = tmp_path / 'other'
    run.rename(other)
    (other / 'config.py').write_text('')
    with pytest.raises(UserError, match='--metric x=...: that is none of the models'):
        read_metrics(find_sources([other]), dict(x=1.0))
    assert read_metrics(find_sources([other]), {})[0] == 'aAcc'  # the first one
    again = other.with_name('again')
    again.mkdir()
    for path in other.iterdir():
        (again / path.name).symlink_to(path)
    (again / 'config.py').unlink()
    (again / 'config.py').write_text("default_hooks = dict(checkpoint=dict(save_best='mIoU'))")
    with pytest.raises(UserError, match='other metrics: aAcc, mIoU. Name one .* --metric NAME'):
        read_metrics(find_sources([other, again]), {})


def test_a_config_of_ours_by_its_name():
    (source,) = find_sources(['fpn_efficientvit_m0'])
    assert source.kind == 'config' and source.is_random
    parameters, macs = count_cost(build(source), (64, 64))
    assert parameters > 1e6 and macs > 1e6


def test_what_cannot_be_counted(tmp_path):
    assert build(Source('x.onnx', 'file', 'x.onnx')) is None
    assert build(Source('x.onnx', 'file', 'x.onnx', str(tmp_path / 'gone.py'))) is None
    assert count_cost(None, (64, 64)) is None
    with pytest.raises(UserError, match='gone.py'):
        build(Source('gone.py', 'config', 'gone.py', 'gone.py'))


def test_ours_are_among_those_of_timm():
    pytest.importorskip('timm', minversion='1.0.31')
    ours = build(Source('timm:trt_vit_a', 'timm', 'timm:trt_vit_a'))
    assert count_cost(ours, (64, 64))[0] == pytest.approx(22.05e6, rel=0.01)
