"""How :func:`.ops.keep_by_nms` is written down in ONNX, for both exporters of PyTorch.

NonMaxSuppression gives a list of (picture, class, box) as long as there are survivors. They become
a mask of fixed shape by ScatterND; one more column takes a dummy, so that the list is never empty.
"""

from typing import Any

import torch
from torch.onnx import symbolic_helper

from . import ops  # noqa: F401  registers the op

OP = 'mmtrtvit::keep_by_nms'
# NonMaxSuppression wants a limit: more than any caller has boxes, and an int32 for TensorRT.
NO_LIMIT = 2**31 - 1


@symbolic_helper.parse_args('v', 'v', 'f')
def _symbolic(g: Any, boxes: Any, scores: Any, iou_threshold: float) -> Any:
    def constant(value: Any, dtype: torch.dtype = torch.long) -> Any:
        return g.op('Constant', value_t=torch.tensor(value, dtype=dtype))

    selected = g.op(
        'NonMaxSuppression', boxes, g.op('Unsqueeze', scores, constant([1])),
        constant([NO_LIMIT]), constant([iou_threshold], torch.float), constant([0.], torch.float))
    survivors = g.op('Gather', selected, constant([0, 2]), axis_i=1)  # (M, 2): picture, box
    shape = g.op('Shape', scores)
    count = g.op('Gather', shape, constant([1]), axis_i=0)
    dummy = g.op('Unsqueeze', g.op('Concat', constant([0]), count, axis_i=0), constant([0]))
    survivors = g.op('Concat', survivors, dummy, axis_i=0)
    wider = g.op('Add', shape, constant([0, 1]))
    zeros = g.op('ConstantOfShape', wider, value_t=torch.zeros(1))
    rows = g.op('Gather', g.op('Shape', survivors), constant([0]), axis_i=0)
    ones = g.op('ConstantOfShape', rows, value_t=torch.ones(1))
    mask = g.op('ScatterND', zeros, survivors, ones)
    return g.op('Slice', mask, constant([0]), count, constant([1]))


def register_for_torchscript(opset: int) -> None:
    """Teaches the exporter of traced modules the op."""
    torch.onnx.register_custom_op_symbolic(OP, _symbolic, opset)


def translations_for_dynamo() -> dict:
    """Returns what the exporter of ``torch.export`` takes as ``custom_translation_table``."""
    from onnxscript import FLOAT
    from onnxscript import opset18 as op

    def keep_by_nms(boxes: FLOAT, scores: FLOAT, iou_threshold: float) -> FLOAT:
        selected = op.NonMaxSuppression(
            boxes, op.Unsqueeze(scores, op.Constant(value_ints=[1])),
            op.Constant(value_ints=[NO_LIMIT]),
            op.Constant(value_floats=[iou_threshold]), op.Constant(value_floats=[0.]))
        survivors = op.Gather(selected, op.Constant(value_ints=[0, 2]), axis=1)
        shape = op.Shape(scores)
        count = op.Gather(shape, op.Constant(value_ints=[1]), axis=0)
        dummy = op.Unsqueeze(
            op.Concat(op.Constant(value_ints=[0]), count, axis=0), op.Constant(value_ints=[0]))
        survivors = op.Concat(survivors, dummy, axis=0)
        wider = op.Add(shape, op.Constant(value_ints=[0, 1]))
        zeros = op.Expand(op.Constant(value_floats=[0.]), wider)
        rows = op.Gather(op.Shape(survivors), op.Constant(value_ints=[0]), axis=0)
        ones = op.Expand(op.Constant(value_floats=[1.]), rows)
        mask = op.ScatterND(zeros, survivors, ones)
        return op.Slice(mask, op.Constant(value_ints=[0]), count, op.Constant(value_ints=[1]))

    return {torch.ops.mmtrtvit.keep_by_nms.default: keep_by_nms}


