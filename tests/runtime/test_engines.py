"""TensorRT engines, without TensorRT: a stand-in with the names that versions 8.6 to 11 share runs
the ONNX file behind them, on memory that the stand-in of CUDA hands out."""

import ctypes
import enum
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest

from mmtrtvit.errors import UserError
from mmtrtvit.runtime import Detector
from mmtrtvit.runtime.sessions import open_session

# Least and most of `input` in each profile.
PROFILES = [((1, 3, 32, 32), (2, 3, 64, 96)), ((1, 3, 32, 32), (2, 3, 128, 64))]


class Memory:
    """Stands in for the CUDA runtime: addresses are those of this process."""

    class cudaError_t(enum.IntEnum):
        cudaSuccess = 0
        cudaErrorMemoryAllocation = 2
        cudaErrorInvalidDevice = 101

    class cudaMemcpyKind(enum.IntEnum):
        cudaMemcpyHostToDevice = 1
        cudaMemcpyDeviceToHost = 2

    def __init__(self):
        self.blocks, self.freed = {}, 0

    def cudaSetDevice(self, number):
        return self.cudaError_t(0 if number == 0 else 101),

    def cudaStreamCreate(self):
        return self.cudaError_t(0), 7

    def cudaStreamSynchronize(self, stream):
        assert stream == 7
        return self.cudaError_t(0),

    def cudaMalloc(self, size):
        if size > 2**28:
            return self.cudaError_t(2), 0
        block = ctypes.create_string_buffer(size)
        self.blocks[ctypes.addressof(block)] = block
        return self.cudaError_t(0), ctypes.addressof(block)

    def cudaFree(self, address):
        del self.blocks[address]
        self.freed += 1
        return self.cudaError_t(0),

    def cudaMemcpyAsync(self, target, source, size, kind, stream):
        block = self.blocks[target if kind == 1 else source]  # the GPU's side
        assert size <= len(block) and stream == 7
        ctypes.memmove(target, source, size)
        return self.cudaError_t(0),

    def cudaGetErrorString(self, error):
        return self.cudaError_t(0), error.name.encode()


class Engine:
    def __init__(self, session):
        self.session = session
        self.tensors = {each.name: each for each in session.get_inputs() + session.get_outputs()}
        self.num_io_tensors = len(self.tensors)
        self.num_optimization_profiles = len(PROFILES)

    def get_tensor_name(self, index):
        return list(self.tensors)[index]

    def get_tensor_mode(self, name):
        inputs = [each.name for each in self.session.get_inputs()]
        return TensorIOMode.INPUT if name in inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return self.tensors[name].type

    def get_tensor_shape(self, name):
        return [side if isinstance(side, int) else -1 for side in self.tensors[name].shape]

    def get_tensor_profile_shape(self, name, index):
        least, most = PROFILES[index]
        return [least, most, most]

    def create_execution_context(self):
        return Context(self)


class Context:
    def __init__(self, engine):
        self.engine, self.profile = engine, 0
        self.shapes, self.addresses, self.busy = {}, {}, False

    def set_optimization_profile_async(self, index, stream):
        self.profile = index
        return True

    def set_input_shape(self, name, shape):
        least, most = PROFILES[self.profile]
        if name == 'input' and not all(a <= b <= c for a, b, c in zip(least, shape, most)):
            return False
        self.shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name):
        shape = self.engine.get_tensor_shape(name)
        return [self.shapes['input'][0] if side < 0 else side for side in shape]

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        assert not self.busy, 'one context runs for one thread at a time'
        self.busy = True
        session = self.engine.session
        inputs = {
            each.name: self.view(each.name, self.shapes[each.name], np.float32)
            for each in session.get_inputs()}
        for each, value in zip(session.get_outputs(), session.run(None, inputs)):
            self.view(each.name, value.shape, value.dtype)[...] = value
        self.busy = False
        return True

    def view(self, name, shape, dtype):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = (ctypes.c_char * size).from_address(self.addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)


class TensorIOMode(enum.Enum):
    INPUT, OUTPUT = 1, 2


def tensorrt():
    class ILogger:
        class Severity(enum.Enum):
            INTERNAL_ERROR, ERROR, WARNING = range(3)

    class Runtime:
        def __init__(self, logger):
            assert module.plugins, 'plugins come first'
            self.logger = logger

        def deserialize_cuda_engine(self, data):
            try:
                return Engine(onnxruntime.InferenceSession(data))
            except Exception:
                self.logger.log(ILogger.Severity.WARNING, 'a warning')
                self.logger.log(ILogger.Severity.ERROR, 'Magic tag does not match.')
                self.logger.log(ILogger.Severity.WARNING, 'another')

    def init_libnvinfer_plugins(logger, namespace):
        module.plugins = True
        return True

    module = types.SimpleNamespace(
        __version__='10.3', ILogger=ILogger, Runtime=Runtime, TensorIOMode=TensorIOMode,
        init_libnvinfer_plugins=init_libnvinfer_plugins, plugins=False,
        nptype={'tensor(float)': np.float32, 'tensor(int32)': np.int32}.get)
    return module


