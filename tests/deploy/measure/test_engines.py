"""The report about engines, with a stand-in for TensorRT."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mmtrtvit.deploy.backends.tensorrt.options import EngineOptions
from mmtrtvit.deploy.measure.engines import check_engines, onnx_file, summary
from mmtrtvit.errors import UserError

TOOL = Path(__file__).parents[3] / 'tools/check_tensorrt.py'


@pytest.fixture(scope='module', params=['retinanet', 'upernet'])
def deployed(request, small_models, tmp_path_factory):
    """A work dir, its images and the config of its model."""
    from mmtrtvit.deploy.settings import DeploySettings
    from mmtrtvit.deploy.workflow import deploy
    from mmtrtvit.engine.config import read_config

    config = small_models / f'{request.param}.py'
    folder = tmp_path_factory.mktemp('deployed')
    deploy(
        DeploySettings(),
        read_config(config),
        checkpoint=small_models / f'{request.param}.pth',
        images=[],
        work_dir=folder,
        verify=False,
    )
    images = sorted((small_models / 'data/shapes/images/validation').iterdir())
    return folder, images, config


def run_tool(monkeypatch, *words):
    spec = importlib.util.spec_from_file_location('check_tensorrt', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(sys, 'argv', ['check_tensorrt.py', *map(str, words)])
    try:
        tool.run_tool(tool.main, tool.parse_args())
    except SystemExit as error:
        return error.code
    return 0


def test_an_engine_that_agrees(
    deployed, stand_in, on_cpu, monkeypatch, small_models, tmp_path, capsys
):
    """And one that cannot be built: both are in the report."""
    folder, images, config = deployed
    stand_in('11.4.0.106')
    monkeypatch.chdir(small_models)
    out = tmp_path / 'report.json'
    code = run_tool(
        monkeypatch,
        folder,
        *images,
        '--config',
        config,
        '--precisions',
        'tf32',
        'fp16',
        '--engine-dir',
        tmp_path,
        '--out',
        out,
        '--rounds',
        3,
    )
    assert code == 2
    report = json.loads(out.read_text())
    good, bad = report['engines']
    assert good['build']['precision'] == 'tf32' and good['build']['tensorrt'] == '11.4.0.106'
    assert all(each['within'] and each['largest'] < 1e-4 for each in good['differences'])
    assert sum(map(bool, good['found'])) == len(images) and good['agree'] is True
    assert good['latencies']['tensorrt']['rounds'] == 3
    assert {'backbone.stem', 'backbone.stages.0'} <= {each['name'] for each in good['stages']}
    assert good['metrics'] == pytest.approx(report['metrics'], nan_ok=True) and good['metrics']
    assert 'UserError: precision is fp16' in bad['error'] and 'metrics' not in bad
    assert report['environment']['tensorrt'] == '11.4.0.106'
    assert report['graph']['opset'] == 17 and (tmp_path / 'tf32.engine').exists()
    printed = capsys.readouterr().out
    assert 'ms, agrees (largest difference: ' in printed and f'written: {out}' in printed


def test_an_engine_that_differs(deployed, stand_in, on_cpu, monkeypatch, tmp_path):
    folder, images, _ = deployed
    trt = stand_in('10.0.1')
    execute = trt.IExecutionContext.execute_async_v3

    def wrong(self, stream_handle):
        """All that the engine sees is one pixel lower."""
        name, shape = 'input', self._state['shapes']['input']
        array = sys.modules['tensorrt_stand_in.imitations']._array(self, name, shape)
        array[...] = np.roll(array, 1, axis=2)
        return execute(self, stream_handle)

    monkeypatch.setattr(trt.IExecutionContext, 'execute_async_v3', wrong)
    report = check_engines(folder, images, options=[EngineOptions()], folder=tmp_path, rounds=1)
    assert not all(each['within'] for each in report['engines'][0]['differences'])
    assert report['engines'][0]['agree'] is False
    assert report['metrics'] == {} and summary(report)[0].startswith('fp32: ')
    assert ' ms, differs (largest difference: ' in summary(report)[0]
    assert json.loads(json.dumps(report, default=str))


def test_an_engine_that_was_not_compared_does_not_agree():
    nothing = dict(output='boxes (pixels)', largest=0.0, count=0, unmatched=0, within=True)
    entry = dict(
        options=dict(precision='fp32'),
        latencies=dict(tensorrt=dict(median=1.0)),
        differences=[nothing],
        agree=False,
    )
    (line,) = summary(dict(graph={}, metrics={}, engines=[entry]))
    assert line.startswith('fp32: 1.00 ms, not compared, as neither side finds anything')


def test_without_a_gpu_the_tool_ends_with_3(deployed, stand_in, monkeypatch, tmp_path, capsys):
    folder, images, _ = deployed
    stand_in('10.0.1', gpu=None)
    assert run_tool(monkeypatch, folder, images[0], '--out', tmp_path / 'report.json') == 3
    assert 'TensorRT finds no GPU here' in capsys.readouterr().out
    assert not (tmp_path / 'report.json').exists()


def test_a_folder_without_a_graph(tmp_path):
    with pytest.raises(UserError, match='expected one .*, but there is: none'):
        onnx_file(tmp_path)
    for name in ('a', 'b'):
        (tmp_path / f'{name}.onnx').touch()
    with pytest.raises(UserError, match='but there is: a.onnx, b.onnx'):
        onnx_file(tmp_path)
    with pytest.raises(UserError, match='no image'):
        check_engines(tmp_path, [], options=[EngineOptions()], folder=tmp_path)
