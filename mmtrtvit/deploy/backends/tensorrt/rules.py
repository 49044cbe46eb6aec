"""Rules of TensorRT's parser for ONNX graphs, checked without TensorRT and without a GPU.

The rules are those of onnx-tensorrt's ``docs/operators.md`` and ``docs/Changelog.md`` (releases
8.5, 8.6, 9.2 and 10.15), and of TensorRT's own limits of TopK and NonMaxSuppression. They are for
graphs with one precision throughout, as TensorRT builds them from strongly typed networks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

from ....errors import UserError
from ...graphs.graph import Graph, load_onnx
from ...graphs.tensorrt_limits import MAX_NMS_CANDIDATES, MAX_TOP_K
from ...settings import EXPORTERS, TORCHSCRIPT

Release = tuple[int, int]

# Highest opset by the first release that takes it; no release takes less than 9.
OPSETS = {(8, 6): 17, (9, 2): 19, (10, 0): 20, (10, 15): 24, (11, 0): 25}

# Operators by the first release that is known to take them.
OPERATORS = {
    (8, 6): """
        Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization
        Cast Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum
        DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten
        Floor GRU Gather GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool
        Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Identity If
        InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log
        LogSoftmax Loop LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization Min
        Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QuantizeLinear RNN
        RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1
        ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
        ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign Round Scan Scatter
        ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax
        Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK
        Transpose Trilu Unsqueeze Upsample Where Xor""",
    (9, 2): 'Hardmax',
    (10, 1): 'DeformConv',
    (10, 4): 'BlackmanWindow HammingWindow HannWindow',
    (10, 5): 'STFT',
    (10, 15): 'Attention CastLike Gelu Mish RMSNormalization RotaryEmbedding TensorScatter',
}
SINCE = {op: release for release, ops in OPERATORS.items() for op in ops.split()}

REDUCTIONS = tuple(op for op in SINCE if op.startswith('Reduce'))

# Values of attributes that are taken, in every release.
ATTRIBUTES: dict[str, dict[str, tuple]] = {
    'BatchNormalization': {'training_mode': (0,)},
    'MaxPool': {'storage_order': (0,)},
    'Resize': {
        'mode': ('nearest', 'linear'),
        'antialias': (0,),
        'keep_aspect_ratio_policy': ('stretch',),
        'coordinate_transformation_mode': (
            'half_pixel',
            'pytorch_half_pixel',
            'tf_half_pixel_for_nn',
            'asymmetric',
            'align_corners',
        ),
    },
    'RoiAlign': {
        'mode': ('avg', 'max'),
        'coordinate_transformation_mode': ('half_pixel', 'output_half_pixel'),
    },
    'ScatterND': {'reduction': ('none',)},
    'TopK': {'sorted': (1,)},
}

# Inputs whose values must be known when the engine is built.
CONSTANT_INPUTS = {
    'CumSum': (1,),
    'NonMaxSuppression': (2, 3, 4),
    'OneHot': (1,),
    'QuantizeLinear': (2,),
    'DequantizeLinear': (2,),
    'Squeeze': (1,),
    'Unsqueeze': (1,),
    **dict.fromkeys(REDUCTIONS, (1,)),
}

FIRST_OUTPUT_ONLY = 'BatchNormalization', 'LayerNormalization', 'MaxPool'

INT32 = np.iinfo(np.int32)

# Types of tensors by the first release that is known to take them.
TYPES: dict[int, Release] = {
    TensorProto.FLOAT: (8, 6),
    TensorProto.FLOAT16: (8, 6),
    TensorProto.INT32: (8, 6),
    TensorProto.INT64: (8, 6),
    TensorProto.BOOL: (8, 6),
    TensorProto.INT8: (8, 6),
    TensorProto.UINT8: (8, 6),
    TensorProto.BFLOAT16: (9, 0),
    TensorProto.FLOAT8E4M3FN: (10, 0),
}
NEVER = (99, 0)
QUANTIZED: dict[int, str] = {TensorProto.INT8: 'int8', TensorProto.FLOAT8E4M3FN: 'float8e4m3fn'}


@dataclass(frozen=True)
class BrokenRule:
    """Something of a graph that a parser does not take.

    Attributes:
        node: Name of the node, or of the tensor if it is about none.
        op: Its operator, or ``'graph'``, ``'tensor'``.
        message: What is wrong.
        hint: What to do.
    """

    node: str
    op: str
    message: str
    hint: str = ''

    def __str__(self) -> str:
        hint = f' {self.hint}' if self.hint else ''
        return f'{self.op} {self.node}: {self.message}.{hint}'


def check_graph(model: str | Path | onnx.ModelProto, tensorrt: str = '8.6') -> list[BrokenRule]:
    """Lists what a release of TensorRT would not take of a graph.

    Args:
        model: The graph, or its file.
        tensorrt: Version, e.g. ``'8.6'``, ``'10.3'``, ``'11'``.

    Returns:
        The problems; none means that no rule is broken.

    Raises:
        UserError: If the file cannot be read as ONNX, or the version is older than 8.6.
    """
    release = _release(tensorrt)
    model = model if isinstance(model, onnx.ModelProto) else load_onnx(model)
    problems = list(_check_model(model, release))
    if model.functions:
        from onnx.inliner import inline_local_functions

        model = inline_local_functions(model)
    graph = Graph(model)
    for node in graph.nodes:
        for message, hint in _check_node(node, graph, release):
            problems.append(BrokenRule(node.name or node.output[0], node.op_type, message, hint))
    problems.extend(_check_tensors(graph, release))
    return problems


def _check_model(model: onnx.ModelProto, release: Release) -> Iterator[BrokenRule]:
    opset = _opset(model)
    highest = max(OPSETS[known] for known in OPSETS if known <= release)
    if not 9 <= opset <= highest:
        yield BrokenRule(
            model.graph.name,
            'graph',
            f'opset is {opset}, expected 9 to {highest}',
            f'Export with exporter={TORCHSCRIPT!r}, which writes {EXPORTERS[TORCHSCRIPT]}.'
            if opset > highest
            else '',
        )
    if model.functions and release < (9, 0):
        yield BrokenRule(
            model.graph.name,
            'graph',
            'it has functions of its own, known from TensorRT 9 on',
            'Inline them with onnx.inliner.',
        )


def _check_node(node: NodeProto, graph: Graph, release: Release) -> Iterator[tuple[str, str]]:
    if node.domain not in ('', 'ai.onnx'):
        yield f'is of the domain {node.domain}, not of ONNX', 'It needs a plugin.'
        return
    since = SINCE.get(node.op_type)
    if since is None or since > release:
        known = f'only from {since[0]}.{since[1]} on' if since else 'no importer for it'
        yield f'is not supported: {known}', ''
        return
    for name, allowed in ATTRIBUTES.get(node.op_type, {}).items():
        value = _attribute(node, name, allowed[0])
        if value not in allowed:
            yield f'{name} is {value!r}, expected {" or ".join(map(repr, allowed))}', ''
    for index in CONSTANT_INPUTS.get(node.op_type, ()):
        if _has(node, index) and graph.constant(node.input[index]) is None:
            yield f'its input {index}, {node.input[index]}, is not a constant', ''
    if node.op_type in FIRST_OUTPUT_ONLY and any(name in graph.used for name in node.output[1:]):
        yield 'only its first output is supported', ''
    for rule in RULES.get(node.op_type, ()):
        yield from rule(node, graph, release)


def _check_tensors(graph: Graph, release: Release) -> Iterator[BrokenRule]:
    made = {name: (node.name or name, node.op_type) for name, node in graph.producers.items()}
    for name in graph.tensors.keys() & (graph.used | made.keys()):
        kind = graph.type(name)
        where = made.get(name, (name, 'tensor'))
        if kind and release < TYPES.get(kind, NEVER):
            yield BrokenRule(*where, f'{name} is of type {_type_name(kind)}', 'Cast to float32.')
    for name, tensor in graph.initializers.items():
        if tensor.data_type == TensorProto.INT64 and release < (9, 0):
            yield from _check_range(name, ('tensor', name), numpy_helper.to_array(tensor))
    for node in graph.nodes:
        for name in node.input:
            kind = graph.type(name)
            if kind in QUANTIZED and node.op_type not in (
                'QuantizeLinear',
                'DequantizeLinear',
            ):
                yield BrokenRule(
                    node.name,
                    node.op_type,
                    f'{name} is of type {QUANTIZED[kind]}',
                    f'Only QuantizeLinear and DequantizeLinear take {QUANTIZED[kind]}.',
                )
            if kind == TensorProto.UINT8 and node.op_type not in ('Cast', 'Identity'):
                yield BrokenRule(
                    node.name,
                    node.op_type,
                    f'{name} is of type uint8',
                    'Cast it: only inputs and outputs of the graph may be uint8.',
                )
    if release < (9, 0):
        for value in graph.main.output:
            if graph.type(value.name) == TensorProto.INT64:
                yield BrokenRule(
                    value.name,
                    'graph',
                    'this output is of type int64',
                    'Cast it to int32: int64 is native from TensorRT 9 on.',
                )


def _check_range(name: str, where: tuple[str, str], values: np.ndarray) -> Iterator[BrokenRule]:
    """int64 becomes int32; the ends of int64 stand for "to the end" and survive the cut."""
    ends = np.iinfo(np.int64)
    inside = (values >= INT32.min) & (values <= INT32.max)
    if not (inside | (values >= ends.max - 1) | (values <= ends.min + 1)).all():
        yield BrokenRule(
            where[1],
            where[0],
            f'{name} has values beyond int32',
            'TensorRT before 9 cuts them off.',
        )


Rule = Callable[[NodeProto, Graph, Release], Iterator[tuple[str, str]]]
RULES: dict[str, list[Rule]] = {}


def _rule(*ops: str) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        for op in ops:
            RULES.setdefault(op, []).append(rule)
        return rule

    return add


@_rule('Shape')
def _shape(node: NodeProto, graph: Graph, release: Release) -> Iterator[tuple[str, str]]:
    names = {attribute.name for attribute in node.attribute} & {'start', 'end'}
    if names and release < (10, 0):
        yield (
            f'{" and ".join(sorted(names))} would be ignored before TensorRT 10',
            'Take Gather of the whole Shape.',
        )


@_rule(*REDUCTIONS)
def _reduce(node: NodeProto, graph: Graph, release: Release) -> Iterator[tuple[str, str]]:
    if _has(node, 1) and node.op_type != 'ReduceSum' and release < (10, 0):
        yield 'axes as an input would be ignored before TensorRT 10', 'Give the attribute axes.'


@_rule('TopK')
def _top_k(node: NodeProto, graph: Graph, release: Release) -> Iterator[tuple[str, str]]:
    if not _has(node, 1):
        return  # K is an attribute before opset 10, below every exporter
    count = graph.constant(node.input[1])
    if count is None:
        yield f'K is not a constant: it is unknown whether it is at most {MAX_TOP_K}', ''
    elif int(count.max()) > MAX_TOP_K:
        yield (
            f'K is {int(count.max())}, expected at most {MAX_TOP_K}',
            'Lower nms_pre or max_per_img in test_cfg.',
        )


@_rule('NonMaxSuppression')
def _nms(node: NodeProto, graph: Graph, release: Release) -> Iterator[tuple[str, str]]:
    for name in node.input[:2]:
        if graph.type(name) not in (0, TensorProto.FLOAT):
            yield (
                f'{name} is of type {_type_name(graph.type(name))}, expected float32',
                'Half cannot hold boxes that are moved apart by class.',
            )
    shape = graph.shape(node.input[1])
    known = shape and None not in shape[1:]
    count = shape[1] * shape[2] if known else _top_k_before(node.input[1], graph)
    if count > MAX_NMS_CANDIDATES:
        yield (
            f'{count} candidates of an image, but only the {MAX_NMS_CANDIDATES} best are looked at',
            'Lower nms_pre in test_cfg.',
        )


def _top_k_before(name: str, graph: Graph) -> int:
    """How many values the nearest TopK before a tensor of unknown shape pick, all together."""
    total, seen, names = 0, set(), [name]
    while names:
        node = graph.producers.get(names.pop())
        if node is None or node.output[0] in seen or node.op_type == 'Shape':
            continue
        seen.add(node.output[0])
        if node.op_type == 'TopK':
            count = graph.constant(node.input[1])
            total += 0 if count is None else int(count.max())
        elif node.op_type == 'GatherElements':
            names.append(node.input[1])  # as many as there are indices
        else:
            names.extend(node.input)
    return total


@_rule('RoiAlign')
def _roi_align(node: NodeProto, graph: Graph, release: Release) -> Iterator[tuple[str, str]]:
    x, rois = (graph.type(name) for name in node.input[:2])
    if rois not in (0, TensorProto.FLOAT):
        yield (
            f'its rois are of type {_type_name(rois)}, expected float32',
            'Half loses up to a pixel beyond 1024.',
        )
    if x and rois and x != rois:
        yield f'its map is {_type_name(x)} and its rois are {_type_name(rois)}', 'Cast the map.'


@_rule('QuantizeLinear', 'DequantizeLinear')
def _quantization(node: NodeProto, graph: Graph, release: Release) -> Iterator[tuple[str, str]]:
    quantized = node.output[0] if node.op_type == 'QuantizeLinear' else node.input[0]
    kind = graph.type(quantized)
    if kind not in (0, *QUANTIZED):
        expected = ' or '.join(QUANTIZED.values())
        yield f'its integers are {_type_name(kind)}, expected {expected}', 'Do not quantize biases.'
    zero = graph.constant(node.input[2]) if _has(node, 2) else None
    if zero is not None and zero.any():
        yield 'its zero point is not 0', 'Quantize symmetrically.'
    if node.op_type == 'DequantizeLinear' and release < (10, 0) and quantized in graph.initializers:
        yield (
            'its weights are int8; releases before 10 want float32 weights and QuantizeLinear',
            'Quantize with float_weights=True.',
        )


@_rule('If')
def _if(node: NodeProto, graph: Graph, release: Release) -> Iterator[tuple[str, str]]:
    branches = [_attribute(node, name, None) for name in ('then_branch', 'else_branch')]
    for values in zip(*(branch.output for branch in branches)):
        shapes = [graph.shape(value.name) for value in values]
        if None not in shapes and len(shapes[0]) != len(shapes[1]):
            yield (
                f'its branches give tensors of {len(shapes[0])} and of {len(shapes[1])} axes',
                'Where torch.squeeze made it: take index 0 of the axis instead.',
            )


@_rule('GridSample')
def _grid_sample(node: NodeProto, graph: Graph, release: Release) -> Iterator[tuple[str, str]]:
    shape = graph.shape(node.input[0])
    if shape is not None and len(shape) != 4:
        yield f'its input has {len(shape)} axes, expected 4', ''


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            value = onnx.helper.get_attribute_value(attribute)
            return value.decode() if isinstance(value, bytes) else value
    return default


def _has(node: NodeProto, index: int) -> bool:
    return len(node.input) > index and bool(node.input[index])


def _type_name(kind: int) -> str:
    return TensorProto.DataType.Name(kind).lower()


def _opset(model: onnx.ModelProto) -> int:
    return max(
        (each.version for each in model.opset_import if each.domain in ('', 'ai.onnx')), default=0
    )


def _release(version: str) -> Release:
    major, _, rest = version.partition('.')
    minor = rest.partition('.')[0] or '0'
    if not (major.isdecimal() and minor.isdecimal()) or (int(major), int(minor)) < (8, 6):
        raise UserError(f'TensorRT {version!r} is unknown; expected 8.6 or newer, e.g. 10.3.')
    return int(major), int(minor)
