"""A stand-in for CUDA, on whose memory engines of the stand-ins for TensorRT run."""

import ctypes
import enum
import sys

import pytest


class Cuda:
    """Stands in for the CUDA runtime: addresses are those of this process."""

    class cudaError_t(enum.IntEnum):
        cudaSuccess = 0
        cudaErrorMemoryAllocation = 2
        cudaErrorInvalidDevice = 101
        cudaErrorStreamCaptureInvalidated = 901

    class cudaMemcpyKind(enum.IntEnum):
        cudaMemcpyHostToDevice = 1
        cudaMemcpyDeviceToHost = 2

    class cudaStreamCaptureMode(enum.IntEnum):
        cudaStreamCaptureModeThreadLocal = 1

    def __init__(self):
        self.blocks, self.freed, self.pinned = {}, 0, {}
        self.streams, self.graphs, self.recording, self.launched = 0, [], None, 0

    def cudaSetDevice(self, number):
        return (self.cudaError_t(0 if number == 0 else 101),)

    def cudaStreamCreate(self):
        self.streams += 1
        return self.cudaError_t(0), 6 + self.streams

    def cudaStreamSynchronize(self, stream):
        assert 7 <= stream <= 6 + self.streams
        return (self.cudaError_t(0),)

    def cudaStreamBeginCapture(self, stream, mode):
        assert mode == 1 and self.recording is None
        self.recording = []
        return (self.cudaError_t(0),)

    def cudaStreamEndCapture(self, stream):
        work, self.recording = self.recording, None
        return self.cudaError_t(0 if work else 901), work

    def cudaGraphInstantiate(self, graph, flags):
        assert graph and flags == 0
        self.graphs.append(graph)
        return self.cudaError_t(0), graph

    def cudaGraphDestroy(self, graph):
        return (self.cudaError_t(0),)

    def cudaGraphExecDestroy(self, graph):
        self.graphs.remove(graph)
        return (self.cudaError_t(0),)

    def cudaGraphLaunch(self, graph, stream):
        for work in graph:
            work()
        self.launched += 1
        return (self.cudaError_t(0),)

    def cudaMallocHost(self, size):
        block = ctypes.create_string_buffer(size)
        self.pinned[ctypes.addressof(block)] = block
        return self.cudaError_t(0), ctypes.addressof(block)

    def cudaFreeHost(self, address):
        del self.pinned[address]
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
        assert size <= len(block) and 7 <= stream <= 6 + self.streams
        ctypes.memmove(target, source, size)
        return (self.cudaError_t(0),)

    def cudaGetErrorString(self, error):
        return self.cudaError_t(0), error.name.encode()


@pytest.fixture
def gpu(monkeypatch):
    """The stand-in of CUDA, with the name that cuda-python has now."""
    cuda = Cuda()
    monkeypatch.setitem(sys.modules, 'cuda.bindings.runtime', cuda)
    return cuda


WIDE = (1, 3, 32, 32), (1, 3, 64, 96), (2, 3, 64, 96)
HIGH = (1, 3, 32, 32), (1, 3, 128, 64), (2, 3, 128, 64)


@pytest.fixture
def work_dir(bright, stand_in):
    """Makes the work dir of an engine for a version of TensorRT."""
    from mmtrtvit.deploy.backends.tensorrt.build import build_engine

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
