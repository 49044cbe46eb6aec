"""The checker of graphs, on graphs that break one rule each."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mmtrtvit.deploy.backends.registry import find_backend
from mmtrtvit.deploy.backends.tensorrt.rules import check_graph
from mmtrtvit.deploy.settings import DeploySettings
from mmtrtvit.errors import UserError

FLOAT, HALF, INT64, DOUBLE = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.INT64,
    TensorProto.DOUBLE,
)


def model(nodes, inputs, outputs, constants=None, opset=17, domains=(), functions=()):
    """A model of nodes; inputs and outputs are (name, type, shape)."""
    graph = helper.make_graph(
        nodes,
        'test',
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [
            onnx.numpy_helper.from_array(np.asarray(value), name)
            for name, value in (constants or {}).items()
        ],
    )
    imports = [helper.make_opsetid('', opset), *(helper.make_opsetid(each, 1) for each in domains)]
    return helper.make_model(graph, opset_imports=imports, functions=functions)


def one(op, shapes, constants=None, kind=FLOAT, out=FLOAT, opset=17, **attributes):
    """A model of one node; the constants follow the inputs."""
    inputs = [(f'x{index}', kind, shape) for index, shape in enumerate(shapes)]
    constants = constants or {}
    names = [*(name for name, *_ in inputs), *constants]
    node = helper.make_node(op, names, ['y'], op, **attributes)
    return model([node], inputs, [('y', out, None)], constants, opset)


def nms(boxes, kind=FLOAT, constants=True):
    values = dict(most=np.array([100]), iou=np.float32([0.5]), score=np.float32([0]))
    inputs = [('boxes', kind, (1, boxes, 4)), ('scores', kind, (1, 1, boxes))]
    if not constants:
        inputs.append(('most', INT64, (1,)))
        values.pop('most')
    selected = helper.make_node(
        'NonMaxSuppression', ['boxes', 'scores', 'most', 'iou', 'score'], ['y'], 'nms'
    )
    return model(
        [selected, helper.make_node('Cast', ['y'], ['z'], to=TensorProto.INT32)],
        inputs,
        [('z', TensorProto.INT32, None)],
        values,
    )


def nms_behind_top_k(count):
    """Candidates of two levels, picked twice; nobody knows how many there are."""
    nodes, parts = [], []
    for level in 'ab':
        nodes += [
            helper.make_node('TopK', [level, 'first'], [f'f{level}', f'j{level}']),
            helper.make_node('TopK', [f'f{level}', 'k'], [f's{level}', f'i{level}']),
            helper.make_node('GatherElements', [f'f{level}', f'i{level}'], [f'g{level}'], axis=1),
        ]
        parts.append(f'g{level}')
    nodes += [
        helper.make_node('Concat', parts, ['all'], axis=1),
        helper.make_node('Reshape', ['all', 'shape'], ['scores']),
        helper.make_node(
            'NonMaxSuppression', ['boxes', 'scores', 'most', 'iou', 'score'], ['y'], 'nms'
        ),
        helper.make_node('Cast', ['y'], ['z'], to=TensorProto.INT32),
    ]
    inputs = [
        ('a', FLOAT, (1, None)),
        ('b', FLOAT, (1, None)),
        ('boxes', FLOAT, (1, None, 4)),
        ('shape', INT64, (3,)),
    ]
    return model(
        nodes,
        inputs,
        [('z', TensorProto.INT32, None)],
        dict(
            first=np.array([3000]),
            k=np.array([count]),
            most=np.array([100]),
            iou=np.float32([0.5]),
            score=np.float32([0]),
        ),
    )


def roi_align(kind=FLOAT, **attributes):
    node = helper.make_node('RoiAlign', ['x', 'rois', 'batch'], ['y'], 'pool', **attributes)
    inputs = [('x', kind, (1, 8, 9, 9)), ('rois', kind, (2, 4)), ('batch', INT64, (2,))]
    return model([node], inputs, [('y', kind, None)])


def top_k(count, limit=False):
    """A TopK whose K is computed from constants, or from an input as well."""
    inputs = [('x', FLOAT, (1, 10000))]
    return model(
        [
            helper.make_node(
                'ReduceMax', ['k'], ['columns'], axes=[0], keepdims=0
            ),  # up to opset 17
            helper.make_node('Gather', ['columns', 'zero'], ['first']),
            helper.make_node('Min', ['first', 'limit'], ['least']),
            helper.make_node('Reshape', ['least', 'shape'], ['count']),
            helper.make_node('TopK', ['x', 'count'], ['y', 'index'], 'best'),
        ],
        [*inputs, ('limit', INT64, ())] if limit else inputs,
        [('y', FLOAT, None)],
        dict(k=np.array([[count, 9000]]), zero=np.int64(0), shape=np.array([1]))
        | ({} if limit else dict(limit=np.int64(9000))),
    )


def quantized(kind=np.int8, zero=0, stored=True):
    """x -> Q -> DQ -> MatMul with weights behind DequantizeLinear."""
    weight = np.ones((4, 4), kind) if stored else np.ones((4, 4), np.float32)
    nodes = [
        helper.make_node('QuantizeLinear', ['x', 'scale', 'zero'], ['xq'], 'q'),
        helper.make_node('DequantizeLinear', ['xq', 'scale', 'zero'], ['xf'], 'dq'),
        helper.make_node(
            'DequantizeLinear', ['w' if stored else 'wq', 'scale', 'wzero'], ['wf'], 'weights'
        ),
        helper.make_node('MatMul', ['xf', 'wf'], ['y']),
    ]
    if not stored:
        nodes.insert(2, helper.make_node('QuantizeLinear', ['w', 'scale', 'wzero'], ['wq']))
    wzero = np.zeros((), kind)
    return model(
        nodes,
        [('x', FLOAT, (1, 4))],
        [('y', FLOAT, None)],
        dict(scale=np.float32(0.1), zero=np.int8(zero), w=weight, wzero=wzero),
    )


def in_branch(node, shape=(4, 4)):
    """A node inside of a branch of an If."""
    branch = helper.make_graph(
        [node], 'branch', [], [helper.make_tensor_value_info('y', FLOAT, None)]
    )
    other = helper.make_graph(
        [helper.make_node('Relu', ['x'], ['z'])],
        'other',
        [],
        [helper.make_tensor_value_info('z', FLOAT, None)],
    )
    return model(
        [helper.make_node('If', ['c'], ['out'], then_branch=branch, else_branch=other)],
        [('c', TensorProto.BOOL, ()), ('x', FLOAT, shape)],
        [('out', FLOAT, None)],
    )


def with_function():
    function = helper.make_function(
        'ours',
        'Twice',
        ['a'],
        ['b'],
        [helper.make_node('Add', ['a', 'a'], ['b'])],
        [helper.make_opsetid('', 17)],
    )
    node = helper.make_node('Twice', ['x'], ['y'], domain='ours')
    return model(
        [node], [('x', FLOAT, (2,))], [('y', FLOAT, (2,))], domains=['ours'], functions=[function]
    )


def layer_norm(outputs):
    node = helper.make_node('LayerNormalization', ['x', 'w'], outputs, 'norm')
    return model(
        [node],
        [('x', FLOAT, (2, 4))],
        [(name, FLOAT, None) for name in outputs],
        dict(w=np.ones(4, np.float32)),
    )


MAP = (1, 3, 8, 8)
SIZES = dict(roi=np.float32([]), scales=np.float32([1, 1, 2, 2]))

# A graph, whether TensorRT 10 and 11 take it, and what the message of 8.6 says of it.
BAD = {
    'opset': (one('Relu', [MAP], opset=18), True, 'opset is 18, expected 9 to 17'),
    'old opset': (one('Relu', [MAP], opset=8), False, 'opset is 8'),
    'operator': (one('Det', [(3, 3)]), False, 'Det Det: is not supported: no importer'),
    'younger operator': (one('Hardmax', [MAP]), True, 'only from 9.2 on'),
    'domain': (
        model(
            [helper.make_node('NMS', ['x'], ['y'], 'own', domain='mmcv')],
            [('x', FLOAT, MAP)],
            [('y', FLOAT, MAP)],
            domains=['mmcv'],
        ),
        False,
        'NMS own: is of the domain mmcv',
    ),
    'function': (with_function(), True, 'functions of its own'),
    'shape start': (one('Shape', [MAP], out=INT64, start=2), True, 'start would be ignored'),
    'shape end': (one('Shape', [MAP], out=INT64, end=2), True, 'end would be ignored'),
    'axes as input': (
        one('ReduceMax', [MAP], dict(axes=np.array([1])), opset=18),
        True,
        'axes as an input',
    ),
    'axes that vary': (
        model(
            [helper.make_node('ReduceSum', ['x', 'axes'], ['y'])],
            [('x', FLOAT, MAP), ('axes', INT64, (1,))],
            [('y', FLOAT, None)],
        ),
        False,
        'its input 1, axes, is not a constant',
    ),
    'double': (one('Relu', [MAP], kind=DOUBLE, out=DOUBLE), False, 'x0 is of type double'),
    'double within': (
        model(
            [
                helper.make_node('Cast', ['x'], ['d'], to=DOUBLE),
                helper.make_node('Cast', ['d'], ['y'], to=FLOAT),
            ],
            [('x', FLOAT, MAP)],
            [('y', FLOAT, MAP)],
        ),
        False,
        'd is of type double',
    ),
    'int16': (
        model(
            [
                helper.make_node('Cast', ['x'], ['d'], to=TensorProto.INT16),
                helper.make_node('Cast', ['d'], ['y'], to=FLOAT),
            ],
            [('x', FLOAT, MAP)],
            [('y', FLOAT, MAP)],
        ),
        False,
        'd is of type int16',
    ),
    'bfloat16': (
        one('Relu', [MAP], kind=TensorProto.BFLOAT16, out=TensorProto.BFLOAT16),
        True,
        'of type bfloat16',
    ),
    'int64 output': (one('Cast', [MAP], to=INT64, out=INT64), True, 'this output is of type int64'),
    'int64 beyond int32': (
        one('Add', [(2,)], dict(c=np.array([2**40, 1])), kind=INT64, out=TensorProto.INT64),
        True,
        'c has values beyond int32',
    ),
    'uint8 within': (
        model(
            [
                helper.make_node('Transpose', ['x'], ['t'], 'turn'),
                helper.make_node('Cast', ['t'], ['y'], to=FLOAT),
            ],
            [('x', TensorProto.UINT8, MAP)],
            [('y', FLOAT, None)],
        ),
        False,
        'Transpose turn: x is of type uint8',
    ),
    'int8 within': (
        model(
            [
                helper.make_node('QuantizeLinear', ['x', 's'], ['q']),
                helper.make_node('DequantizeLinear', ['q', 's'], ['y']),
                helper.make_node('Cast', ['x'], ['c'], to=TensorProto.INT8),
                helper.make_node('Neg', ['c'], ['n'], 'negative'),
                helper.make_node('Cast', ['n'], ['z'], to=FLOAT),
            ],
            [('x', FLOAT, MAP)],
            [('y', FLOAT, None), ('z', FLOAT, None)],
            dict(s=np.float32(0.1)),
        ),
        False,
        'Neg negative: c is of type int8',
    ),
    'top-k': (top_k(3841), False, 'TopK best: K is 3841, expected at most 3840'),
    'top-k that varies': (top_k(100, limit=True), False, 'K is not a constant'),
    'top-k unsorted': (
        model(
            [helper.make_node('TopK', ['x', 'k'], ['y', 'i'], 'best', sorted=0)],
            [('x', FLOAT, (1, 9))],
            [('y', FLOAT, None)],
            dict(k=np.array([2])),
        ),
        False,
        'sorted is 0',
    ),
    'nms candidates': (nms(5001), False, '5001 candidates'),
    'nms candidates of levels': (nms_behind_top_k(2501), False, '5002 candidates'),
    'nms in half': (nms(9, HALF), False, 'boxes is of type float16'),
    'nms limit': (nms(9, constants=False), False, 'its input 2, most, is not a constant'),
    'roi align in half': (roi_align(HALF), False, 'its rois are of type float16'),
    'roi align mode': (roi_align(mode='sum'), False, "mode is 'sum', expected 'avg' or 'max'"),
    'resize cubic': (one('Resize', [MAP], SIZES, mode='cubic'), False, "mode is 'cubic'"),
    'resize antialias': (
        one('Resize', [MAP], SIZES, mode='linear', antialias=1, opset=18),
        False,
        'antialias is 1',
    ),
    'scatter': (
        model(
            [helper.make_node('ScatterND', ['x', 'i', 'u'], ['y'], reduction='add')],
            [('x', FLOAT, (4,)), ('i', INT64, (1, 1)), ('u', FLOAT, (1,))],
            [('y', FLOAT, None)],
        ),
        False,
        "reduction is 'add'",
    ),
    'second output': (layer_norm(['y', 'mean']), False, 'only its first output'),
    'zero point': (quantized(zero=3), False, 'its zero point is not 0'),
    'uint8 weights': (quantized(np.uint8), False, 'its integers are uint8'),
    'int32 bias': (quantized(np.int32), False, 'its integers are int32'),
    'int8 weights': (quantized(), True, 'its weights are int8'),
    'grid sample': (
        model(
            [helper.make_node('GridSample', ['x', 'g'], ['y'])],
            [('x', FLOAT, (1, 1, 4, 4, 4)), ('g', FLOAT, (1, 4, 4, 4, 3))],
            [('y', FLOAT, None)],
            opset=20,
        ),
        False,
        'its input has 5 axes',
    ),
    'subgraph': (in_branch(helper.make_node('Det', ['x'], ['y'], 'inner')), False, 'Det inner'),
    'branches': (
        in_branch(helper.make_node('Flatten', ['x'], ['y'], axis=1), (1, 4, 4)),
        False,
        'of 2 and of 3 axes',
    ),
}

GOOD = {
    'layer norm': layer_norm(['y']),
    'top-k': top_k(3840),
    'nms': nms(5000),
    'nms of levels': nms_behind_top_k(2500),
    'roi align': roi_align(coordinate_transformation_mode='half_pixel'),
    'resize': one('Resize', [MAP], SIZES, mode='linear'),
    'shape': one('Cast', [MAP], to=TensorProto.INT32, out=TensorProto.INT32),
    'reduce by attribute': one('ReduceMax', [MAP], axes=[1]),
    'sum over an input': one('ReduceSum', [MAP], dict(axes=np.array([1]))),
    'quantized': quantized(stored=False),
    'uint8 input': one('Cast', [MAP], kind=TensorProto.UINT8, to=FLOAT),
    'to the end': one('Slice', [(9,)], dict(a=np.array([1]), b=np.array([2**63 - 1]))),
    'subgraph': in_branch(helper.make_node('Tanh', ['x'], ['y'])),
}


@pytest.mark.parametrize('name', BAD)
def test_a_broken_rule_is_named(name):
    graph, taken_from_10, expected = BAD[name]
    for release, taken in (('8.6', False), ('10.0', taken_from_10), ('11', taken_from_10)):
        texts = [str(problem) for problem in check_graph(graph, release)]
        assert any(expected in text for text in texts) != taken, (release, texts)


@pytest.mark.parametrize('name', GOOD)
@pytest.mark.parametrize('release', ['8.6', '10', '11'])
def test_what_every_release_takes_is_no_problem(name, release):
    assert check_graph(GOOD[name], release) == []


def test_every_problem_is_listed(tmp_path):
    path = tmp_path / 'größe 1.onnx'
    onnx.save(nms(6000, HALF), path)
    refusal = find_backend('tensorrt').refusal(path, DeploySettings(backend='tensorrt'))
    assert refusal.by == 'TensorRT 8.6' and len(refusal.reasons) == 3
    assert '6000 candidates' in ' '.join(refusal.reasons)
    onnx.save(nms(10), path)
    assert find_backend('tensorrt').refusal(path, DeploySettings(backend='tensorrt')) is None


@pytest.mark.parametrize('release', ['8.5', '7', 'ten', ''])
def test_an_unknown_release_is_refused(release):
    with pytest.raises(UserError, match='expected 8.6 or newer'):
        check_graph(nms(10), release)


def test_a_file_that_is_no_model_is_named(tmp_path):
    path = tmp_path / 'model.onnx'
    path.write_bytes(b'no model')
    with pytest.raises(UserError, match='cannot read .*model.onnx as ONNX'):
        check_graph(path)
