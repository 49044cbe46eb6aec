"""ONNX files as sessions."""

import threading

import numpy as np
import onnx
import pytest

from mmtrtvit.errors import UserError
from mmtrtvit.runtime.sessions.base import NoMemory, ShapeLimits, TimedOut, image_input, max_batch
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


def saved(path, text):
    onnx.save(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {text}'), path)
    return path


def test_a_graph_without_an_end_is_stopped(endless, tmp_path):
    session = OnnxSession(endless(tmp_path / 'endless.onnx'), threads=1, timeout=0.2)
    for _ in range(2):
        with pytest.raises(TimedOut, match='endless.onnx: a run took more than 0.2 seconds'):
            session.run(dict(input=np.ones((1, 3, 2, 2), np.float32)))


def test_a_run_that_ends_in_time_is_left_alone(graph, tmp_path):
    session = OnnxSession(graph(tmp_path / 'end2end.onnx', size=(1, 32, 32)), timeout=60)
    inputs = dict(input=np.zeros((1, 3, 32, 32), np.float32), sizes=np.ones((1, 2), np.float32))
    for _ in range(3):
        session.run(inputs)
    for timer in threading.enumerate():
        if isinstance(timer, threading.Timer):
            timer.join(5)
            assert not timer.is_alive()  # it was cancelled


@pytest.mark.parametrize('size, gigabytes', [(10**15, r' \(4000000.0 GB at once\)'), (2**62, '')])
def test_a_graph_that_asks_for_absurd_memory(tmp_path, size, gigabytes):
    path = saved(
        tmp_path / 'huge.onnx',
        """(int64[1] size) => (float y) {
            huge = ConstantOfShape <value: tensor = float[1] {1}> (size)
            y = ReduceSum <keepdims = 0> (huge)
        }""",
    )
    message = f'huge.onnx: the graph asks for more memory than there is{gigabytes}. Give'
    with pytest.raises(NoMemory, match=message):
        OnnxSession(path, threads=1).run(dict(size=np.array([size])))


@pytest.mark.parametrize('spin', [None, False, True])
def test_threads_rest_between_runs_unless_they_are_told_to_spin(graph, tmp_path, spin):
    session = OnnxSession(graph(tmp_path / 'a.onnx'), **({} if spin is None else dict(spin=spin)))
    options, key = session._session.get_session_options(), 'session.force_spinning_stop'
    if spin:
        with pytest.raises(RuntimeError, match=key):  # it has no such entry
            options.get_session_config_entry(key)
    else:
        assert options.get_session_config_entry(key) == '1'


def test_an_engine_takes_no_timeout(tmp_path):
    (tmp_path / 'model.engine').touch()
    with pytest.raises(UserError, match='model.engine: TensorRT cannot stop a run'):
        open_session(tmp_path / 'model.engine', timeout=1)


def test_a_file_of_another_suffix(tmp_path):
    (tmp_path / 'model.pth').touch()
    message = r'model.pth: expected a model \*.onnx, \*.engine, \*.plan, \*.trt'
    with pytest.raises(UserError, match=message):
        open_session(tmp_path / 'model.pth')
