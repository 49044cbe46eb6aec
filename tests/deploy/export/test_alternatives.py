"""NMS and RoIAlign without the ops of these names."""

import onnx
import onnxruntime
import pytest
import torch
from torchvision.ops import roi_align

# Ops that TensorRT for RTX lacks, or has only with a GPU.
MISSING = {'NonMaxSuppression', 'NonZero', 'RoiAlign'}


def random_boxes(generator, batch, count, size=200.0):
    corners = torch.rand(batch, count, 2, generator=generator) * size
    sides = torch.rand(batch, count, 2, generator=generator) * 60
    return torch.cat([corners, (corners + sides).clamp(max=size)], dim=2)


@pytest.mark.parametrize('threshold', [0.1, 0.5, 0.7])
@pytest.mark.parametrize('seed', range(4))
def test_matrix_nms_keeps_what_greedy_nms_keeps(seed, threshold):
    from mmtrtvit.deploy.export.ops import keep_by_matrix_nms, keep_by_nms

    generator = torch.Generator().manual_seed(seed)
    boxes = random_boxes(generator, 3, 400)
    boxes[:, :40] = boxes[:, 40:80]  # the same box twice
    boxes[:, 80:90, 2:] = boxes[:, 80:90, :2]  # without area
    scores = torch.randint(-20, 100, (3, 400), generator=generator) / 100  # with ties
    expected = keep_by_nms(boxes, scores, threshold)
    assert 0 < expected.sum() < (scores > 0).sum()
    assert torch.equal(keep_by_matrix_nms(boxes, scores, threshold), expected)


@pytest.mark.parametrize('rounds, equal', [(8, False), (12, True)])
def test_matrix_nms_needs_a_round_for_each_link_of_a_chain(monkeypatch, rounds, equal):
    from mmtrtvit.deploy.export import ops

    left = torch.arange(12.0) * 4
    boxes = torch.stack([left, left * 0, left + 10, left * 0 + 10], dim=1)[None]
    scores = torch.linspace(0.9, 0.1, 12)[None]
    monkeypatch.setattr(ops, 'ROUNDS', rounds)
    expected = ops.keep_by_nms(boxes, scores, 0.4)
    assert expected[0].tolist() == [1, 0] * 6
    assert torch.equal(ops.keep_by_matrix_nms(boxes, scores, 0.4), expected) is equal


def test_matrix_nms_without_a_candidate():
    from mmtrtvit.deploy.export.ops import keep_by_matrix_nms

    boxes = random_boxes(torch.Generator().manual_seed(0), 2, 5)
    assert keep_by_matrix_nms(boxes, torch.full((2, 5), -1.0), 0.5).sum() == 0


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('samples', [1, 2, 3])
@pytest.mark.parametrize('size', [(25, 17), (1, 3)])
def test_pooling_by_a_grid_is_roi_align(size, samples, aligned):
    from mmtrtvit.deploy.export.ops import pool_by_grid

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, *size, generator=generator)
    boxes = random_boxes(generator, 2, 30, 8.0 * min(size))
    boxes[:, 0] = torch.tensor([0.0, 0.0, size[1] * 8, size[0] * 8])
    if not aligned:  # counts every side as one place or more, which may stick out
        boxes[..., :2] = (boxes[..., :2] - 8).clamp(min=0)
    images = torch.arange(2.0).reshape(2, 1, 1).expand(2, 30, 1)
    rois = torch.cat([images, boxes], dim=2).flatten(0, 1)
    expected = roi_align(x, rois, (5, 3), 1 / 8, samples, aligned)
    found = pool_by_grid(
        x, boxes, output_size=(5, 3), scale=1 / 8, sampling_ratio=samples, aligned=aligned
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.fixture(scope='module')
def pairs(build):
    """A detector as it is exported, and the same without the missing ops, by kind."""
    from mmtrtvit.deploy.export.detectors import ExportedOneStageDetector, ExportedTwoStageDetector

    retinanet = build('retinanet_trtvit_b')
    retinanet.test_cfg.nms_pre = 100
    mask_rcnn = build('mask_rcnn_efficientvit_m2')
    for extractor in (mask_rcnn.roi_head.bbox_roi_extractor, mask_rcnn.roi_head.mask_roi_extractor):
        for layer in extractor.roi_layers:
            layer.sampling_ratio = 2
    return {
        'one stage': (
            ExportedOneStageDetector(retinanet).eval(),
            ExportedOneStageDetector(retinanet, nms='matrix').eval(),
        ),
        'two stages': (
            ExportedTwoStageDetector(mask_rcnn).eval(),
            ExportedTwoStageDetector(mask_rcnn, nms='matrix', pooling='grid').eval(),
        ),
    }


@pytest.mark.parametrize('kind', ['one stage', 'two stages'])
def test_a_detector_without_the_ops_finds_the_same(pairs, export_any_size, images, kind, tmp_path):
    usual, other = pairs[kind]
    path = export_any_size(other, tmp_path / 'end2end.onnx').path
    ops = {node.op_type for node in onnx.load(path).graph.node}
    assert not ops & MISSING and 'MatMul' in ops
    session = onnxruntime.InferenceSession(str(path))
    for batch, size, padded in [(1, (100, 130), (128, 160)), (3, (50, 40), (64, 64))]:
        x, sizes = images(batch, size, padded)
        with torch.no_grad():
            expected = usual(x, sizes)
            found = other(x, sizes)
        assert (expected[0] > 0).all()
        in_onnx = session.run(None, dict(input=x.numpy(), sizes=sizes.numpy()))
        for name, ours, theirs, third in zip(usual.output_names, expected, found, in_onnx):
            atol = 1e-4 if name == 'masks' else 1e-2
            torch.testing.assert_close(theirs, ours, rtol=0, atol=atol)
            torch.testing.assert_close(torch.from_numpy(third), ours, rtol=0, atol=atol)
