"""Half precision: what runs in it, what does not, and how near it stays."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from mmtrtvit.deploy.backends.tensorrt.rules import check_graph
from mmtrtvit.deploy.export.precision import half
from mmtrtvit.errors import UserError

DETECTORS = 'retinanet_trtvit_b', 'mask_rcnn_efficientvit_m2'
SEGMENTORS = ('upernet_trtvit_a',)
PARTS = {'backbone', 'neck', 'head', 'rpn_head', 'bbox_head', 'mask_head', 'decode_head'}


@pytest.fixture(scope='module', params=DETECTORS + SEGMENTORS)
def pair(request, exportable):
    """A module, the same in half precision, and the demo's name."""
    module = exportable(request.param)
    before = copy.deepcopy(module.state_dict())
    halved = half(module)
    for key, value in module.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)
    return module, halved, request.param


@pytest.fixture(scope='module')
def file(pair, export_any_size, tmp_path_factory):
    path = tmp_path_factory.mktemp('half') / 'end2end.onnx'
    export_any_size(pair[1], path)
    return path


def inputs_of(module, images):
    x, sizes = images(1, (64, 96), (64, 96))
    return dict(input=x) if 'output' in module.output_names else dict(input=x, sizes=sizes)


def relative_error(ours, theirs):
    return float((ours.float() - theirs).norm() / theirs.norm())


def test_the_dense_part_is_half_and_near(pair, images):
    module, halved, _ = pair
    x, _ = images(2, (64, 96), (64, 96))
    with torch.no_grad():
        expected = module.neck(module.backbone(x))
        maps = halved.neck(halved.backbone(x))
        for name in ('head', 'rpn_head', 'decode_head'):
            if hasattr(module, name):
                expected = expected, getattr(module, name)(expected)
                maps = maps, getattr(halved, name)(maps)
    for ours, theirs in zip(tensors(maps), tensors(expected), strict=True):
        assert ours.dtype == torch.half and theirs.dtype == torch.float32
        assert relative_error(ours, theirs) < 0.01
    dense = {
        key: value.dtype for key, value in halved.state_dict().items() if key.split('.')[0] in PARTS
    }
    assert set(dense.values()) - {torch.half} <= {torch.int64}  # counters


def tensors(nested):
    if isinstance(nested, torch.Tensor):
        return [nested]
    return [x for part in nested for x in tensors(part)]


def test_outputs_stay_float_and_near(pair, images):
    module, halved, name = pair
    inputs = inputs_of(module, images)
    with torch.no_grad():
        expected, found = module(*inputs.values()), halved(*inputs.values())
    assert [x.dtype for x in found] == [x.dtype for x in expected]
    if name in SEGMENTORS:
        assert relative_error(found[0], expected[0]) < 0.02
    else:
        assert (found[0] - expected[0]).abs() <= 2
        scores = [outputs[1][..., 4].sort().values for outputs in (found, expected)]
        torch.testing.assert_close(*scores, rtol=0, atol=0.01)


def test_the_file_runs_on_a_cpu_and_is_half_as_large(pair, file, exported, images):
    module, halved, name = pair
    inputs = inputs_of(module, images)
    with torch.no_grad():
        expected = halved(*inputs.values())
    session = onnxruntime.InferenceSession(str(file))
    assert {value.type for value in session.get_inputs()} == {'tensor(float)'}
    found = session.run(None, {key: value.numpy() for key, value in inputs.items()})
    assert [x.dtype for x in found] == [x.numpy().dtype for x in expected]
    if name in SEGMENTORS:
        assert relative_error(torch.from_numpy(found[0]), expected[0]) < 0.02
    else:
        scores = [np.sort(outputs[1][..., 4]) for outputs in (found, [*map(np.array, expected)])]
        np.testing.assert_allclose(*scores, rtol=0, atol=0.01)
    assert 0.45 < file.stat().st_size / exported(name).path.stat().st_size < 0.6


# tests/deploy/test_workflow.py gives the tools a smaller Mask R-CNN
@pytest.mark.parametrize('pair', ['retinanet_trtvit_b', *SEGMENTORS], indirect=True)
def test_every_tool_takes_the_file(file, tool):
    tool(file)


def test_only_post_processing_is_float32_in_the_file(file):
    graph = onnx.load(file).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    layers = [node for node in graph.node if node.op_type in ('Conv', 'Gemm', 'ConvTranspose')]
    assert layers
    for node in layers:
        assert kinds[node.input[1]] == onnx.TensorProto.FLOAT16, node.name
    assert check_graph(file, '8.6') == check_graph(file, '11') == []


def test_a_weight_beyond_half_is_named(exportable):
    module = copy.deepcopy(exportable('upernet_trtvit_a'))
    module.decode_head.conv_seg.weight.data[0] = 1e5
    with pytest.raises(UserError, match='decode_head.conv_seg.weight has values .* 65504'):
        half(module)


def test_batch_norm_of_a_small_variance_survives():
    """Its variance alone would be zero in half precision."""
    module = torch.nn.Module()
    module.backbone = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 1, bias=False), torch.nn.BatchNorm2d(4, eps=1e-12)
    ).eval()
    module.backbone[0].weight.data.mul_(1e-5)
    module.backbone[1].running_var.fill_(1e-10)
    x = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = module.backbone(x)
        found = half(module).backbone(x)
    assert expected.abs().max() > 0.1 and relative_error(found, expected) < 0.01
