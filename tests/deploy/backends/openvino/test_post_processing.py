"""Boxes between two layers of a network that OpenVINO computes in lower precision."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mmtrtvit.deploy.settings import Calibration
from mmtrtvit.runtime.sessions.onnx import OnnxSession

openvino = pytest.importorskip('openvino')
from mmtrtvit.deploy.backends.openvino.build import build_model  # noqa: E402
from mmtrtvit.runtime.sessions.openvino import OpenVINOSession  # noqa: E402

EDGE = 1001  # column from which the map is 1; BF16 has 1000 and 1004, FP16 every half


@pytest.fixture
def path(tmp_path):
    """A two-stage detector: a layer, boxes that are moved, RoIAlign, a layer."""
    offset = np.array([EDGE - 2.3, 0, EDGE + 1.3, 2], np.float32)
    weights = dict(
        offset=offset, one=np.ones((1, 1, 1, 1), np.float32), batch=np.zeros(1, np.int64)
    )
    graph = helper.make_graph(
        [
            helper.make_node('Conv', ['x', 'one'], ['map'], '/backbone/conv/Conv'),
            helper.make_node('Add', ['boxes', 'offset'], ['moved'], '/Add'),
            helper.make_node(
                'RoiAlign',
                ['map', 'moved', 'batch'],
                ['regions'],
                '/RoiAlign',
                output_height=1,
                output_width=4,
                sampling_ratio=1,
                coordinate_transformation_mode='half_pixel',
            ),
            helper.make_node('Conv', ['regions', 'one'], ['output'], '/head/conv/Conv'),
        ],
        'two_stages',
        [
            helper.make_tensor_value_info('x', TensorProto.FLOAT, [1, 1, 'h', 'w']),
            helper.make_tensor_value_info('boxes', TensorProto.FLOAT, [1, 4]),
        ],
        [helper.make_tensor_value_info('output', TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, tmp_path / 'two_stages.onnx')
    return tmp_path / 'two_stages.onnx'


@pytest.mark.parametrize('precision', ['fp16', 'bf16'])
def test_boxes_are_not_rounded(path, precision):
    has = openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
    if precision == 'bf16' and 'BF16' not in has:
        pytest.skip('this processor has no BF16')
    x = np.zeros((1, 1, 4, EDGE + 7), np.float32)
    x[..., EDGE:] = 1
    inputs = dict(x=x, boxes=np.array([[0.1, 0.2, 0.3, 0.4]], np.float32))
    expected = OnnxSession(path).run(inputs)['output']
    assert 0.1 < expected.mean() < 0.9
    made = path.with_suffix('.xml')
    build_model(path, made, precision=precision, calibration=Calibration(), batches=list)
    found = OpenVINOSession(made).run(inputs)['output']
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.01)
