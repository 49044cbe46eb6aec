"""Messages where PyTorch is older than a part of the package needs."""

import pytest
import torch

from mmtrtvit.deploy.settings import DeploySettings
from mmtrtvit.deploy.workflow import deploy
from mmtrtvit.engine.speed import SpeedHook
from mmtrtvit.environment import require_torch
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
