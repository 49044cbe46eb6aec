"""Engines of the stand-ins, which run in ONNX Runtime, through the runner for TensorRT."""

import json
import pickle

import numpy as np
import onnxruntime
import pytest
import torch

from mmtrtvit.deploy.backends.tensorrt.build import build_engine
from mmtrtvit.deploy.verify.tensorrt_runner import TensorRTRunner
from mmtrtvit.errors import UserError
from mmtrtvit.runtime.sessions.tensorrt_package import NoTensorRT

VERSIONS = ('8.6.1', '10.0.1', '10.16.1.11', '11.4.0.106')
SMALL = ((1, 3, 32, 32), (1, 3, 64, 64), (2, 3, 64, 64))
LARGE = ((1, 3, 64, 64), (1, 3, 96, 96), (1, 3, 128, 160))


@pytest.fixture
def files(tmp_path, graph):
    return graph(tmp_path / 'end2end.onnx'), tmp_path / 'end2end.engine'


def arrays(batch, height, width):
    values = np.random.default_rng(0).normal(size=(batch, 3, height, width))
    return dict(
        input=values.astype(np.float32), sizes=np.full((batch, 2), (height, width), np.float32)
    )


@pytest.mark.parametrize('version', VERSIONS)
def test_an_engine_computes_what_its_file_does(stand_in, on_cpu, files, version):
    stand_in(version)
    build_engine(*files, profiles=[dict(input=SMALL), dict(input=LARGE)])
    runner = TensorRTRunner(files[1])
    assert runner.inputs == ('input', 'sizes') and runner.outputs == ('output',)
    assert runner.shapes == dict(input=(None, 3, None, None), sizes=(None, 2))
    assert runner.max_batch == 2
    session = onnxruntime.InferenceSession(files[0])
    for size in ((1, 32, 48), (1, 128, 160), (2, 64, 64), (1, 64, 64)):
        inputs = arrays(*size)
        (expected,) = session.run(None, inputs)
        found = runner.infer(inputs)
        assert list(found) == ['output']
        np.testing.assert_array_equal(found['output'], expected)


def test_the_first_profile_that_fits_is_taken(stand_in, on_cpu, files):
    stand_in('10.0.1')
    build_engine(*files, profiles=[dict(input=SMALL), dict(input=LARGE)])
    runner = TensorRTRunner(files[1])
    for size, profile in (((1, 64, 65), 1), ((2, 32, 32), 0), ((1, 64, 64), 0)):
        runner.infer(arrays(*size))
        assert runner.context.active_optimization_profile == profile


@pytest.mark.parametrize('size', [(1, 64, 161), (3, 64, 64), (2, 64, 65), (1, 16, 32)])
def test_a_shape_outside_of_all_profiles(stand_in, on_cpu, files, size):
    stand_in('10.0.1')
    build_engine(*files, profiles=[dict(input=SMALL), dict(input=LARGE)])
    with pytest.raises(UserError) as error:
        TensorRTRunner(files[1]).infer(arrays(*size))
    shape = 'x'.join(map(str, (size[0], 3, *size[1:])))
    assert f'but got input {shape}, sizes {size[0]}x2: resize' in str(error.value)
    assert '; input 1x3x64x64 to 1x3x128x160, sizes 1x2 to 1x2' in str(error.value)


def test_inputs_of_another_kind(stand_in, on_cpu, files):
    stand_in('10.0.1')
    build_engine(*files, profiles=[dict(input=SMALL)])
    runner = TensorRTRunner(files[1])
    inputs = arrays(1, 32, 32)
    with pytest.raises(UserError, match='input is of torch.float64, but .* takes torch.float32'):
        runner.infer(dict(inputs, input=inputs['input'].astype(float)))
    with pytest.raises(UserError, match='takes input, sizes, but got input'):
        runner.infer(dict(input=inputs['input']))
    turned = np.asfortranarray(inputs['input'])
    np.testing.assert_array_equal(
        runner.infer(dict(inputs, input=turned))['output'], runner.infer(inputs)['output']
    )


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize(
    'case, message',
    [
        ('version', 'It was built by another version of TensorRT.'),
        ('gpu', 'It was built for another GPU.'),
        ('truncated', 'The file is damaged, or no engine.'),
        ('empty', 'The file is damaged, or no engine.'),
    ],
)
def test_an_engine_that_cannot_be_loaded(stand_in, on_cpu, files, version, case, message):
    other = VERSIONS[VERSIONS.index(version) - 1]
    stand_in(other if case == 'version' else version, gpu='8.0' if case == 'gpu' else '8.9')
    build_engine(*files, profiles=[dict(input=SMALL)])
    content = files[1].read_bytes()
    files[1].write_bytes({'truncated': content[:-50], 'empty': b''}.get(case, content))
    stand_in(version)
    with pytest.raises(UserError) as error:
        TensorRTRunner(files[1])
    assert f'TensorRT {version} cannot load {files[1]} on a CPU. {message}' in str(error.value)
    assert 'onnx2tensorrt.py' in str(error.value)


