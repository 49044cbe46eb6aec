"""Lowering to ONNX of ops for which PyTorch's exporter has no way, or no good one.

NonMaxSuppression returns a list of (image, class, box) with an entry for each box that it keeps.
ScatterND turns the list into a mask of fixed shape. One more column takes a dummy entry, so that
the list is never empty.
"""

from typing import Any

import torch
from torch.onnx import symbolic_helper

from . import ops  # noqa: F401  registers the op

# NonMaxSuppression wants a limit: more than any caller has boxes, and an int32 for TensorRT.
NO_LIMIT = 2**31 - 1


@symbolic_helper.parse_args('v', 'v', 'f')
def _keep_by_nms(g: Any, boxes: Any, scores: Any, iou_threshold: float) -> Any:
    def constant(value: Any, dtype: torch.dtype = torch.long) -> Any:
        return g.op('Constant', value_t=torch.tensor(value, dtype=dtype))

    selected = g.op(
        'NonMaxSuppression',
        boxes,
        g.op('Unsqueeze', scores, constant([1])),
        constant([NO_LIMIT]),
        constant([iou_threshold], torch.float),
        constant([0.0], torch.float),
    )
    survivors = g.op('Gather', selected, constant([0, 2]), axis_i=1)  # (M, 2): image, box
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


@symbolic_helper.parse_args('v', 'v', 'f', 'i', 'i', 'i', 'i')
def _roi_align(
    g: Any,
    x: Any,
    rois: Any,
    scale: float,
    height: int,
    width: int,
    sampling_ratio: int,
    aligned: int,
) -> Any:
    """Torchvision's own form squeezes an axis, which becomes an If with branches of two ranks."""

    def columns(index: Any) -> Any:
        return g.op('Gather', rois, g.op('Constant', value_t=torch.tensor(index)), axis_i=1)

    images = g.op('Cast', columns(0), to_i=torch.onnx.TensorProtoDataType.INT64)
    return g.op(
        'RoiAlign',
        x,
        columns([1, 2, 3, 4]),
        images,
        spatial_scale_f=scale,
        output_height_i=height,
        output_width_i=width,
        sampling_ratio_i=max(sampling_ratio, 0),
        coordinate_transformation_mode_s='half_pixel' if aligned else 'output_half_pixel',
    )


def register_for_torchscript(opset: int) -> None:
    """Teaches the exporter of traced modules the ops."""
    torch.onnx.register_custom_op_symbolic('mmtrtvit::keep_by_nms', _keep_by_nms, opset)
    torch.onnx.register_custom_op_symbolic('torchvision::roi_align', _roi_align, opset)


def translations_for_dynamo() -> dict:
    """Returns what the exporter of ``torch.export`` takes as ``custom_translation_table``."""
    from onnxscript import FLOAT
    from onnxscript import opset18 as op

    def keep_by_nms(boxes: FLOAT, scores: FLOAT, iou_threshold: float) -> FLOAT:
        selected = op.NonMaxSuppression(
            boxes,
            op.Unsqueeze(scores, op.Constant(value_ints=[1])),
            op.Constant(value_ints=[NO_LIMIT]),
            op.Constant(value_floats=[iou_threshold]),
            op.Constant(value_floats=[0.0]),
        )
        survivors = op.Gather(selected, op.Constant(value_ints=[0, 2]), axis=1)
        shape = op.Shape(scores)
        count = op.Gather(shape, op.Constant(value_ints=[1]), axis=0)
        dummy = op.Unsqueeze(
            op.Concat(op.Constant(value_ints=[0]), count, axis=0), op.Constant(value_ints=[0])
        )
        survivors = op.Concat(survivors, dummy, axis=0)
        wider = op.Add(shape, op.Constant(value_ints=[0, 1]))
        zeros = op.Expand(op.Constant(value_floats=[0.0]), wider)
        rows = op.Gather(op.Shape(survivors), op.Constant(value_ints=[0]), axis=0)
        ones = op.Expand(op.Constant(value_floats=[1.0]), rows)
        mask = op.ScatterND(zeros, survivors, ones)
        return op.Slice(mask, op.Constant(value_ints=[0]), count, op.Constant(value_ints=[1]))

    return {torch.ops.mmtrtvit.keep_by_nms.default: keep_by_nms}
