"""What the tests of both families share."""

import pytest
import torch
from mmengine.analysis import FlopAnalyzer
from torch import nn


def _randomise(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity='linear')
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.3, 0.9)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
        elif isinstance(module, nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    for name, parameter in model.named_parameters():
        if name.endswith(('bias_table', 'attention_biases')):
            nn.init.normal_(parameter)
    return model


def _macs(model: nn.Module, height: int, width: int) -> dict[str, int]:
    with torch.no_grad():
        analyzer = FlopAnalyzer(model.eval(), (torch.zeros(1, 3, height, width),))
        return analyzer.unsupported_ops_warnings(False).by_operator()


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def randomise():
    """Gives a model weights, statistics and bias tables under which every part has a say.

    Depthwise kernels as well, yet the values stay small enough to keep attention from saturating:
    there, a rounding error in the last place would change the outputs by a tenth.
    """
    return _randomise


@pytest.fixture
def macs():
    """Counts a model's multiply-adds by operator, at a height and a width."""
    return _macs
