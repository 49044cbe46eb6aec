"""Engines without TensorRT, on PyTorch's memory and on that of a stand-in for CUDA.

The stand-ins for TensorRT's versions run the ONNX file behind an engine in ONNX Runtime.
"""

import gc
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import onnxruntime
import pytest

from mmtrtvit.deploy.backends.tensorrt.build import build_engine
from mmtrtvit.deploy.backends.tensorrt.options import EngineOptions
from mmtrtvit.errors import UserError
from mmtrtvit.runtime.sessions.base import ShapeLimits, max_batch
from mmtrtvit.runtime.sessions.cuda_memory import CudaMemory
from mmtrtvit.runtime.sessions.tensorrt import TensorRTSession
from mmtrtvit.runtime.sessions.tensorrt_package import NoTensorRT

VERSIONS = ('8.6.1', '10.0.1', '10.16.1.11', '11.4.0.106')
SMALL = ((1, 3, 32, 32), (1, 3, 64, 64), (2, 3, 64, 64))
LARGE = ((1, 3, 64, 64), (1, 3, 96, 96), (1, 3, 128, 160))
BOTH = [dict(input=SMALL), dict(input=LARGE)]


@pytest.fixture(params=['torch', 'cuda'])
def memory(request):
    """Memory of either kind."""
    if request.param == 'torch':
        return request.getfixturevalue('on_cpu')()
    request.getfixturevalue('gpu')
    return CudaMemory()


@pytest.fixture
def files(tmp_path, graph):
    return graph(tmp_path / 'end2end.onnx'), tmp_path / 'end2end.engine'


@pytest.fixture
def opened(files, stand_in, memory):
    """Builds an engine for a version of TensorRT and opens it."""

    def open_engine(version='10.0.1', profiles=BOTH):
        stand_in(version)
        build_engine(*files, profiles=profiles)
        return TensorRTSession(files[1], memory)

    return open_engine


def arrays(batch, height, width):
    values = np.random.default_rng(0).normal(size=(batch, 3, height, width))
    return dict(
        input=values.astype(np.float32), sizes=np.full((batch, 2), (height, width), np.float32)
    )


@pytest.mark.parametrize('version', VERSIONS)
def test_an_engine_computes_what_its_file_does(opened, files, version):
    session = opened(version)
    assert [(each.name, each.shape, each.dtype) for each in session.inputs] == [
        ('input', (None, 3, None, None), np.float32),
        ('sizes', (None, 2), np.float32),
    ]
    assert [(each.name, each.dtype) for each in session.outputs] == [('output', np.float32)]
    assert session.profiles == (
        dict(input=ShapeLimits(SMALL[0], SMALL[2]), sizes=ShapeLimits((1, 2), (2, 2))),
        dict(input=ShapeLimits(LARGE[0], LARGE[2]), sizes=ShapeLimits((1, 2), (1, 2))),
    )
    assert max_batch(session) == 2
    reference = onnxruntime.InferenceSession(files[0])
    for size in ((1, 32, 48), (1, 128, 160), (2, 64, 64), (1, 64, 64)):
        inputs = arrays(*size)
        (expected,) = reference.run(None, inputs)
        found = session.run(inputs)
        assert list(found) == ['output']
        np.testing.assert_array_equal(found['output'], expected)


def test_results_stay_when_the_engine_runs_again(opened):
    session = opened()
    first = session.run(arrays(1, 32, 32))['output']
    before = first.copy()
    session.run(arrays(1, 64, 64))
    np.testing.assert_array_equal(first, before)


def test_the_first_profile_that_fits_is_taken(opened):
    session = opened()
    for size, profile in (((1, 64, 65), 1), ((2, 32, 32), 0), ((1, 64, 64), 0)):
        session.run(arrays(*size))
        assert session.lanes[0].context.active_optimization_profile == profile


@pytest.mark.parametrize('size', [(1, 64, 161), (3, 64, 64), (2, 64, 65), (1, 16, 32)])
def test_a_shape_outside_of_all_profiles(opened, size):
    with pytest.raises(UserError) as error:
        opened().run(arrays(*size))
    shape = 'x'.join(map(str, (size[0], 3, *size[1:])))
    assert f'but got input {shape}, sizes {size[0]}x2: resize' in str(error.value)
    assert '; input 1x3x64x64 to 1x3x128x160, sizes 1x2 to 1x2' in str(error.value)


def test_a_profile_has_to_take_all_inputs(opened):
    with pytest.raises(UserError, match='but got input 1x3x64x64, sizes 1x3: resize'):
        opened().run(dict(arrays(1, 64, 64), sizes=np.ones((1, 3), np.float32)))


def test_inputs_of_another_kind(opened):
    session = opened(profiles=BOTH[:1])
    inputs = arrays(1, 32, 32)
    with pytest.raises(UserError, match='input is of float64, but .*engine takes float32'):
        session.run(dict(inputs, input=inputs['input'].astype(float)))
    with pytest.raises(UserError, match='engine takes input, sizes, but got input'):
        session.run(dict(input=inputs['input']))
    turned = np.asfortranarray(inputs['input'])
    np.testing.assert_array_equal(
        session.run(dict(inputs, input=turned))['output'], session.run(inputs)['output']
    )


