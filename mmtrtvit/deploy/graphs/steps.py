"""Steps of a graph: tensors in front of the score threshold, by names that every file keeps.

A detector's file shows nothing of what lies in front of its score threshold. Its tensors there
have names that begin with :data:`STEP`, so that a copy of the graph can show them.
"""

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from ...errors import UserError

STEP = 'step/'
MAPS = f'{STEP}maps/'  # those of the shape (B, C, H, W), a number for each level behind
LOGITS, DELTAS = f'{MAPS}logits', f'{MAPS}deltas'  # of the dense head, or of a segmentor
PROPOSALS, VALID = f'{STEP}proposals', f'{STEP}valid'  # (B, P, 4), (B, P)
CLASS_LOGITS = f'{STEP}class_logits'  # (B, C), of a classifier
BOX_LOGITS, BOX_DELTAS = f'{STEP}box_logits', f'{STEP}box_deltas'  # (B, P, C + 1), (B, N, 4)
SCORES = f'{STEP}scores'  # (B, N), what is compared with the score threshold
THRESHOLD = 'score_threshold'


def levels(name: str, count: int) -> tuple[str, ...]:
    """Names of the maps of a step, one for each level."""
    return tuple(f'{name}/{level}' for level in range(count))


def hide(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Takes outputs away, in place; their tensors stay in the graph under their names."""
    kept = [value for value in model.graph.output if value.name not in names]
    del model.graph.output[:]
    model.graph.output.extend(kept)


def show(model: onnx.ModelProto) -> None:
    """Makes, in place, an output of each step, and of a detector's score threshold an input.

    Raises:
        UserError: If the graph has no steps.
    """
    graph = model.graph
    outputs = {value.name for value in graph.output}
    found = [name for node in graph.node for name in node.output if name.startswith(STEP)]
    graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in found if name not in outputs
    )
    for node in graph.node:
        if node.op_type == 'Greater' and node.input[0] == SCORES:
            node.input[1] = THRESHOLD
            graph.input.append(helper.make_tensor_value_info(THRESHOLD, TensorProto.FLOAT, []))
            return
    if 'dets' in outputs:
        raise UserError(
            'the graph does not show what lies in front of its score threshold: it was written by '
            'an older mmtrtvit, or changed. Export it again.'
        )
