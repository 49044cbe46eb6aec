"""Numbers of eight bits, and what is computed in them."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from mmtrtvit.deploy.graphs.formats import FORMATS, FP8, INT8
from mmtrtvit.deploy.graphs.quantize import quantize
from mmtrtvit.deploy.settings import Calibration
from mmtrtvit.runtime.sessions.onnx import OnnxSession

ml_dtypes = pytest.importorskip('ml_dtypes')


def test_values_are_rounded_as_ml_dtypes_rounds_them():
    values = np.linspace(-448, 448, 20001, dtype=np.float32)
    values = np.concatenate([values, values / 448, values / 1e5, [0.0, -0.0, 500, -1e9]])
    values = values.astype(np.float32)
    expected = values.clip(-448, 448).astype(ml_dtypes.float8_e4m3fn)
    np.testing.assert_array_equal(FP8.round(values), expected.view(np.int8))
    np.testing.assert_array_equal(
        INT8.round(np.float32([-300, -126.5, -0.5, 1.5, 300])), np.int8([-127, -126, 0, 2, 127])
    )


@pytest.mark.parametrize('kind', FORMATS.values(), ids=FORMATS)
def test_onnx_runtime_rounds_alike(kind):
    scale = np.float32(0.7)
    x = np.float32([-1, -0.3, 0, 0.001, 0.5, 0.99]) * kind.largest * scale
    nodes = [
        helper.make_node('QuantizeLinear', ['x', 'scale', 'zero'], ['q']),
        helper.make_node('DequantizeLinear', ['q', 'scale', 'zero'], ['computed']),
        helper.make_node('DequantizeLinear', ['stored', 'scale', 'zero'], ['read']),
    ]
    stored = [
        onnx.numpy_helper.from_array(scale, 'scale'),
        kind.tensor('zero', np.zeros((), np.int8)),
        kind.tensor('stored', kind.round(x / scale)),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        'g',
        [value('x', TensorProto.FLOAT, [6])],
        [value(name, TensorProto.FLOAT, [6]) for name in ('computed', 'read')],
        stored,
    )
    opset = [helper.make_opsetid('', max(kind.opset, 17))]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    computed, read = session.run(None, dict(x=x))
    np.testing.assert_array_equal(computed, read)
    np.testing.assert_allclose(computed, x, rtol=1 / 16, atol=scale / 2)


def test_onnx_runtime_keeps_an_activation_in_front_of_fp8(tmp_path):
    """Its extended optimisations drop a Relu there."""
    weight = np.linspace(-1, 1, 32 * 32, dtype=np.float32).reshape(32, 32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node('Relu', ['x'], ['y']),
            helper.make_node('MatMul', ['y', 'w'], ['z'], 'm'),
        ],
        'g',
        [value('x', TensorProto.FLOAT, [1, 32])],
        [value('z', TensorProto.FLOAT, [1, 32])],
        [onnx.numpy_helper.from_array(weight, 'w')],
    )
    opset = [helper.make_opsetid('', 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / 'f.onnx')
    x = dict(x=np.linspace(-3, 1, 32, dtype=np.float32)[None])
    quantize(
        tmp_path / 'f.onnx', tmp_path / 'q.onnx', batches=[x], calibration=Calibration(), kind=FP8
    )
    expected = OnnxSession(tmp_path / 'f.onnx').run(x)['z']
    found = OnnxSession(tmp_path / 'q.onnx').run(x)['z']
    assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    'op, shape, groups, taken',
    [
        ('Conv', (17, 17, 3, 3), 1, True),
        ('Conv', (16, 64, 3, 3), 1, False),
        ('Conv', (64, 3, 3, 3), 1, False),
        ('Conv', (64, 64, 7, 7), 1, False),
        ('Conv', (64, 32, 3, 3), 2, False),
        ('Conv', (64, 1, 3, 3), 64, False),
        ('MatMul', (16, 16), 1, True),
        ('Gemm', (15, 64), 1, False),
    ],
)
def test_fp8_is_for_what_tensorrt_has_kernels_for(op, shape, groups, taken):
    along = dict(group=groups) if op == 'Conv' else {}
    node = helper.make_node(op, ['x', 'w'], ['y'], **along)
    assert FP8.takes(node, shape) == taken and INT8.takes(node, shape)
