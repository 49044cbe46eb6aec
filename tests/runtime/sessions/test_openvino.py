"""OpenVINO's sessions: the numbers of ONNX Runtime, and what is refused."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from mmtrtvit.errors import UserError
from mmtrtvit.runtime.sessions.base import ShapeLimits, max_batch
from mmtrtvit.runtime.sessions.onnx import OnnxSession
from mmtrtvit.runtime.sessions.opening import open_session

openvino = pytest.importorskip('openvino')
from mmtrtvit.runtime.sessions.openvino import (  # noqa: E402
    INT8_BF16,
    PRECISION,
    OpenVINOSession,
    check_precision,
    hint_of,
)


@pytest.fixture
def model(graph, tmp_path):
    """A model of OpenVINO, beside the ONNX file that it was made of."""

    def make(precision=None, **options):
        source = graph(tmp_path / 'end2end.onnx', **options)
        made = openvino.Core().read_model(source)
        if precision:
            made.set_rt_info(precision, PRECISION)
        openvino.save_model(made, tmp_path / 'end2end.xml', compress_to_fp16=False)
        return tmp_path / 'end2end.xml'

    return make


def inputs(batch=1, height=32, width=48):
    x = np.random.default_rng(0).standard_normal((batch, 3, height, width), np.float32)
    return dict(input=x, sizes=np.full((batch, 2), 32, np.float32))


def test_the_numbers_of_onnx_runtime(model):
    session = open_session(model(), threads=1)
    assert session.backend == 'openvino' and session.precision == 'fp32'
    assert max_batch(session) is None and [each.name for each in session.outputs] == ['output']
    assert session.profiles[0]['input'] == ShapeLimits((1, 3, 1, 1), (None, 3, None, None))
    for given in (inputs(), inputs(2, 33, 40)):
        expected = OnnxSession(model().with_suffix('.onnx')).run(given)['output']
        found = session.run(given)['output']
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    fixed = OpenVINOSession(model(size=(2, 32, 64)))
    assert max_batch(fixed) == 2


def test_an_onnx_file_by_the_device(graph, tmp_path):
    path = graph(tmp_path / 'end2end.onnx')
    assert open_session(path).backend == 'onnxruntime'
    for device in ('openvino', 'openvino:cpu'):
        session = open_session(path, device)
        assert session.backend == 'openvino' and session.run(inputs())['output'].shape


def test_a_result_is_the_callers(model):
    session = OpenVINOSession(model())
    first = session.run(inputs())['output']
    kept = first.copy()
    session.run({name: value * 2 for name, value in inputs().items()})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize('streams', [1, 2])
def test_threads_share_a_session(model, streams):
    session = OpenVINOSession(model(), threads=2, streams=streams)
    given = [inputs(batch, 32, 32 + 8 * batch) for batch in (1, 2, 3)] * 4
    expected = [session.run(each)['output'] for each in given]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(session.run, given))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours['output'], theirs)


def test_single_precision_is_single_precision(model):
    """OpenVINO's own choice is BF16 where the processor has it."""
    assert hint(OpenVINOSession(model())) == 'f32'
    assert hint(OpenVINOSession(model('fp16'))) == 'f32'
    if 'BF16' in openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        assert hint(OpenVINOSession(model('bf16'))) == 'bf16'
        assert hint(OpenVINOSession(model('int8'))) == 'f32'
        assert hint(OpenVINOSession(model(INT8_BF16))) == 'bf16'


def test_the_rest_of_int8_is_bf16_where_the_processor_has_it():
    for has, expected in ((['FP32', 'INT8'], 'f32'), (['FP32', 'INT8', 'BF16'], 'bf16')):
        device = SimpleNamespace(get_property=lambda *_, has=has: has)
        check_precision(device, 'CPU', INT8_BF16, 'a.xml')
        assert hint_of(device, 'CPU', INT8_BF16) == expected


def hint(session):
    return session._model.get_property('INFERENCE_PRECISION_HINT').get_type_name()


