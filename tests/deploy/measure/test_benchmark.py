"""Weights, ONNX files and engines, timed side by side."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mmtrtvit.deploy.backends.onnxruntime.layers import onnx_layers
from mmtrtvit.deploy.backends.tensorrt.build import build_engine
from mmtrtvit.deploy.measure.benchmark import benchmark, format_latencies, format_shares
from mmtrtvit.errors import UserError
from mmtrtvit.runtime.sessions.base import TimedOut

TOOL = Path(__file__).parents[3] / 'tools/benchmark.py'


@pytest.fixture
def models(stand_in, on_cpu, graph, tmp_path):
    """An ONNX file, and an engine of it."""
    stand_in('10.16.1.11')
    onnx = graph(tmp_path / 'end2end.onnx')
    build_engine(
        onnx,
        tmp_path / 'end2end.engine',
        profiles=[dict(input=((1, 3, 32, 32), (1, 3, 64, 64), (2, 3, 64, 64)))],
    )
    return str(onnx), str(tmp_path / 'end2end.engine')


def run_tool(monkeypatch, *words):
    spec = importlib.util.spec_from_file_location('benchmark', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', *map(str, words)])
    tool.run_tool(tool.main, tool.parse_args())


def test_an_onnx_file_and_an_engine(models):
    result = benchmark(models, size=(32, 48), batches=(1, 2), rounds=3, warmup=1, layers=True)
    assert list(result.latencies) == [1, 2]
    for batch, latencies in result.latencies.items():
        assert list(latencies) == list(models)
        for each in latencies.values():
            assert 0 < each.median <= each.p95 and each.rounds == 3
            assert each.throughput < batch * 3 / each.median * 1e3
    names = ['/backbone/conv/Conv', '/Cast_1', '/Sum', '/Add']
    engine = result.layers[models[1]]
    assert [layer.name for layer in engine] == names
    assert [layer.milliseconds for layer in engine] == [0.001, 0.002, 0.003, 0.004]
    stages = format_shares(engine, 1).splitlines()
    assert stages[1].split() == ['0.001', '10.0', '1', 'backbone.conv']
    assert stages[2].split() == ['0.009', '90.0', '3', 'post-processing']
    assert stages[4:] == [
        '   ms     %  layers  slowest modules',
        '0.009  90.0       3  post-processing',
    ]
    assert {layer.module for layer in result.layers[models[0]]} - {'inserted by the runtime'} == {
        'backbone.conv',
        'post-processing',
    }
    rows = format_latencies(result).splitlines()
    assert [row.split()[0] for row in rows] == ['batch', '1', '1', '2', '2']
    assert rows[2].endswith(models[1])


def test_the_tool_times_weights_as_well(models, small_models, monkeypatch, capsys, tmp_path):
    run_tool(
        monkeypatch,
        small_models / 'fpn.pth',
        models[0],
        '--config',
        small_models / 'fpn.py',
        '--shape',
        '64x64',
        '--rounds',
        2,
        '--warmup',
        1,
        '--threads',
        1,
        '--layers',
        '--json',
        tmp_path / 'times.json',
    )
    printed = capsys.readouterr().out
    content = json.loads((tmp_path / 'times.json').read_text())
    weights = str(small_models / 'fpn.pth')
    assert list(content['latencies']['1']) == [weights, models[0]]
    assert list(content['layers']) == [models[0]] and weights in printed
    assert content['environment']['mmtrtvit'] and content['arguments']['shape'] == [64, 64]


def test_the_batch_is_more_than_the_engine_takes(models):
    with pytest.raises(UserError, match='but got input 3x3x32x48'):
        benchmark(models, size=(32, 48), batches=(3,), rounds=1)


def test_a_graph_without_an_end_is_stopped(endless, monkeypatch, tmp_path):
    path = endless(tmp_path / 'endless.onnx')
    words = path, '--shape', '8x8', '--timeout', '0.2'
    with pytest.raises(SystemExit, match='endless.onnx: a run took more than 0.2 seconds'):
        run_tool(monkeypatch, *words)


def test_layers_of_a_graph_without_an_end(endless, tmp_path):
    inputs = dict(input=np.ones((1, 3, 8, 8), np.float32))
    with pytest.raises(TimedOut, match='endless.onnx: a run took more than 0.2 seconds'):
        onnx_layers(endless(tmp_path / 'endless.onnx'), inputs, timeout=0.2)


def test_what_cannot_be_stopped_takes_no_timeout(models, tmp_path):
    with pytest.raises(UserError, match='end2end.engine: TensorRT cannot stop a run'):
        benchmark(models[1:], timeout=1)
    with pytest.raises(UserError, match='x.pth: PyTorch cannot stop a run'):
        benchmark([tmp_path / 'x.pth'], 'config.py', timeout=1)


def test_weights_need_a_config(models, tmp_path):
    with pytest.raises(UserError, match='weights need the --config'):
        benchmark([tmp_path / 'epoch_1.pth'])


@pytest.mark.parametrize('words', [['--shape', '64'], ['--shape', '0x64'], ['--batch', '0']])
def test_wrong_values(models, monkeypatch, capsys, words):
    with pytest.raises(SystemExit):
        run_tool(monkeypatch, models[0], *words)
    assert 'expected' in capsys.readouterr().err
