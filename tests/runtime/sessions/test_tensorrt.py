"""TensorRT engines, without TensorRT: the stand-ins of its versions run the ONNX file behind them,
on memory that a stand-in of CUDA hands out."""

import ctypes
import enum
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mmtrtvit.deploy.backends.tensorrt.build import build_engine
from mmtrtvit.errors import UserError
from mmtrtvit.runtime import Detector

VERSIONS = '8.6.1', '10.0.1', '10.16.1.11', '11.4.0.106'
WIDE = (1, 3, 32, 32), (1, 3, 64, 96), (2, 3, 64, 96)
HIGH = (1, 3, 32, 32), (1, 3, 128, 64), (2, 3, 128, 64)


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
        return (self.cudaError_t(0 if number == 0 else 101),)

    def cudaStreamCreate(self):
        return self.cudaError_t(0), 7

    def cudaStreamSynchronize(self, stream):
        assert stream == 7
        return (self.cudaError_t(0),)

    def cudaMalloc(self, size):
        if size > 2**28:
            return self.cudaError_t(2), 0
        block = ctypes.create_string_buffer(size)
        self.blocks[ctypes.addressof(block)] = block
        return self.cudaError_t(0), ctypes.addressof(block)

    def cudaFree(self, address):
        del self.blocks[address]
        self.freed += 1
        return (self.cudaError_t(0),)

    def cudaMemcpyAsync(self, target, source, size, kind, stream):
        block = self.blocks[target if kind == 1 else source]  # the GPU's side
        assert size <= len(block) and stream == 7
        ctypes.memmove(target, source, size)
        return (self.cudaError_t(0),)

    def cudaGetErrorString(self, error):
        return self.cudaError_t(0), error.name.encode()


@pytest.fixture
def gpu(monkeypatch):
    """The stand-in of CUDA, with the name that cuda-python has now."""
    memory = Memory()
    monkeypatch.setitem(sys.modules, 'cuda.bindings.runtime', memory)
    return memory


@pytest.fixture
def work_dir(bright, stand_in):
    """Makes the work dir of an engine for a version of TensorRT."""

    def make(version='10.0.1'):
        stand_in(version)
        folder = bright()
        build_engine(
            folder / 'end2end.onnx',
            folder / 'end2end.engine',
            profiles=[dict(input=WIDE), dict(input=HIGH)],
        )
        (folder / 'end2end.onnx').unlink()
        text = (folder / 'deploy.json').read_text().replace('.onnx', '.engine')
        (folder / 'deploy.json').write_text(text)
        return folder

    return make


def with_box(left, size):
    image = np.zeros((*size, 3), np.uint8)
    image[10:30, left : left + 10] = 255
    return image


@pytest.mark.parametrize('version', VERSIONS)
def test_an_engine_finds_what_the_onnx_file_finds(version, gpu, work_dir):
    detector = Detector(work_dir(version))
    assert [(each.name, each.shape, each.dtype) for each in detector.session.inputs] == [
        ('input', (None, 3, None, None), np.float32),
        ('sizes', (None, 2), np.float32),
    ]
    images = [
        with_box(index, size)
        for index, size in enumerate(
            [(40, 50)] * 5 + [(64, 96)] + [(100, 40)] * 2 + [(20, 20)] + [(64, 96)]
        )
    ]
    results = list(detector.predict(images, batch_size=4))
    expected = [
        [[index, 10, min(index + 10, size.shape[1]), min(30, size.shape[0])]]
        for index, size in enumerate(images)
    ]
    assert [found.boxes.tolist() for found in results] == expected
    large = detector(with_box(5, (256, 64)))
    assert large.note.endswith('the model takes at most 96 x 64 or 64 x 128')
    assert detector.session._context.active_optimization_profile == 1


def test_memory_is_used_again_and_given_back(gpu, work_dir):
    detector = Detector(work_dir())
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
    detector = Detector(work_dir())
    images = [with_box(index % 30, (40, 50)) for index in range(100)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(detector, images))
    assert [each.boxes[0, 0] for each in found] == [index % 30 for index in range(100)]


@pytest.mark.parametrize(
    'damage, message',
    [
        ('cut off', 'magicTag'),
        ('version', 'got 10.0.1, please rebuild'),
        ('gpu', 'got compute 8.9, please rebuild'),
    ],
)
def test_an_engine_that_cannot_be_loaded(damage, message, gpu, work_dir, stand_in):
    folder = work_dir('10.0.1')
    path = folder / 'end2end.engine'
    if damage == 'cut off':
        path.write_bytes(path.read_bytes()[:100])
    stand_in(
        '11.4.0.106' if damage == 'version' else '10.0.1', gpu='8.6' if damage == 'gpu' else '8.9'
    )
    with pytest.raises(UserError, match=f'cannot be loaded by TensorRT 1.*Build it.*{message}'):
        Detector(folder)


def test_a_gpu_that_is_not_there_and_one_without_memory(gpu, work_dir):
    folder = work_dir()
    with pytest.raises(UserError, match='cudaSetDevice failed on GPU 3: cudaErrorInvalidDevice'):
        Detector(folder, device='cuda:3')
    with pytest.raises(UserError, match="the device is 'cpu', expected cuda or cuda:0"):
        Detector(folder, device='cpu')
    detector = Detector(folder)
    with pytest.raises(UserError, match='cudaMalloc failed on GPU 0: cudaErrorMemoryAllocation'):
        detector.session._buffers['input'].reserve(2**30)


def test_shapes_that_no_profile_takes(gpu, work_dir):
    session = Detector(work_dir()).session
    with pytest.raises(UserError, match='does not take an input of'):
        session.run(dict(input=np.zeros((1, 3, 20, 20), np.float32), sizes=np.ones((1, 2))))


def test_cuda_python_by_its_old_name_and_not_at_all(work_dir, monkeypatch):
    folder = work_dir()
    for name in ('cuda.bindings.runtime', 'cuda.cudart'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match='an engine needs cuda-python'):
        Detector(folder)
    monkeypatch.setitem(sys.modules, 'cuda.cudart', Memory())
    assert len(Detector(folder)(with_box(3, (40, 50)))) == 1


def test_no_tensorrt(gpu, work_dir, monkeypatch):
    folder = work_dir()
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    with pytest.raises(UserError, match='TensorRT is not installed here'):
        Detector(folder)


def test_the_stand_in_of_cuda_has_no_names_of_its_own():
    real = pytest.importorskip('cuda.bindings.runtime')
    for name in vars(Memory):
        if name.startswith('cuda'):
            assert hasattr(real, name)
    for kind in (Memory.cudaError_t, Memory.cudaMemcpyKind):
        for member in kind:
            assert int(getattr(getattr(real, kind.__name__), member.name)) == member
