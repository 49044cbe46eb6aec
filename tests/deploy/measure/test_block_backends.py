"""Blocks in ONNX Runtime and OpenVINO: what they compute, and what is refused."""

import numpy as np
import pytest
import torch

from mmtrtvit.analysis.density.blocks import BLOCKS, build, stages_of
from mmtrtvit.analysis.density.runners import TORCH_BACKENDS, Job, check_backend, seeded_noise
from mmtrtvit.deploy.measure.block_backends import GRAPH_BACKENDS
from mmtrtvit.errors import UserError

ALL = {**TORCH_BACKENDS, **GRAPH_BACKENDS}
(STAGE, *_) = stages_of((32, 48), (64, 64, 64, 64))
SHAPE = 2, *STAGE.map


@pytest.fixture(scope='module')
def module():
    module = build(BLOCKS['MixBlockC'], STAGE)
    torch.nn.init.normal_(module.bottleneck.branch[2].norm.bias)  # so that every part has a say
    return module


@pytest.mark.parametrize(
    'name, precision, tolerance',
    [
        ('eager', 'fp32', 0),
        ('fused', 'fp32', 1e-5),
        ('eager', 'bf16', 0.05),
        ('onnxruntime', 'fp32', 1e-5),
        ('onnxruntime', 'int8', 0.1),
        ('openvino', 'fp32', 1e-5),
        ('openvino', 'int8', 0.5),  # sums of products saturate on a CPU without VNNI
    ],
)
def test_backends_compute_the_block(module, name, precision, tolerance):
    if name == 'openvino':
        pytest.importorskip('openvino')
    with torch.no_grad():
        expected = module(seeded_noise(SHAPE)).numpy()
    job = Job(build(BLOCKS['MixBlockC'], STAGE), SHAPE, precision, threads=1)
    job.module.load_state_dict(module.state_dict())
    found = ALL[name].prepare(job)()
    if isinstance(found, torch.Tensor):
        assert found.dtype == (torch.bfloat16 if precision == 'bf16' else torch.float32)
        found = found.float().numpy()
    else:
        (found,) = found.values()
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()
    if precision == 'int8':
        assert np.abs(found - expected).max() > 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    'name, precision, device, message',
    [
        (
            'onnxruntime',
            'fp16',
            'cpu',
            'onnxruntime has no fp16 on cpu: it computes in fp32, int8 there; fp16 have eager, ',
        ),
        ('tensorrt', 'fp32', 'cpu', 'tensorrt has no fp32 on cpu: it is not measured there'),
        ('onnxrutime', 'fp32', 'cpu', 'no backend onnxrutime. Did you mean onnxruntime'),
    ],
)
def test_what_a_backend_does_not_do(name, precision, device, message):
    with pytest.raises(UserError, match=message):
        check_backend(ALL, name, precision=precision, device=device)


def test_a_backend_that_is_not_installed(monkeypatch):
    monkeypatch.setattr('mmtrtvit.analysis.density.runners.find_spec', lambda name: None)
    for name, device in (('openvino', 'cpu'), ('tensorrt', 'cuda')):
        with pytest.raises(UserError, match=f'{name} needs onnx.*, {name}: pip install .*{name}'):
            check_backend(ALL, name, precision='fp32', device=device)
