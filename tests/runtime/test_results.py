"""Masks, run lengths, COCO files, drawings and the resizing of logits against other programs."""

import json
from dataclasses import replace

import numpy as np
import pycocotools.mask
import pytest
import torch
from pycocotools.coco import COCO
from torch.nn.functional import interpolate

from mmtrtvit.errors import UserError
from mmtrtvit.runtime.coco import CocoFile, finish
from mmtrtvit.runtime.drawing import draw
from mmtrtvit.runtime.legend import Legend
from mmtrtvit.runtime.masks import label_run_lengths, paste, run_lengths
from mmtrtvit.runtime.results import Detections, LabelMap
from mmtrtvit.runtime.segmentor import resize

LEGEND = Legend(('disc', 'ring'), ((255, 0, 0), (0, 255, 0)))


def some(count=3, size=(60, 80), masks=True):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, [size[1] * 0.6, size[0] * 0.6], (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(4, 25, (count, 2))], axis=1)
    return Detections(
        boxes.astype(np.float32),
        np.linspace(0.9, 0.3, count, dtype=np.float32),
        np.arange(count, dtype=np.int32) % 2,
        size,
        rng.random((count, 28, 28), dtype=np.float32) if masks else None,
    )


@pytest.mark.parametrize(
    'box',
    [
        (10.3, 5.6, 40.1, 44.9),
        (0, 0, 80, 60),
        (-3.2, -1, 5.5, 7.1),
        (70.2, 50, 80, 60),
        (12.2, 8.4, 13.8, 9.9),
        (20, 20, 20, 33.3),
        (7.25, 7.25, 7.25, 7.25),
    ],
)
def test_masks_are_pasted_like_mmdet_does(box):
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    cells = torch.rand(28, 28, generator=torch.Generator().manual_seed(0))
    cells[:, :10] += 0.4
    box = torch.tensor(box)
    part, place = _do_paste_mask(cells[None, None], box[None], 60, 80, skip_empty=True)
    expected = np.zeros((60, 80), bool)
    expected[place] = (part[0] >= 0.5).numpy()
    mask = paste(cells.numpy(), box.numpy(), size=(60, 80), threshold=0.5)
    assert (mask != expected).sum() <= 1 and expected.any()


@pytest.mark.parametrize(
    'shape, share',
    [
        ((7, 5), 0.5),
        ((1, 1), 0.0),
        ((1, 1), 1.0),
        ((300, 200), 0.001),
        ((300, 200), 0.999),
        ((64, 48), 0.0),
        ((64, 48), 1.0),
        ((2000, 1500), 0.00001),
    ],
)
def test_run_lengths_are_those_of_pycocotools(shape, share):
    mask = np.random.default_rng(1).random(shape) < share
    code = run_lengths(mask)
    expected = pycocotools.mask.encode(np.asfortranarray(mask, np.uint8))
    assert code['counts'] == expected['counts'].decode() and code['size'] == list(shape)
    np.testing.assert_array_equal(pycocotools.mask.decode(code), mask)


def test_run_lengths_of_label_maps():
    labels = np.random.default_rng(0).integers(0, 4, (13, 9)).astype(np.uint16)
    labels[:, 3:6], labels[0, 0], labels[-1, -1] = 700, 700, 700
    codes = label_run_lengths(labels)
    assert codes.keys() == {0, 1, 2, 3, 700}
    for label, code in codes.items():
        assert code == run_lengths(labels == label)
    assert label_run_lengths(np.full((2, 3), 5)) == {5: run_lengths(np.ones((2, 3), bool))}


def test_detections_can_be_chosen():
    found = some(4)
    assert len(found) == 4 and found.masks.shape == (4, 60, 80) and found.masks.any()
    best = found.above(0.5)
    assert best.scores.tolist() == pytest.approx([0.9, 0.7]) and len(best.cells) == 2
    np.testing.assert_array_equal(best.masks, found.masks[:2])
    assert len(found.above(1)) == 0 and found.above(1).masks.shape == (0, 60, 80)
    whole = replace(found, cells=None, whole_masks=found.masks)
    assert whole.has_masks and found.has_masks and not some(masks=False).has_masks
    np.testing.assert_array_equal(whole.above(0.5).masks, best.masks)


