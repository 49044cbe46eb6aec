"""TopK in OpenVINO as ONNX means it: of equal values the first.

OpenVINO's TopK takes any of two equal values. Told to be stable, it sorts by exchanging neighbours
on a CPU, which takes N * K steps for the best K of N: a second for the anchors of a large image.
Here a few of its fast sorts, of numbers that all differ, give the same result.
"""

from typing import Any

import numpy as np

# The K whose square, which a rank and a place need as one number, has less than 32 bits.
MOST = 2**15


def make_stable(model: Any, done: bool = False) -> None:
    """Gives each TopK of a model of OpenVINO the order of ONNX, in place.

    Args:
        model: An ``openvino.Model``.
        done: Whether that was done before the model was written. What is told to be stable is then
            all that is left.
    """
    found = [op for op in model.get_ops() if op.get_type_name() == 'TopK']
    attributes = [op.get_attributes() for op in found]
    todo = [
        (op, known, _takes_any_order(op))
        for op, known in zip(found, attributes)
        if known.get('stable') or not (done or _all_differ(op))
    ]
    for op, known, any_order in todo:
        shape = op.get_output_partial_shape(0)
        k = shape[known['axis']]
        last = known['axis'] in (-1, shape.rank.get_length() - 1)
        if last and k.is_static and 1 < k.get_length() < MOST:
            new = _stable(op, known, k.get_length(), any_order)
        else:
            new = _told_to_be_stable(op, known)
        for old, output in zip(op.outputs(), new):
            output.get_node().set_friendly_name(op.get_friendly_name())
            old.replace(output)


def _takes_any_order(op: Any) -> bool:
    """Whether it only chooses, and another TopK puts what is chosen in order."""
    values, indices = op.outputs()
    users = [each.get_node() for each in indices.get_target_inputs()]
    return not values.get_target_inputs() and all(
        user.get_type_name() == 'Convert'
        and all(
            final.get_node().get_type_name() == 'TopK'
            for final in user.output(0).get_target_inputs()
        )
        for user in users
    )


def _all_differ(op: Any) -> bool:
    """Whether the values are the indices that another TopK gives."""
    source = op.input_value(0)
    while source.get_node().get_type_name() == 'Convert':
        source = source.get_node().input_value(0)
    return source.get_node().get_type_name() == 'TopK' and source.get_index() == 1


def _told_to_be_stable(op: Any, known: dict[str, Any]) -> list[Any]:
    from openvino import opset11 as ops

    x, k = op.input_values()
    kind = known['index_element_type']
    return ops.topk(x, k, known['axis'], known['mode'], known['sort'], kind, stable=True).outputs()


def _stable(op: Any, known: dict[str, Any], k: int, any_order: bool) -> list[Any]:
    """Values and indices along the last axis, ``(..., N) -> (..., K)`` each."""
    from openvino import opset11 as ops

    x, mode, axis = op.input_value(0), known['mode'], known['axis']
    indices = _first_best(x, k, axis, mode)
    values = ops.gather_elements(x, indices, axis).output(0)
    if known['sort'] == 'value' and not any_order:
        values, order = ops.topk(values, _int(k), axis, mode, 'value', 'i32').outputs()
        before = ops.gather(values, _int([0, *range(k - 1)]), _int(axis))
        rank = ops.cumsum(ops.convert(ops.not_equal(values, before), 'i32'), _int(axis))
        keys = ops.add(ops.multiply(rank, _int(k)), order)  # all differ
        keys = ops.topk(keys, _int(k), axis, 'min', 'value', 'i32').output(0)
        indices = ops.gather_elements(indices, ops.mod(keys, _int(k)), axis)
    return [values, ops.convert(indices, known['index_element_type']).output(0)]


def _first_best(x: Any, k: int, axis: int, mode: str) -> Any:
    """Indices of the best K, in their order: of those that equal the last of them, the first."""
    from openvino import opset11 as ops

    best = ops.topk(x, _int(k), axis, mode, 'none', 'i32').output(0)
    if mode == 'max':
        last, better = ops.reduce_min(best, _int([axis]), True), ops.greater
    else:
        last, better = ops.reduce_max(best, _int([axis]), True), ops.less
    certain, equal = better(x, last), ops.equal(x, last)
    left = ops.subtract(_int(k), ops.reduce_sum(ops.convert(certain, 'i32'), _int([axis]), True))
    first = ops.less_equal(ops.cumsum(ops.convert(equal, 'i32'), _int(axis)), left)
    chosen = ops.logical_or(certain, ops.logical_and(equal, first))
    size = ops.gather(ops.shape_of(x, 'i32'), _int(axis), _int(0))
    places = ops.range(_int(0), size, _int(1), 'i32')
    behind = ops.subtract(size, _int(1))  # a place that there is, even if a value is not a number
    places = ops.select(chosen, places, ops.add(behind, _int(1)))
    places = ops.topk(places, _int(k), axis, 'min', 'value', 'i32').output(0)
    return ops.minimum(places, behind)


def _int(value: Any) -> Any:
    from openvino import opset11 as ops

    return ops.constant(np.array(value, np.int32))
