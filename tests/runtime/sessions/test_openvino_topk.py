"""TopK in OpenVINO: what ONNX Runtime takes, without a slow sort."""

import numpy as np
import onnx
import pytest

from mmtrtvit.runtime.sessions.onnx import OnnxSession

openvino = pytest.importorskip('openvino')
from mmtrtvit.runtime.sessions.openvino import (  # noqa: E402
    PRECISION,
    OpenVINOSession,
    read_model,
)


@pytest.fixture
def write(tmp_path):
    """Writes an ONNX file of some nodes."""

    def make(nodes, inputs='float[B, N] x', outputs='float[B, K] values, int64[B, K] indices'):
        text = f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => ({outputs}) {{{nodes}}}'
        onnx.save(onnx.parser.parse_model(text), tmp_path / 'topk.onnx')
        return tmp_path / 'topk.onnx'

    return make


def sorts(path):
    """Whether each TopK of a file is told to be stable, which is slow."""
    model = read_model(openvino.Core(), path)
    ops = [op for op in model.get_ops() if op.get_type_name() == 'TopK']
    return [op.get_attributes()['stable'] for op in ops]


def equal(path, x):
    found, expected = OpenVINOSession(path).run(dict(x=x)), OnnxSession(path).run(dict(x=x))
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize('options', ['', 'largest = 0', 'axis = 1, largest = 1'])
@pytest.mark.parametrize('k', [2, 300, 1000])
def test_of_equal_values_the_first_is_taken(write, k, options):
    path = write(f"""
        k = Constant <value: tensor = int64[1] {{{k}}}> ()
        values, indices = TopK <{options or 'axis = -1'}> (x, k)
    """)
    rng = np.random.default_rng(0)
    equal(path, rng.integers(0, 5, (2, 1000)).astype(np.float32))
    equal(path, rng.standard_normal((3, 1007), np.float32))
    equal(path, np.zeros((1, 1000), np.float32))
    assert not any(sorts(path))


def test_what_is_chosen_and_then_put_in_order(write):
    path = write(
        """
        k = Constant <value: tensor = int64[1] {50}> ()
        values, chosen = TopK (x, k)
        as_float = Cast <to = 1> (chosen)
        in_order, places = TopK <largest = 0> (as_float, k)
        indices = Cast <to = 7> (in_order)
        """,
        outputs='int64[B, K] indices',
    )
    equal(path, np.random.default_rng(0).integers(0, 9, (2, 400)).astype(np.float32))
    assert sorts(path) == [False] * 3  # two of what is chosen, one of its order


def test_indices_that_nobody_puts_in_order(write):
    path = write(
        'k = Constant <value: tensor = int64[1] {50}> () values, indices = TopK (x, k)',
        outputs='int64[B, K] indices',
    )
    equal(path, np.random.default_rng(0).integers(0, 9, (2, 400)).astype(np.float32))


def test_other_axes_and_a_count_that_nobody_knows(write):
    x = np.random.default_rng(0).integers(0, 5, (2, 40)).astype(np.float32)
    first = write('k = Constant <value: tensor = int64[1] {2}> ()'
                  'values, indices = TopK <axis = 0> (x, k)')  # fmt: skip
    equal(first, x)
    assert sorts(first) == [True]
    path = write("""
        shape = Shape <start = 1> (x)
        two = Constant <value: tensor = int64[1] {2}> ()
        k = Div (shape, two)
        values, indices = TopK (x, k)
    """)
    equal(path, x)
    assert sorts(path) == [True]


def test_values_that_are_no_numbers(write):
    path = write('k = Constant <value: tensor = int64[1] {9}> () values, indices = TopK (x, k)')
    for x in (np.full((1, 20), np.nan, np.float32), np.full((1, 20), np.inf, np.float32)):
        found = OpenVINOSession(path).run(dict(x=x))['indices']
        assert ((found >= 0) & (found < 20)).all()


def test_a_model_that_was_written(write, tmp_path):
    path = write('k = Constant <value: tensor = int64[1] {9}> () values, indices = TopK (x, k)')
    model = read_model(openvino.Core(), path)
    model.set_rt_info('fp32', PRECISION)
    openvino.save_model(model, tmp_path / 'topk.xml', compress_to_fp16=False)
    assert len(sorts(tmp_path / 'topk.xml')) == len(sorts(path)) == 4