def test_no_engine_no_tensorrt_no_gpu(stand_in, files, monkeypatch):
    with pytest.raises(UserError, match='there is no file'):
        TensorRTRunner(files[1])
    files[1].write_bytes(b'engine')
    monkeypatch.setitem(__import__('sys').modules, 'tensorrt', None)
    with pytest.raises(NoTensorRT, match='TensorRT is not installed here'):
        TensorRTRunner(files[1])
    stand_in('10.0.1')
    if not torch.cuda.is_available():
        with pytest.raises(NoTensorRT, match='PyTorch finds no GPU here'):
            TensorRTRunner(files[1])
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    for device in ('cpu', 'cuda:2'):
        with pytest.raises(UserError, match='an engine runs on cuda:0 to cuda:1'):
            TensorRTRunner(files[1], device)


@pytest.mark.parametrize('version', VERSIONS)
def test_a_failed_run_tells_tensorrts_reason(stand_in, on_cpu, files, monkeypatch, version):
    trt = stand_in(version)
    build_engine(*files, profiles=[dict(input=SMALL)])
    runner = TensorRTRunner(files[1])

    def fail(self, stream_handle):
        runner.logger.log(trt.ILogger.Severity.ERROR, 'Error Code 1: Cuda Runtime (out of memory)')
        return False

    monkeypatch.setattr(trt.IExecutionContext, 'execute_async_v3', fail)
    with pytest.raises(UserError, match='Cuda Runtime'):
        runner.infer(arrays(1, 32, 32))


@pytest.mark.parametrize('version', VERSIONS)
def test_layers_and_their_times(stand_in, on_cpu, files, version):
    stand_in(version)
    build_engine(*files, profiles=[dict(input=SMALL), dict(input=LARGE)])
    runner = TensorRTRunner(files[1])
    times = runner.time_layers(arrays(1, 96, 96), 3)
    names = ['/backbone/conv/Conv', '/Cast_1', '/Sum', '/Add']
    assert len(times) == 3 and list(times[0]) == names and times[0] == times[2]
    assert [layer['Name'] for layer in runner.layers()] == names
    assert runner.layers()[0]['Metadata'] == '[ONNX Layer: /backbone/conv/Conv]'
    assert runner.infer(arrays(1, 32, 32))['output'].shape == (1, 1, 1, 2)


def test_an_engine_without_details_has_names_alone(stand_in, on_cpu, files, monkeypatch):
    trt = stand_in('10.0.1')
    build_engine(*files, profiles=[dict(input=SMALL)])
    monkeypatch.setattr(
        trt.EngineInspector,
        'get_engine_information',
        lambda self, kind: json.dumps(dict(Layers=['/Add'])),
    )
    assert TensorRTRunner(files[1]).layers() == [dict(Name='/Add')]


def test_outputs_whose_shape_depends_on_values(stand_in, on_cpu, files, monkeypatch):
    trt = stand_in('10.0.1')
    build_engine(*files, profiles=[dict(input=SMALL)])
    monkeypatch.setattr(trt.IExecutionContext, 'get_tensor_shape', lambda self, name: (1, -1))
    with pytest.raises(UserError, match='the shape of output depends on values'):
        TensorRTRunner(files[1]).infer(arrays(1, 32, 32))
    assert pickle.loads(files[1].read_bytes())['version'] == '10.0.1'
