"""Weights in other files: ONNX Runtime and we take the same ones."""

import os

import numpy as np
import onnx
import onnxruntime
import pytest

from mmtrtvit.deploy.backends.tensorrt.options import read_graph
from mmtrtvit.deploy.external_data import external_files
from mmtrtvit.errors import UserError

WEIGHTS = np.arange(4, dtype=np.float32)


@pytest.fixture
def saved(tmp_path):
    """Writes a model that says where its weights are, among files in and outside its folder."""
    folder = tmp_path / 'model'
    (folder / 'below').mkdir(parents=True)
    for file in ('model/w', 'model/below/w', 'outside'):
        (tmp_path / file).write_bytes(WEIGHTS.tobytes())
    (folder / 'short').write_bytes(WEIGHTS[:2].tobytes())
    (folder / 'link_out').symlink_to('../outside')
    (folder / 'link_in').symlink_to('w')

    def save(**entries):
        tensor = onnx.TensorProto(
            name='w', data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL
        )
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
        model = onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 17]> '
            'g (float[4] x) => (float[4] y) { y = Add (x, w) }'
        )
        model.graph.initializer.append(tensor)
        (folder / 'm.onnx').write_bytes(model.SerializeToString())
        return folder / 'm.onnx'

    return save


def is_taken_by_onnxruntime(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options)
    except Exception:
        return False
    (y,) = session.run(None, dict(x=np.zeros(4, np.float32)))
    np.testing.assert_array_equal(y, WEIGHTS)
    return True


@pytest.mark.parametrize('name', ['w', 'below/w', 'below/../w', 'link_in', '../model/w'])
def test_weights_in_the_folder_are_taken(saved, name):
    path = saved(location=name)
    assert is_taken_by_onnxruntime(path)
    assert external_files(onnx.load(path, load_external_data=False), path) == {
        name: (path.parent / name).resolve()
    }
    assert read_graph(path).inputs == dict(x=(4,))


@pytest.mark.parametrize(
    'entries, message',
    [
        (dict(location='../outside'), "m.onnx: the weights w are in '../outside', which is /"),
        (dict(location='link_out'), "in 'link_out', which is /.*/outside: expected a file in the"),
        (dict(location=os.path.abspath('/dev/zero')), 'expected the name of a file beside it'),
        (dict(location=''), "in '', expected the name of a file beside it"),
        (dict(location='gone'), "in 'gone', but there is no file .*/model/gone. Copy it"),
        (dict(location='below'), 'there is no file'),
        (
            dict(location='short'),
            'short has 8 bytes, but w is expected in bytes 0 to 16',
        ),
        (dict(location='w', offset=8), 'has 16 bytes, but w is expected in bytes 8 to 24'),
        (dict(location='w', offset=-1), 'in bytes -1 to'),
        (dict(location='w', offset='x'), 'what the model says of w is no number'),
    ],
)
def test_weights_that_are_not_there_are_named(saved, entries, message):
    path = saved(**entries)
    assert not is_taken_by_onnxruntime(path)
    with pytest.raises(UserError, match=message):
        read_graph(path)
