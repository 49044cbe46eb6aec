"""Files of models that find nothing, whole and damaged: the steps tell them apart."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from mmtrtvit.deploy.export.model import export_model
from mmtrtvit.deploy.graphs.steps import STEP
from mmtrtvit.deploy.settings import DeploySettings
from mmtrtvit.deploy.verify.compare import agree, compare
from mmtrtvit.deploy.verify.evaluation import deployed
from mmtrtvit.deploy.verify.steps import CANDIDATES, _threshold, compare_steps
from mmtrtvit.engine.predictor import load
from mmtrtvit.errors import UserError
from mmtrtvit.runtime.sessions.onnx import OnnxSession

HEADS = dict(retinanet='bbox_head.retina_cls', mask_rcnn='roi_head.bbox_head.fc_cls')


@pytest.fixture(scope='module', params=[*HEADS, 'fpn'])
def blind(request, small_models, tmp_path_factory):
    """A model that finds nothing, its file and images; of a segmentor label maps."""
    name = request.param
    predictor = load(small_models / f'{name}.py', small_models / f'{name}.pth', device='cpu')
    if name in HEADS:
        bias = predictor.model.get_submodule(HEADS[name]).bias
        with torch.no_grad():
            bias -= 50 * torch.arange(len(bias)).lt(len(bias) if name == 'retinanet' else 3)
            bias += 40
    path = tmp_path_factory.mktemp('blind') / 'end2end.onnx'
    export_model(predictor.model, DeploySettings(with_argmax=name == 'fpn'), path=path)
    files = sorted((small_models / 'data/shapes/images/validation').iterdir())
    return name, predictor, path, [predictor.read(file) for file in files]


@pytest.fixture
def damaged(blind, tmp_path):
    """Changes the file of the model, and returns the rows that differ by their names."""
    _, predictor, path, images = blind

    def rows(change):
        graph = onnx.load(path)
        change(graph.graph)
        onnx.save(graph, tmp_path / 'damaged.onnx')
        found = compare_steps(predictor, tmp_path / 'damaged.onnx', images=images)
        return {each.output for each in found if not each.within}

    return rows


def weights_of(graph, part):
    """The weight of the first convolution or product with these words in its name."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    return next(
        stored[node.input[1]]
        for node in graph.node
        if part in node.name and node.op_type in ('Conv', 'Gemm', 'MatMul', 'ConvTranspose')
        if node.input[1] in stored
    )


def scale(part, factor):
    def change(graph):
        weight = weights_of(graph, part)
        weight.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(weight) * factor, weight.name)
        )

    return change


def test_a_whole_file_agrees_although_nothing_is_found(blind):
    name, predictor, path, images = blind
    rows = compare_steps(predictor, path, images=images)
    assert agree(rows), rows
    assert all(row.count for row in rows)
    if name == 'fpn':
        return
    graph = deployed(predictor.model, OnnxSession(path))
    batch = [predictor.prepare(image) for image in images[:1]]
    data = {key: [each[key] for each in batch] for key in batch[0]}
    with torch.no_grad():
        ours, theirs = graph.test_step(data), predictor.predict(batch)
    ends = compare(ours, theirs)
    assert all(row.count == 0 and row.within for row in ends) and not agree(ends)
    boxes = next(row for row in rows if row.output == 'best boxes (pixels)')
    assert boxes.count == 4 * 10 * len(images)  # as many as the model may find


def test_the_file_itself_has_no_other_inputs_and_outputs(blind):
    name, _, path, _ = blind
    names = [each.name for each in OnnxSession(path).outputs]
    ends = dict(retinanet=['num_dets', 'dets', 'labels'], fpn=['output'])
    assert names == ends.get(name, [*ends['retinanet'], 'masks'])
    tensors = {output for node in onnx.load(path).graph.node for output in node.output}
    assert any(tensor.startswith(STEP) for tensor in tensors)


def test_a_damaged_network_differs(blind, damaged):
    name = blind[0]
    rows = dict(
        retinanet={'class logits', 'box deltas'},
        mask_rcnn={'RPN logits', 'RPN deltas', 'class logits'},
        fpn={'logits'},
    )[name]
    assert damaged(scale('/backbone/', 1.01)) >= {f'{row} (of their spread)' for row in rows}


@pytest.mark.parametrize(
    'blind, head, row',
    [
        ('retinanet', '/retina_cls/', 'class logits (of their spread)'),
        ('retinanet', '/retina_reg/', 'box deltas (of their spread)'),
        ('mask_rcnn', '/rpn_cls/', 'RPN logits (of their spread)'),
        ('mask_rcnn', '/rpn_reg/', 'RPN deltas (of their spread)'),
        ('mask_rcnn', '/fc_cls/', 'class logits (of their spread)'),
        ('mask_rcnn', '/fc_reg/', 'box deltas (of their spread)'),
        ('mask_rcnn', '/conv_logits/', 'best boxes: mask probabilities'),
        ('fpn', '/conv_seg/', 'logits (of their spread)'),
    ],
    indirect=['blind'],
)
def test_a_damaged_layer_is_seen_in_its_own_step(blind, damaged, head, row):
    assert damaged(scale(head, 1.02)) == {row}


@pytest.mark.parametrize('blind', HEADS, indirect=True)
def test_a_damaged_post_processing_differs(blind, damaged):
    def other_boxes(graph):
        for node in graph.node:
            if node.op_type == 'Exp':  # of a box's growth
                node.op_type = 'Softplus'

    def other_overlap(graph):
        graph.initializer.append(numpy_helper.from_array(np.float32([0.05]), 'overlap'))
        last = [node for node in graph.node if node.op_type == 'NonMaxSuppression'][-1]
        last.input[3] = 'overlap'

    assert 'best boxes (pixels)' in damaged(other_boxes)
    assert damaged(other_overlap) == {'best boxes (pixels)'}


@pytest.mark.parametrize('blind', HEADS, indirect=True)
def test_a_file_without_steps(blind, damaged):
    def forget(graph):
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [each.replace(STEP, 'other/') for each in names]

    with pytest.raises(UserError, match='does not show what lies in front of its score threshold'):
        damaged(forget)


def test_the_threshold_lets_the_best_candidates_through():
    scores = np.random.default_rng(0).permutation(np.linspace(1e-4, 1e-2, 1000)).astype(np.float32)
    assert (scores > _threshold(scores)).sum() == CANDIDATES
    assert _threshold(scores[:CANDIDATES]) == 0
    assert _threshold(np.full(1000, 0.5, np.float32)) == 0  # all of them: they are equal
    equal = np.repeat(np.float32([0.9, 0.5, 0.1]), CANDIDATES - 10)
    assert (equal > _threshold(equal)).sum() == 2 * (CANDIDATES - 10)
    assert _threshold(np.full(5, -1, np.float32)) == 0
