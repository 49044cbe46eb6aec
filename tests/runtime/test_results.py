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
from mmtrtvit.runtime.coco import CocoFile, Ids
from mmtrtvit.runtime.drawing import draw
from mmtrtvit.runtime.masks import paste, run_lengths
from mmtrtvit.runtime.results import Detections, LabelMap
from mmtrtvit.runtime.segmentor import resize
from mmtrtvit.runtime.work_dir import WorkDir

NAMES = WorkDir(None, 'Detector', None, [], {}, ('disc', 'ring'), ((255, 0, 0), (0, 255, 0)))


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


def test_detections_can_be_chosen():
    found = some(4)
    assert len(found) == 4 and found.masks.shape == (4, 60, 80) and found.masks.any()
    best = found.above(0.5)
    assert best.scores.tolist() == pytest.approx([0.9, 0.7]) and len(best.cells) == 2
    np.testing.assert_array_equal(best.masks, found.masks[:2])
    assert len(found.above(1)) == 0 and found.above(1).masks.shape == (0, 60, 80)


@pytest.mark.parametrize('masks', [False, True])
def test_a_coco_file_can_be_loaded_and_matches_itself(masks, tmp_path):
    found = some(3, masks=masks)
    with CocoFile.open(tmp_path / 'predictions.json', NAMES.classes) as file:
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


def test_numbers_of_a_data_set(tmp_path):
    path = tmp_path / 'annotations.json'
    path.write_text(
        json.dumps(
            dict(images=[dict(id=41, file_name='b.jpg')], categories=[dict(id=90, name='ring')])
        )
    )
    with CocoFile.open(tmp_path / 'predictions.json', NAMES.classes, Ids.of_file(path)) as file:
        file.add('b.jpg', some(2, masks=False))
    content = json.loads((tmp_path / 'predictions.json').read_text())
    assert [(each['image_id'], each['category_id']) for each in content['annotations']] == [
        (41, 1),
        (41, 90),
    ]
    with pytest.raises(UserError, match='cannot be read as COCO annotations'):
        Ids.of_file(tmp_path / 'none.json')


def test_a_coco_file_of_nothing_and_one_that_failed(tmp_path):
    path = tmp_path / 'predictions.json'
    with CocoFile.open(path, NAMES.classes):
        pass
    assert COCO(path).anns == {} and len(COCO(path).cats) == 2
    before = path.read_bytes()
    with pytest.raises(RuntimeError), CocoFile.open(path, NAMES.classes) as file:
        file.add('a.jpg', some())
        raise RuntimeError
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_drawn_boxes_and_masks():
    image = np.full((60, 80, 3), 100, np.uint8)
    found = replace(some(1), boxes=np.float32([[20, 25, 60, 50]]))
    drawn = draw(image, found, names=NAMES)
    assert (image == 100).all() and drawn.shape == image.shape
    left, top, right, bottom = found.boxes[0].round().astype(int)
    assert drawn[bottom, (left + right) // 2].tolist() == [0, 0, 255]  # red, as BGR
    inside = found.mask(0)
    inside[:, : left + 2] = inside[:, right - 1 :] = inside[: top + 2] = inside[bottom - 1 :] = (
        False
    )
    assert inside.any() and (drawn[inside] == [50, 50, 177]).all()
    assert (drawn[-1, -1] == 100).all()
    assert draw(image, some(2), names=WorkDir(None, 'Detector', None, [], {})).shape == image.shape


def test_drawn_label_maps():
    labels = np.zeros((60, 200), np.uint8)
    labels[:, 100:] = 1
    drawn = draw(np.full((60, 200, 3), 100, np.uint8), LabelMap(labels), names=NAMES)
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
