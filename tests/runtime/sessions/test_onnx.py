"""ONNX files as sessions."""

import numpy as np
import pytest

from mmtrtvit.errors import UserError
from mmtrtvit.runtime.sessions.base import ShapeLimits, image_input, max_batch
from mmtrtvit.runtime.sessions.onnx import OnnxSession
from mmtrtvit.runtime.sessions.opening import open_session


def test_what_a_session_says_of_its_graph(graph, tmp_path):
    session = OnnxSession(graph(tmp_path / 'end2end.onnx'))
    assert session.profiles == (
        dict(
            input=ShapeLimits((1, 3, 1, 1), (None, 3, None, None)),
            sizes=ShapeLimits((1, 2), (None, 2)),
        ),
    )
    assert image_input(session).shape == (None, 3, None, None) and max_batch(session) is None
    fixed = OnnxSession(graph(tmp_path / 'fixed.onnx', size=(2, 32, 64)))
    assert max_batch(fixed) == 2
    assert fixed.profiles[0]['input'] == ShapeLimits((2, 3, 32, 64), (2, 3, 32, 64))


def test_shapes_within_limits():
    limits = ShapeLimits((1, 3, 32), (None, 3, 64))
    assert (1, 3, 32) in limits and (9, 3, 64) in limits
    for shape in ((0, 3, 32), (1, 3, 65), (1, 4, 32), (1, 3), (1, 3, 32, 1)):
        assert shape not in limits


def test_inputs_that_the_graph_does_not_take(graph, tmp_path):
    session = OnnxSession(graph(tmp_path / 'end2end.onnx', size=(1, 32, 32)))
    inputs = dict(input=np.zeros((1, 3, 32, 32), np.float32), sizes=np.ones((1, 2), np.float32))
    assert session.run(dict(inputs, more=np.ones(1)))['output'].shape == (1, 1, 1, 2)
    with pytest.raises(UserError, match='end2end.onnx takes input, sizes, but got input'):
        session.run(dict(input=inputs['input']))
    with pytest.raises(UserError, match='sizes is of float64, but .*end2end.onnx takes float32'):
        session.run(dict(inputs, sizes=np.ones((1, 2))))
    with pytest.raises(UserError, match='end2end.onnx: ONNX Runtime failed. (?s:.*)Expected: 32'):
        session.run(dict(inputs, input=np.zeros((1, 3, 32, 64), np.float32)))


def test_a_file_of_another_suffix(tmp_path):
    (tmp_path / 'model.pth').touch()
    message = r'model.pth: expected a model \*.onnx, \*.engine, \*.plan, \*.trt'
    with pytest.raises(UserError, match=message):
        open_session(tmp_path / 'model.pth')