@pytest.fixture(params=['cuda.bindings.runtime', 'cuda.cudart'])
def gpu(request, monkeypatch):
    """The stand-ins, with cuda-python's old and new names."""
    memory = Memory()
    for name in ('cuda', 'cuda.bindings', 'cuda.bindings.runtime', 'cuda.cudart'):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, 'cuda', types.ModuleType('cuda'))
    if 'bindings' in request.param:
        monkeypatch.setitem(sys.modules, 'cuda.bindings', types.ModuleType('cuda.bindings'))
    monkeypatch.setitem(sys.modules, request.param, memory)
    monkeypatch.setitem(sys.modules, 'tensorrt', tensorrt())
    return memory


@pytest.fixture
def work_dir(bright):
    """The work dir of an engine."""
    folder = bright()
    (folder / 'end2end.onnx').rename(folder / 'end2end.engine')
    text = (folder / 'deploy.json').read_text().replace('.onnx', '.engine')
    (folder / 'deploy.json').write_text(text)
    return folder


def with_box(left, size):
    image = np.zeros((*size, 3), np.uint8)
    image[10:30, left:left + 10] = 255
    return image


def test_an_engine_finds_what_the_onnx_file_finds(gpu, work_dir):
    detector = Detector(work_dir)
    assert [(each.name, each.shape, each.dtype) for each in detector.session.inputs] == [
        ('input', (None, 3, None, None), np.float32), ('sizes', (None, 2), np.float32)]
    pictures = [with_box(index, size) for index, size in enumerate(
        [(40, 50)] * 5 + [(64, 96)] + [(100, 40)] * 2 + [(20, 20)] + [(64, 96)])]
    results = list(detector.predict(pictures, batch_size=4))
    expected = [[[index, 10, min(index + 10, size.shape[1]), min(30, size.shape[0])]]
                for index, size in enumerate(pictures)]
    assert [found.boxes.tolist() for found in results] == expected
    large = detector(with_box(5, (256, 64)))
    assert large.note.endswith('the model takes at most 96 x 64 or 64 x 128')
    assert detector.session._context.profile == 1


def test_memory_is_used_again_and_given_back(gpu, work_dir):
    detector = Detector(work_dir)
    small, large = with_box(1, (40, 50)), with_box(1, (64, 96))
    detector(small)
    assert len(gpu.blocks) == 5 and gpu.freed == 0
    detector(large)
    assert len(gpu.blocks) == 5 and gpu.freed == 1  # the input's grew
    for _ in range(20):
        detector(small)
    assert gpu.freed == 1
    del detector
    assert not gpu.blocks


def test_threads_take_turns(gpu, work_dir):
    detector = Detector(work_dir)
    pictures = [with_box(index % 30, (40, 50)) for index in range(100)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(detector, pictures))
    assert [each.boxes[0, 0] for each in found] == [index % 30 for index in range(100)]


def test_an_engine_that_is_cut_off_or_of_another_version(gpu, work_dir):
    path = work_dir / 'end2end.engine'
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match='cannot be loaded by TensorRT 10.3.*Magic tag does not'):
        Detector(work_dir)


def test_a_gpu_that_is_not_there_and_one_without_memory(gpu, work_dir):
    with pytest.raises(UserError, match='cudaSetDevice failed on GPU 3: cudaErrorInvalidDevice'):
        Detector(work_dir, device='cuda:3')
    with pytest.raises(UserError, match="the device is 'cpu', expected cuda or cuda:0"):
        Detector(work_dir, device='cpu')
    detector = Detector(work_dir)
    with pytest.raises(UserError, match='cudaMalloc failed on GPU 0: cudaErrorMemoryAllocation'):
        detector.session._buffers['input'].reserve(2**30)


@pytest.mark.parametrize('missing, message', [
    ('tensorrt', 'needs the tensorrt package of the version that built it'),
    ('cuda', 'an engine needs cuda-python')])
def test_what_an_engine_needs(missing, message, gpu, work_dir, monkeypatch):
    for name in list(sys.modules):
        if name == missing or name.startswith('cuda.') and missing == 'cuda':
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=message):
        open_session(work_dir / 'end2end.engine')