@pytest.mark.parametrize('version, contexts', [('8.6.1', 1), ('10.0.1', 2), ('11.4.0.106', 2)])
def test_threads_run_side_by_side(opened, version, contexts):
    session = opened(version)
    inputs = [arrays(1, 32 + index % 30, 40) for index in range(60)]
    expected = [session.run(each)['output'] for each in inputs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(session.run, inputs))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours['output'], theirs)
    assert len(session.lanes) <= contexts


def both_at_once(session, monkeypatch):
    """Runs two threads, one of which waits in its run for the other; returns both results."""
    trt, first, second = sys.modules['tensorrt'], threading.Event(), threading.Event()
    run = trt.IExecutionContext.execute_async_v3

    def wait(self, stream_handle):
        if not first.is_set():
            first.set()
            second.wait(2)
        else:
            second.set()
        return run(self, stream_handle)

    monkeypatch.setattr(trt.IExecutionContext, 'execute_async_v3', wait)
    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(session.run, arrays(1, 32, 40))]
        assert first.wait(5)
        results.append(pool.submit(session.run, arrays(1, 32, 56)))
        return [each.result()['output'] for each in results]


def test_a_second_context_is_made_where_two_run_at_once(opened, monkeypatch):
    session = opened()
    assert len(session.lanes) == 1
    expected = [session.run(arrays(1, 32, width))['output'] for width in (40, 56)]
    found = both_at_once(session, monkeypatch)
    assert len(session.lanes) == 2
    assert session.lanes[0].memory is not session.lanes[1].memory
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_threads_wait_where_there_is_no_memory_for_two(opened, monkeypatch, caplog):
    session = opened()
    engine = sys.modules['tensorrt'].ICudaEngine
    monkeypatch.setattr(engine, 'create_execution_context', lambda self: None)
    assert len(both_at_once(session, monkeypatch)) == 2
    assert len(session.lanes) == 1 and 'could not prepare to run two images' in caplog.text


def test_code_for_the_host_only_where_it_is_allowed(files, stand_in, memory, monkeypatch):
    stand_in('10.0.1')
    build_engine(*files, options=EngineOptions(version_compatible=True), profiles=BOTH)
    with pytest.raises(UserError, match='holds code for the host') as error:
        TensorRTSession(files[1], memory)
    assert 'onnx2tensorrt' not in str(error.value)
    session = TensorRTSession(files[1], memory, host_code=True)
    assert session.run(arrays(1, 32, 32))['output'].shape == (1, 1, 1, 2)
    monkeypatch.setenv('MMTRTVIT_ENGINE_HOST_CODE', '1')
    TensorRTSession(files[1], memory)


def test_a_dla_is_chosen(files, stand_in, memory):
    stand_in('10.0.1')
    build_engine(*files, profiles=BOTH)
    assert TensorRTSession(files[1], memory, dla_core=1)._runtime.DLA_core == 1


def test_a_shape_that_comes_again_runs_as_a_cuda_graph(opened, files, gpu):
    plain = opened()
    session = TensorRTSession(files[1], CudaMemory(), cuda_graphs=True)
    record(gpu, session)
    for count, size in enumerate([(32, 32)] * 4 + [(64, 40)] * 3 + [(32, 32)] * 3):
        inputs = arrays(1, *size)
        inputs['input'] += count
        found = session.run(inputs)['output']
        np.testing.assert_array_equal(found, plain.run(inputs)['output'])
    assert gpu.launched == 3 + 2 + 2
    assert len(gpu.graphs) == 1
    del session
    gc.collect()
    assert not gpu.graphs


def test_what_cannot_be_recorded_runs_without(opened, files, gpu, caplog):
    opened()
    session = TensorRTSession(files[1], CudaMemory(), cuda_graphs=True)
    expected = session.run(arrays(1, 32, 32))['output']
    for _ in range(3):  # nothing reaches the stand-in's stream: it has recorded no work
        np.testing.assert_array_equal(session.run(arrays(1, 32, 32))['output'], expected)
    assert caplog.text.count('no CUDA graph can be recorded') == 1 and not gpu.launched


def test_pytorch_records_no_cuda_graphs(opened, files, on_cpu):
    opened()
    with pytest.raises(UserError, match='cuda_graphs: PyTorch holds the memory'):
        TensorRTSession(files[1], on_cpu(), cuda_graphs=True)


