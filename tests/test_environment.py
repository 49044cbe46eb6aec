"""Messages where PyTorch is older than a part needs, and what the processor can."""

import pytest
import torch

from mmtrtvit import environment
from mmtrtvit.deploy.settings import DeploySettings
from mmtrtvit.deploy.workflow import deploy
from mmtrtvit.engine.speed import SpeedHook
from mmtrtvit.environment import has_bf16, require_torch
from mmtrtvit.errors import UserError


@pytest.mark.parametrize('version', ['2.5', '2.9.1+cu128', '2.10.0a0'])
def test_an_old_pytorch_is_told(version, monkeypatch):
    monkeypatch.setattr(torch, '__version__', version)
    with pytest.raises(UserError, match=r'^the part needs PyTorch 2\.10 or newer; this is 2\.'):
        require_torch('2.10', 'the part')


@pytest.mark.parametrize('version', ['2.9', '2.9.1+cu128', '2.10.0a0', '3.0'])
def test_a_new_one_is_not(version, monkeypatch):
    monkeypatch.setattr(torch, '__version__', version)
    require_torch('2.9', 'the part')


def test_what_an_old_one_cannot_do_is_refused_first(monkeypatch, tmp_path):
    monkeypatch.setattr(torch, '__version__', '2.4.1')
    SpeedHook(channels_last=True)
    with pytest.raises(UserError, match='default_hooks.speed.compile needs PyTorch 2.6'):
        SpeedHook(compile=['backbone'])
    with pytest.raises(UserError, match='onnx_config.exporter=.dynamo. needs PyTorch 2.7'):
        deploy(
            DeploySettings(exporter='dynamo'),
            None,
            checkpoint='none.pth',
            images=[],
            work_dir=tmp_path,
        )


@pytest.mark.parametrize(
    'flags, has',
    [('avx512f avx512_bf16', True), ('asimd bf16 i8mm', True), ('avx2 avx512f', False)],
)
def test_a_processor_with_bf16(flags, has, tmp_path, monkeypatch):
    (tmp_path / 'cpuinfo').write_text(f'model name : a processor\nflags : {flags} fma\n')
    monkeypatch.setattr(environment, 'Path', lambda path: tmp_path / 'cpuinfo')
    assert has_bf16() is has
    (tmp_path / 'cpuinfo').unlink()  # not Linux
    assert not has_bf16()
