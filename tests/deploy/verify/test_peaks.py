"""Largest values of half-precision files: what overflows is named, what comes near is warned of."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from mmtrtvit.deploy.export.precision import half
from mmtrtvit.deploy.export.to_onnx import export
from mmtrtvit.deploy.graphs.graph import Graph
from mmtrtvit.deploy.graphs.half import FLOAT_OPS, HALF, without_half
from mmtrtvit.deploy.report import format_peaks
from mmtrtvit.deploy.verify.peaks import Peak, Peaks, half_peaks


class Attention(nn.Module):
    """All that sums up: normalisations, softmax and a mean."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.group = nn.GroupNorm(2, 8)

    def forward(self, x):
        rows = self.norm(x.flatten(2).transpose(1, 2))
        rows = (rows @ rows.transpose(1, 2)).softmax(dim=-1) @ rows
        return self.group(rows.transpose(1, 2).reshape(x.shape)) + x.mean(dim=(2, 3), keepdim=True)


class Network(nn.Module):
    """A backbone whose second layer is ``factor`` times as large as the third takes back."""

    def __init__(self, factor=1.0, attention=False):
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1, bias=False), nn.Conv2d(8, 8, 1)]
        nn.init.dirac_(layers[0].weight)
        nn.init.dirac_(layers[1].weight)
        layers[1].weight.data *= factor**0.5
        layers[2].weight.data /= factor
        self.backbone = nn.Sequential(*layers, *([Attention()] if attention else []))
        self.backbone[0].weight.data *= factor**0.5

    def forward(self, input):
        return (self.backbone(input).float(),)


def exported(module, path):
    inputs = dict(input=torch.ones(1, 3, 8, 8))
    axes = dict(input={2: 'height', 3: 'width'})
    export(half(module.eval()), inputs, path=path, output_names=['output'], dynamic_axes=axes)
    return path


def batches(*sizes):
    for size in sizes:
        yield dict(input=np.full((1, 3, 9, 12), size, np.float32), sizes=np.zeros((1, 2)))


@pytest.mark.parametrize('factor, overflows, near', [(1e5, True, False), (1e4, False, True)])
def test_a_layer_that_overflows_or_comes_near_is_named(tmp_path, factor, overflows, near):
    path = exported(Network(factor), tmp_path / 'a.onnx')
    found = half_peaks(path, batches(0.1, -1, 0.5))
    assert found.images == 3
    layers = {peak.layer: peak for peak in found.layers}
    assert {'backbone.0', 'backbone.1', 'backbone.2'} <= layers.keys()
    assert layers['backbone.1'].value == pytest.approx(factor, rel=0.05)
    assert [peak.layer for peak in found.overflowing] == ['backbone.1'] * overflows
    assert [peak.layer for peak in found.near] == ['backbone.1'] * near
    text = format_peaks(found)
    assert text.splitlines()[1].split()[0] == 'backbone.1'
    assert ('OVERFLOWS' in text) == overflows
    assert ('Warning' in text and text.endswith(': backbone.1')) == near


def test_the_file_itself_hides_it_on_a_cpu(tmp_path):
    """Why the tensors have to be looked at: the outputs are numbers."""
    path = exported(Network(1e5), tmp_path / 'a.onnx')
    (output,) = onnxruntime.InferenceSession(str(path)).run(
        None, dict(input=np.ones((1, 3, 9, 12), np.float32))
    )
    assert np.isfinite(output).all()


def test_what_is_no_number_overflows(tmp_path):
    path = exported(Network(), tmp_path / 'a.onnx')
    found = half_peaks(path, batches(1, np.nan, 1))
    assert {peak.value for peak in found.overflowing} == {np.inf}
    assert 'backbone.0' in {peak.layer for peak in found.overflowing}


def test_what_sums_up_stays_single_precision(tmp_path):
    module = Network(attention=True)
    path = exported(module, tmp_path / 'a.onnx')
    model = onnx.load(path)
    graph = Graph(model)
    seen = set()
    for node in graph.nodes:
        kinds = {graph.type(name) for name in [*node.input, *node.output]}
        if node.op_type in FLOAT_OPS:
            seen.add(node.op_type)
            assert HALF not in kinds, node.name
        elif node.op_type in ('Conv', 'MatMul'):
            assert kinds == {HALF}, node.name
    assert seen >= {'LayerNormalization', 'InstanceNormalization', 'Softmax', 'ReduceMean'}
    onnx.checker.check_model(model, full_check=True)
    x = torch.randn(1, 3, 20, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (expected,) = module(x)
    (found,) = onnxruntime.InferenceSession(str(path)).run(None, dict(input=x.numpy()))
    assert np.abs(found - expected.numpy()).max() < 0.02 * expected.abs().max()


def test_a_graph_without_half_computes_the_same(tmp_path):
    path = exported(Network(attention=True), tmp_path / 'a.onnx')
    model = onnx.load(path)
    without_half(model)
    graph = Graph(model)
    assert HALF not in {graph.type(name) for node in graph.nodes for name in node.output}
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / 'b.onnx')
    x = np.random.default_rng(0).standard_normal((1, 3, 20, 16), np.float32)
    ours, theirs = (
        onnxruntime.InferenceSession(str(tmp_path / name)).run(None, dict(input=x))[0]
        for name in ('b.onnx', 'a.onnx')
    )
    np.testing.assert_allclose(ours, theirs, atol=0.02 * np.abs(theirs).max())


def test_the_largest_come_first():
    peaks = Peaks(tuple(Peak(str(value), value) for value in (3.0, 70000.0, 6551.0, 6550.0)), 2)
    assert [peak.value for peak in peaks.largest(2)] == [70000, 6551]
    assert [peak.value for peak in peaks.overflowing] == [70000]
    assert [peak.value for peak in peaks.near] == [6551]
