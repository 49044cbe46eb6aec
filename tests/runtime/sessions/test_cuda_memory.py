"""Detectors whose engines run on the memory that a stand-in of CUDA hands out."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mmtrtvit.errors import UserError
from mmtrtvit.runtime import Detector
from mmtrtvit.runtime.sessions.cuda_memory import CudaMemory

VERSIONS = '8.6.1', '10.0.1', '10.16.1.11', '11.4.0.106'


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
    assert detector.session.lanes[0].context.active_optimization_profile == 1


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
    assert len(gpu.pinned) == 5
    del detector
    assert not gpu.blocks and not gpu.pinned


def test_memory_of_the_host_need_not_be_pinned(gpu):
    value = np.arange(12, dtype=np.float32).reshape(3, 4)
    for pinned in (True, False):
        memory = CudaMemory(pinned=pinned)
        for scale in (1, 2):
            given = value * scale
            with memory.active():
                memory.write('x', given, 'float32')
                found = memory.read('x')
            np.testing.assert_array_equal(found, given)
        assert bool(gpu.pinned) is pinned
        del memory


def test_threads_share_a_detector(gpu, work_dir):
    detector = Detector(work_dir())
    images = [with_box(index % 30, (40, 50)) for index in range(100)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(detector, images))
    assert [each.boxes[0, 0] for each in found] == [index % 30 for index in range(100)]


def test_a_gpu_that_is_not_there_and_one_without_memory(gpu, work_dir):
    folder = work_dir()
    with pytest.raises(UserError, match='cudaSetDevice failed on GPU 3: cudaErrorInvalidDevice'):
        Detector(folder, device='cuda:3')
    with pytest.raises(UserError, match="the device is 'cpu', expected cuda or cuda:0"):
        Detector(folder, device='cpu')
    with pytest.raises(UserError, match='cudaMalloc failed on GPU 0: cudaErrorMemoryAllocation'):
        CudaMemory().reserve('input', (2**30,), 'uint8')


def test_cuda_python_by_its_old_name_and_not_at_all(gpu, work_dir, monkeypatch):
    folder = work_dir()
    for name in ('cuda.bindings.runtime', 'cuda.cudart'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match='an engine needs cuda-python'):
        Detector(folder)
    monkeypatch.setitem(sys.modules, 'cuda.cudart', gpu)
    assert len(Detector(folder)(with_box(3, (40, 50)))) == 1


def test_the_stand_in_of_cuda_has_no_names_of_its_own(gpu):
    real = pytest.importorskip('cuda.bindings.runtime')
    for name in vars(type(gpu)):
        if name.startswith('cuda'):
            assert hasattr(real, name)
    for kind in (gpu.cudaError_t, gpu.cudaMemcpyKind, gpu.cudaStreamCaptureMode):
        for member in kind:
            assert int(getattr(getattr(real, kind.__name__), member.name)) == member