@pytest.mark.parametrize('masks', [False, True])
def test_a_coco_file_can_be_loaded_and_matches_itself(masks, tmp_path):
    found = some(3, masks=masks)
    with CocoFile.open(tmp_path / 'predictions.json', LEGEND) as file:
        file.add('empty.jpg', found.above(1))
        file.add('a/b.jpg', found)
        file.add('drive.mp4', found[:1], frame=7)
    coco = COCO(tmp_path / 'predictions.json')
    assert [coco.imgs[number]['file_name'] for number in (1, 2, 3)] == [
        'empty.jpg',
        'a/b.jpg',
        'drive.mp4',
    ]
    assert coco.imgs[3]['frame'] == 7 and coco.imgs[2]['height'] == 60
    assert [cat['name'] for cat in coco.loadCats([1, 2])] == ['disc', 'ring']
    annotations = coco.loadAnns(coco.getAnnIds(2))
    assert [each['category_id'] for each in annotations] == [1, 2, 1]
    left, top, width, height = annotations[1]['bbox']
    assert (left, top, left + width, top + height) == pytest.approx(found.boxes[1])
    if masks:
        np.testing.assert_array_equal(coco.annToMask(annotations[1]), found.mask(1))
        assert annotations[1]['area'] == found.mask(1).sum()
    assert len(coco.loadRes(annotations).anns) == 3


def test_label_maps_are_stuff_results(tmp_path):
    labels = np.array([[0, 0, 1], [0, 2, 2], [0, 2, 2]], np.uint8)
    with CocoFile.open(tmp_path / 'predictions.json', LEGEND) as file:
        file.add('a.png', LabelMap(labels), label_map='label_maps/a.png')
    coco = COCO(tmp_path / 'predictions.json')
    assert coco.imgs[1]['label_map'] == 'label_maps/a.png'
    annotations = coco.loadAnns(coco.getAnnIds(1))
    assert [(each['category_id'], each['area']) for each in annotations] == [(1, 4), (3, 4), (2, 1)]
    for each in annotations:
        np.testing.assert_array_equal(coco.annToMask(each), labels == each['category_id'] - 1)
    assert coco.cats[3]['name'] == 'class 2'  # a class without a name has an entry, too
    assert coco.loadRes(annotations).anns[2]['bbox'].tolist() == [1, 1, 2, 2]


def test_given_numbers_are_used_and_none_is_made_up(tmp_path):
    path = tmp_path / 'predictions.json'
    with CocoFile.open(path, LEGEND, category_ids=[7, 90], info=dict(model='x')) as file:
        file.add('b.jpg', some(2, masks=False), image_id=41)
    content = json.loads(path.read_text())
    assert [image['id'] for image in content['images']] == [41]
    assert [(each['image_id'], each['category_id']) for each in content['annotations']] == [
        (41, 7),
        (41, 90),
    ]
    assert content['categories'] == [dict(id=7, name='disc'), dict(id=90, name='ring')]
    assert content['info'] == dict(model='x')
    with (
        pytest.raises(UserError, match='class 1, but has names of 1 classes'),
        CocoFile.open(path, Legend(('disc',)), category_ids=[7]) as file,
    ):
        file.add('b.jpg', some(2, masks=False))


