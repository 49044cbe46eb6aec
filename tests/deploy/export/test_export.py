"""Exported models against ``predict`` of MMDetection and MMSegmentation."""

import copy
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

SIZES = [(1, (100, 130), (128, 160)), (3, (64, 96), (64, 96)), (2, (50, 40), (64, 64))]
DETECTORS = 'retinanet_trtvit_b', 'mask_rcnn_efficientvit_m2'
SEGMENTORS = 'upernet_trtvit_a', 'fpn_efficientvit_m4'


@pytest.fixture(scope='module', params=DETECTORS)
def detector(request, build, exportable):
    return build(request.param), exportable(request.param)


@pytest.fixture(scope='module', params=SEGMENTORS)
def segmentor(request, build, exportable):
    return build(request.param), exportable(request.param)


@pytest.mark.parametrize('batch, size, padded', SIZES)
def test_a_detector_finds_what_predict_finds(detector, images, batch, size, padded):
    from mmdet.structures import DetDataSample

    model, exported = detector
    x, sizes = images(batch, size, padded)
    samples = [
        DetDataSample(
            metainfo=dict(
                img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0), batch_input_shape=padded
            )
        )
        for _ in range(batch)
    ]
    with torch.no_grad():
        expected = [sample.pred_instances for sample in model.predict(x, samples)]
        outputs = dict(zip(exported.output_names, exported(x, sizes)))
    assert any(len(instances) for instances in expected)
    for index, instances in enumerate(expected):
        count = int(outputs['num_dets'][index])
        assert count == len(instances)
        dets = outputs['dets'][index]
        torch.testing.assert_close(dets[:count, :4], instances.bboxes, rtol=0, atol=1e-4)
        torch.testing.assert_close(dets[:count, 4], instances.scores, rtol=0, atol=1e-6)
        assert outputs['labels'][index, :count].tolist() == instances.labels.tolist()
        assert (outputs['labels'][index, count:] == -1).all() and (dets[count:] == 0).all()


@pytest.mark.parametrize('batch, size, padded', SIZES)
def test_a_segmentor_has_the_logits_of_predict(segmentor, images, batch, size, padded):
    model, exported = segmentor
    x, _ = images(batch, padded, padded)
    with torch.no_grad():
        expected = model(x, mode='tensor')
        (logits,) = exported(x)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)


def test_label_maps_are_the_best_classes_of_the_enlarged_logits(segmentor, images):
    from mmtrtvit.deploy.export.segmentors import ExportedSegmentor

    model = copy.deepcopy(segmentor[0])
    x, _ = images(2, (64, 96), (64, 96))
    with torch.no_grad():
        classifier = model.decode_head.conv_seg
        classifier.bias -= model(x, mode='tensor').mean(dim=(0, 2, 3))  # no class wins everywhere
        logits = model.encode_decode(x, [dict(img_shape=(64, 96))] * 2)
        (labels,) = ExportedSegmentor(model, with_argmax=True).eval()(x)
    assert labels.dtype == torch.int32 and len(labels.unique()) > 1
    assert (labels == logits.argmax(dim=1)).float().mean() > 0.9999


@pytest.fixture
def session(export_any_size, tmp_path):
    def open_session(module, exporter='torchscript'):
        path = tmp_path / 'end2end.onnx'
        export_any_size(module, path, exporter)
        assert [file.name for file in tmp_path.iterdir()] == [path.name]
        return onnxruntime.InferenceSession(str(path))

    return open_session


def test_one_file_of_a_detector_for_all_sizes(detector, session, images):
    _, exported = detector
    graph = session(exported)
    for batch, size, padded in SIZES:
        x, sizes = images(batch, size, padded)
        with torch.no_grad():
            expected = exported(x, sizes)
        found = graph.run(None, dict(input=x.numpy(), sizes=sizes.numpy()))
        for ours, theirs in zip(expected, found):
            torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=0, atol=1e-2)


def test_one_file_of_a_segmentor_for_all_sizes(segmentor, session, images):
    _, exported = segmentor
    graph = session(exported)
    for batch, _, size in [*SIZES, (1, None, (101, 67))]:
        x, _ = images(batch, size, size)
        with torch.no_grad():
            (expected,) = exported(x)
        (found,) = graph.run(None, dict(input=x.numpy()))
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-3)


@pytest.mark.slow
def test_both_exporters_give_the_same(exportable, session, images):
    exported = exportable('retinanet_trtvit_b')
    graph = session(exported, 'dynamo')
    for batch, size, padded in SIZES:
        x, sizes = images(batch, size, padded)
        with torch.no_grad():
            expected = exported(x, sizes)
        found = graph.run(None, dict(input=x.numpy(), sizes=sizes.numpy()))
        for ours, theirs in zip(expected, found):
            torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=0, atol=1e-2)


def test_a_failed_export_leaves_an_old_file_alone(tmp_path, monkeypatch):
    from mmtrtvit.deploy.export.to_onnx import export

    def fail(module, inputs, path, **options):
        Path(path).write_bytes(b'half')
        raise RuntimeError('broken')

    monkeypatch.setattr(torch.onnx, 'export', fail)
    old = tmp_path / 'end2end.onnx'
    old.write_bytes(b'old')
    with pytest.raises(RuntimeError, match='broken'):
        export(torch.nn.Identity(), dict(x=torch.zeros(1)), path=old, output_names=['y'])
    assert old.read_bytes() == b'old' and list(tmp_path.iterdir()) == [old]


def test_equal_scores_of_different_logits_keep_their_order(build, exportable, session):
    """Where a score of 1 has many logits, NMS takes the first anchor, as in MMDetection.

    With more anchors than nms_pre, MMDetection sorts first, and equal scores in any order.
    """
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    from mmtrtvit.deploy.verify.compare import match

    model = copy.deepcopy(build('mask_rcnn_efficientvit_m2'))
    torch.nn.init.normal_(model.rpn_head.rpn_cls.weight, std=0.1)
    torch.nn.init.constant_(model.rpn_head.rpn_cls.bias, 30)
    x = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    sample = DetDataSample(
        metainfo=dict(img_shape=(32, 64), ori_shape=(32, 64), scale_factor=(1.0, 1.0))
    )
    graph = session(type(exportable('mask_rcnn_efficientvit_m2'))(model).eval())
    with torch.no_grad():
        maps = model.extract_feat(x)
        proposals = model.rpn_head.predict(maps, [sample], rescale=False)[0]
        expected = model.predict(x, [sample])[0].pred_instances
    assert (proposals.scores == 1).all()
    count, dets, labels, _ = graph.run(
        None, dict(input=x.numpy(), sizes=np.array([[32, 64]], np.float32))
    )
    found = InstanceData(
        bboxes=torch.from_numpy(dets[0, : count.item(), :4]),
        scores=torch.from_numpy(dets[0, : count.item(), 4]),
        labels=torch.from_numpy(labels[0, : count.item()]),
    )
    pairs, _ = match(found, expected, reach=0.1)
    assert len(pairs) == len(found) == len(expected)
