"""RoiAlign in OpenVINO: ONNX Runtime's numbers, from maps with the channels last."""

import numpy as np
import onnx
import pytest

from mmtrtvit.runtime.sessions.onnx import OnnxSession

openvino = pytest.importorskip('openvino')
from mmtrtvit.runtime.sessions.openvino import OpenVINOSession  # noqa: E402

POOL = 'coordinate_transformation_mode = "half_pixel", sampling_ratio = 0, output_height = 4'


@pytest.fixture
def write(tmp_path):
    """Writes an ONNX file that pools boxes of a map twice; the map comes from some nodes."""

    def make(nodes):
        text = f"""<ir_version: 8, opset_import: ["" : 17]>
            g (float[B, 8, H, W] x, float[N, 4] boxes, float[8, 8, 1, 1] weight, float[1] one)
                => (float[N, 8, 4, 3] first, float[N, 8, 4, 2] second) {{
                images = Constant <value: tensor = int64[5] {{0, 0, 1, 1, 0}}> ()
                {nodes}
                first = RoiAlign <{POOL}, output_width = 3> (map, boxes, images)
                second = RoiAlign <{POOL}, output_width = 2> (map, boxes, images)
            }}"""
        model = onnx.parser.parse_model(text)
        weight = np.random.default_rng(0).standard_normal((8, 8, 1, 1)).astype(np.float32)
        for name, value in (('weight', weight), ('one', np.ones(1, np.float32))):
            model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        for each in list(model.graph.input)[2:]:
            model.graph.input.remove(each)
        onnx.save(model, tmp_path / 'end2end.onnx')
        return tmp_path / 'end2end.onnx'

    return make


def layers(session):
    """Kind, order of the sides and name of each layer that runs."""
    for op in session._model.get_runtime_model().get_ops():
        known = op.get_rt_info()
        kind, order = (known[name].astype(str) for name in ('layerType', 'outputLayouts'))
        yield kind, order, op.get_friendly_name()


@pytest.mark.parametrize(
    'nodes, added',
    [
        ('map = InstanceNormalization (x, ones, ones)', 1),
        ('made = Conv (x, weight) map = Relu (made)', 0),
    ],
)
def test_channels_come_last(write, nodes, added):
    ones = 'ones = Constant <value: tensor = float[8] {1, 1, 1, 1, 1, 1, 1, 1}> () '
    path = write(ones + nodes)
    rng = np.random.default_rng(0)
    session, reference = OpenVINOSession(path), OnnxSession(path)
    for height, width in ((20, 30), (9, 7)):
        corners = rng.uniform(0, 5, (5, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(1, 9, (5, 2))], axis=1)
        inputs = dict(
            x=rng.standard_normal((2, 8, height, width), np.float32), boxes=np.float32(boxes)
        )
        found, expected = session.run(inputs), reference.run(inputs)
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-5)
    found = list(layers(session))
    assert [order for kind, order, _ in found if kind == 'ROIAlign'] == ['acdb', 'acdb']
    assert sum('ChannelsLast' in name for kind, _, name in found if kind != 'Reorder') == added
