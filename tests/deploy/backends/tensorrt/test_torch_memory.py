"""PyTorch's memory, where there is no GPU and where one is played."""

import numpy as np
import pytest
import torch

from mmtrtvit.deploy.backends.tensorrt.torch_memory import TorchMemory
from mmtrtvit.deploy.verify.open import open_graph
from mmtrtvit.errors import UserError
from mmtrtvit.runtime.sessions.tensorrt_package import NoTensorRT


def test_no_gpu_and_no_such_gpu(monkeypatch):
    if not torch.cuda.is_available():
        with pytest.raises(NoTensorRT, match='PyTorch finds no GPU here'):
            TorchMemory()
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    for device in ('cpu', 'cuda:2'):
        with pytest.raises(UserError, match='an engine runs on cuda:0 to cuda:1'):
            TorchMemory(device)


def test_a_missing_engine_is_told_before_a_missing_gpu(tmp_path):
    with pytest.raises(UserError, match='there is no model .*end2end.engine'):
        open_graph(tmp_path / 'end2end.engine')


@pytest.mark.parametrize('dtype', ['float32', 'float16', 'int32', 'int64', 'bool', 'uint8', 'int8'])
def test_tensors_keep_their_values(on_cpu, dtype):
    memory = on_cpu()
    value = np.arange(6).reshape(2, 3).astype(memory.host_dtype(dtype))
    assert memory.write('x', value, dtype)
    np.testing.assert_array_equal(memory.read('x'), value)
    assert memory.read('x').dtype == dtype and memory.reserve('x', (3,), dtype)
    assert memory.read('x').shape == (3,)


def test_bfloat16_is_float32_on_the_host(on_cpu):
    memory = on_cpu()
    value = np.array([1.0, 1 + 2**-7, 1 + 2**-9, 3e38], memory.host_dtype('bfloat16'))
    memory.write('x', value, 'bfloat16')
    assert memory._tensors['x'].dtype == torch.bfloat16
    found = memory.read('x')
    assert found.dtype == np.float32 and found[:3].tolist() == [1, 1 + 2**-7, 1]
    assert found[3] == pytest.approx(3e38, rel=2**-8)