def record(gpu, session):
    """Lets the stand-in for CUDA record what an execution context does."""
    trt = sys.modules['tensorrt']
    run = trt.IExecutionContext.execute_async_v3

    def execute(self, stream_handle):
        if gpu.recording is None:
            return run(self, stream_handle)
        gpu.recording.append(partial(run, self, stream_handle))
        return True

    trt.IExecutionContext.execute_async_v3 = execute


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
def test_an_engine_that_cannot_be_loaded(stand_in, memory, files, version, case, message):
    other = VERSIONS[VERSIONS.index(version) - 1]
    stand_in(other if case == 'version' else version, gpu='8.0' if case == 'gpu' else '8.9')
    build_engine(*files, profiles=BOTH[:1])
    content = files[1].read_bytes()
    files[1].write_bytes({'truncated': content[:-50], 'empty': b''}.get(case, content))
    stand_in(version)
    with pytest.raises(UserError) as error:
        TensorRTSession(files[1], memory)
    refusal = f'TensorRT {version} cannot load {files[1]} on {memory.gpu}. {message}'
    assert refusal in str(error.value) and memory.gpu in ('a CPU', 'GPU 0')
    assert 'onnx2tensorrt.py' in str(error.value)


def test_no_engine_and_no_tensorrt(memory, files, monkeypatch):
    with pytest.raises(UserError, match='there is no file'):
        TensorRTSession(files[1], memory)
    files[1].write_bytes(b'engine')
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    with pytest.raises(NoTensorRT, match='TensorRT is not installed here'):
        TensorRTSession(files[1], memory)


@pytest.mark.parametrize('version', VERSIONS)
def test_a_failed_run_tells_tensorrts_reason(opened, monkeypatch, version):
    session = opened(version)
    trt = sys.modules['tensorrt']

    def fail(self, stream_handle):
        session._logger.log(trt.ILogger.Severity.ERROR, 'Error Code 1: Cuda Runtime (no memory)')
        return False

    monkeypatch.setattr(trt.IExecutionContext, 'execute_async_v3', fail)
    with pytest.raises(UserError, match=rf'TensorRT {version} failed on .*\n.*Cuda Runtime'):
        session.run(arrays(1, 32, 32))


def test_no_memory_for_a_context(opened, monkeypatch, files, memory):
    opened()
    trt = sys.modules['tensorrt']
    monkeypatch.setattr(trt.ICudaEngine, 'create_execution_context', lambda self: None)
    with pytest.raises(UserError, match='could not prepare a run on .*\n.*gave no reason'):
        TensorRTSession(files[1], memory)


@pytest.mark.parametrize('version', VERSIONS)
def test_held_inputs_are_run_again_and_again(opened, memory, version, monkeypatch):
    session, inputs = opened(version), arrays(1, 96, 96)
    expected = session.run(inputs)['output']
    session.run(dict(inputs, input=-inputs['input']))  # the output's memory holds something else
    call = session.hold(inputs)
    (lane,) = session.lanes
    monkeypatch.setattr(lane.memory, 'write', None)  # nothing is copied any more
    for _ in range(2):
        with lane.memory.active():
            call()
            found = lane.memory.read('output')
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('version', VERSIONS)
def test_layers_and_their_times(opened, version):
    session = opened(version)
    times = session.time_layers(arrays(1, 96, 96), 3)
    names = ['/backbone/conv/Conv', '/Cast_1', '/Sum', '/Add']
    assert len(times) == 3 and list(times[0]) == names and times[0] == times[2]
    assert [layer['Name'] for layer in session.layers()] == names
    assert session.layers()[0]['Metadata'] == '[ONNX Layer: /backbone/conv/Conv]'
    assert session.run(arrays(1, 32, 32))['output'].shape == (1, 1, 1, 2)


def test_an_engine_without_details_has_names_alone(opened, monkeypatch):
    session = opened()
    monkeypatch.setattr(
        sys.modules['tensorrt'].EngineInspector,
        'get_engine_information',
        lambda self, kind: json.dumps(dict(Layers=['/Add'])),
    )
    assert session.layers() == [dict(Name='/Add')]


def test_outputs_whose_shape_depends_on_values(opened, monkeypatch):
    session = opened()
    context = sys.modules['tensorrt'].IExecutionContext
    monkeypatch.setattr(context, 'get_tensor_shape', lambda self, name: (1, -1))
    with pytest.raises(UserError, match='the shape of output depends on values'):
        session.run(arrays(1, 32, 32))


@pytest.mark.parametrize('kind', ['FP8', 'INT4', 'BF16'])
def test_types_that_numpy_has_not(opened, files, memory, monkeypatch, kind):
    opened()
    trt = sys.modules['tensorrt']
    theirs = trt.ICudaEngine.get_tensor_dtype

    def get_tensor_dtype(self, name):
        return getattr(trt.DataType, kind) if name == 'output' else theirs(self, name)

    monkeypatch.setattr(trt.ICudaEngine, 'get_tensor_dtype', get_tensor_dtype)
    if kind == 'BF16' and not isinstance(memory, CudaMemory):  # PyTorch has it
        assert TensorRTSession(files[1], memory).outputs[0].dtype == np.float32
        return
    with pytest.raises(UserError, match=f'output is of {kind}, expected one of FLOAT, HALF'):
        TensorRTSession(files[1], memory)