def test_a_coco_file_of_nothing_and_one_that_failed(tmp_path):
    path = tmp_path / 'predictions.json'
    with CocoFile.open(path, LEGEND):
        pass
    assert COCO(path).anns == {} and len(COCO(path).cats) == 2
    before = path.read_bytes()
    with pytest.raises(RuntimeError), CocoFile.open(path, LEGEND):
        raise RuntimeError
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_what_was_done_before_a_failure_is_kept(tmp_path):
    path, lines = tmp_path / 'predictions.json', tmp_path / 'predictions.jsonl'
    with pytest.raises(RuntimeError), CocoFile.open(path, LEGEND, info=dict(model='x')) as file:
        file.add('a.jpg', some())
        file.add('b.png', LabelMap(np.full((3, 3), 9, np.uint8)))
        raise RuntimeError
    assert not path.exists()
    with lines.open('a') as cut_off:
        cut_off.write('{"images": [{"id": 3')
    assert finish(lines) == path and [*tmp_path.iterdir()] == [path]
    content = json.loads(path.read_text())
    assert [image['file_name'] for image in content['images']] == ['a.jpg', 'b.png']
    assert len(content['annotations']) == len(some()) + 1 and content['info'] == dict(model='x')
    assert [each['id'] for each in content['categories']] == [1, 2, 10]
    with pytest.raises(UserError, match='there is no file .*predictions.jsonl'):
        finish(lines)
    for text in ('no\n', '[]\n', '7\n', '{"images": 7}\n', '{"info": {}, "categories": 1}\n'):
        lines.write_text(text)
        with pytest.raises(UserError, match='jsonl holds no results of a run'):
            finish(lines)
        assert json.loads(path.read_text()) == content


def test_a_link_in_the_place_of_the_lines_is_not_followed(tmp_path):
    mine = tmp_path / 'mine.txt'
    mine.write_text('mine')
    (tmp_path / 'predictions.jsonl').symlink_to(mine)
    with CocoFile.open(tmp_path / 'predictions.json', LEGEND) as file:
        file.add('a.jpg', some())
    assert mine.read_text() == 'mine'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['mine.txt', 'predictions.json']


def test_drawn_boxes_and_masks():
    image = np.full((60, 80, 3), 100, np.uint8)
    left, top, right, bottom = 20, 25, 60, 50
    mask = np.zeros((1, 60, 80), bool)
    mask[:, 30:45, 28:52] = True
    boxes = np.float32([[left, top, right, bottom]])
    found = replace(some(1), boxes=boxes, cells=None, whole_masks=mask)
    drawn = draw(image, found, LEGEND)
    assert (image == 100).all() and drawn.shape == image.shape
    assert drawn[bottom, (left + right) // 2].tolist() == [0, 0, 255]  # red, as BGR
    assert (drawn[33:42, 31:49] == [50, 50, 177]).all()
    assert (drawn[44, 31:49] > 200).all()  # the outline
    assert (drawn[-1, -1] == 100).all()
    assert draw(image, some(2), Legend()).shape == image.shape


def test_names_without_ascii_letters():
    image, found = np.full((60, 200, 3), 100, np.uint8), some(1, masks=False)
    drawn = [draw(image, found, Legend((name,))) for name in ('Bäume', 'Baume', '木', 'class 0')]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[2], drawn[3])
    assert (drawn[0] != drawn[2]).any()


def test_drawn_label_maps():
    labels = np.zeros((60, 200), np.uint8)
    labels[:, 100:] = 1
    drawn = draw(np.full((60, 200, 3), 100, np.uint8), LabelMap(labels), LEGEND)
    assert drawn[0, 0].tolist() == [50, 50, 177] and drawn[0, -1].tolist() == [50, 177, 50]
    assert (drawn[20:40, 20:180] > 200).all(axis=2).any()  # the names
    assert list(LabelMap(labels).shares().items()) == [(0, 0.5), (1, 0.5)]


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('size', [(64, 96), (33, 50), (7, 5), (16, 24), (1, 1), (200, 24)])
def test_logits_are_resized_as_pytorch_does(size, align_corners):
    plane = np.random.default_rng(0).standard_normal((16, 24), dtype=np.float32)
    expected = interpolate(
        torch.from_numpy(plane)[None, None], size, mode='bilinear', align_corners=align_corners
    )
    found = resize(plane, size, align_corners)
    np.testing.assert_allclose(found, expected[0, 0].numpy(), rtol=0, atol=1e-5)
