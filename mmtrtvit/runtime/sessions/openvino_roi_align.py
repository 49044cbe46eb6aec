"""RoiAlign in OpenVINO on a CPU: from maps whose channels come last.

OpenVINO calls its kernel for each cell of each box, and where a map's channels come first for each
channel as well: twenty times as long for a head of masks. It keeps the order that the map comes in,
which is channels last from a convolution and channels first from a norm of groups.
"""

from typing import Any

import numpy as np

# What OpenVINO computes in the order of a convolution in front of it.
KEEPING_ORDER = 'Add', 'Clamp', 'Convert', 'FakeQuantize', 'Multiply', 'Relu'


def put_channels_last(model: Any) -> None:
    """Puts a convolution that changes nothing between maps and RoiAlign where it helps, in place.

    Args:
        model: An ``openvino.Model``.
    """
    from openvino import opset11 as ops

    found: dict[tuple[str, int], Any] = {}
    for op in model.get_ordered_ops():
        if op.get_type_name() != 'ROIAlign':
            continue
        x = op.input_value(0)
        channels = x.get_partial_shape()[1]
        if not channels.is_static or _by_convolution(x.get_node()):
            continue
        key = x.get_node().get_friendly_name(), x.get_index()
        if key not in found:
            ones = ops.constant(np.ones((channels.get_length(), 1, 1, 1, 1), np.float32))
            same = ops.convert_like(ones, x)
            same = ops.group_convolution(x, same, [1, 1], [0, 0], [0, 0], [1, 1])
            same.set_friendly_name(f'{op.get_friendly_name()}/ChannelsLast')
            found[key] = same.output(0)
        op.input(0).replace_source_output(found[key])


def _by_convolution(node: Any) -> bool:
    """Whether a map comes from a convolution, through what keeps its order."""
    while node.get_type_name() in KEEPING_ORDER:
        node = node.input_value(0).get_node()
    return node.get_type_name() == 'Convolution'