def test_a_scalar_stays_one(tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[N] input, float threshold) => (float[N] output) {
            output = Mul (input, threshold)
        }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / 'scalar.onnx')
    given = dict(input=np.ones(3, np.float32), threshold=np.array(2, np.float32))
    assert OpenVINOSession(tmp_path / 'scalar.onnx').run(given)['output'].tolist() == [2, 2, 2]


def test_compiled_models_are_kept(model, monkeypatch, tmp_path):
    path = model()
    OpenVINOSession(path, cache_dir=tmp_path / 'kept')
    assert list((tmp_path / 'kept').iterdir())
    monkeypatch.setenv('MMTRTVIT_OPENVINO_CACHE', str(tmp_path / 'by_variable'))
    assert open_session(path).run(inputs())['output'].shape
    assert list((tmp_path / 'by_variable').iterdir())


def test_times_of_layers(model):
    session = OpenVINOSession(model(), profile=True)
    times = session.layer_times(inputs(), 3)
    assert len(times) == 3 and any('/backbone/conv/Conv' in name for name in times[0])


def test_inputs_that_the_graph_does_not_take(model):
    session = OpenVINOSession(model(size=(1, 32, 32)))
    with pytest.raises(UserError, match='end2end.xml takes input, sizes, but got input'):
        session.run(dict(input=inputs()['input']))
    with pytest.raises(UserError, match='sizes is of float64, but .*end2end.xml takes float32'):
        session.run(dict(inputs(1, 32, 32), sizes=np.ones((1, 2))))
    with pytest.raises(UserError, match='end2end.xml: OpenVINO failed. (?s:.*)incompatible'):
        session.run(inputs(1, 32, 64))


def test_files_that_are_not_whole(model):
    path = model()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match='end2end.xml cannot be run by OpenVINO: is it whole'):
        OpenVINOSession(path)
    path.write_bytes(content)
    path.with_suffix('.bin').unlink()
    with pytest.raises(UserError, match='there is no .*end2end.bin, which holds the weights of'):
        OpenVINOSession(path)
    with pytest.raises(UserError, match='there is no model .*none.xml'):
        open_session(path.with_name('none.xml'))


def test_what_is_not_there(model, monkeypatch):
    path = model()
    with pytest.raises(UserError, match="device is 'openvino:npux', but OpenVINO finds here CPU"):
        OpenVINOSession(path, 'openvino:npux')
    with pytest.raises(UserError, match="device is 'cuda:0', but OpenVINO finds here CPU"):
        open_session(path, 'cuda:0')
    with pytest.raises(UserError, match='end2end.xml: OpenVINO cannot stop a run'):
        open_session(path, timeout=1)
    monkeypatch.setattr(openvino, '__version__', '2022.1.0')
    with pytest.raises(UserError, match='needs OpenVINO 2024.6 or newer, but 2022.1.0 is'):
        OpenVINOSession(path)
    monkeypatch.setitem(sys.modules, 'openvino', None)
    with pytest.raises(UserError, match=r'needs OpenVINO: pip install "mmtrtvit\[openvino\]"'):
        OpenVINOSession(path)


class Processor:
    """An old one."""

    def get_property(self, device, name):
        return ['FP32', 'BIN']


@pytest.mark.parametrize('precision', ['bf16', 'int8', 'fp4'])
def test_a_precision_that_the_processor_does_not_have(precision):
    message = f'a.xml: OpenVINO computes nothing in {precision} on this CPU. .*one of: fp32, fp16.'
    with pytest.raises(UserError, match=message):
        check_precision(Processor(), 'CPU', precision, 'a.xml')
    check_precision(Processor(), 'CPU', 'fp32', 'a.xml')


SIGNAL = """
import os, signal, sys
from mmtrtvit.runtime.sessions.openvino import OpenVINOSession

sessions = [OpenVINOSession(sys.argv[1]) for _ in range(3)]
while sessions:
    del sessions[0]
signal.signal(signal.SIGTERM, lambda *_: print('handled'))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_after_sessions_that_are_gone(model):
    """OpenVINO moves the stack of signals, and two Cores would leave one that is gone."""
    done = subprocess.run(
        [sys.executable, '-c', SIGNAL, model()], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, 'handled\n'), done.stderr
