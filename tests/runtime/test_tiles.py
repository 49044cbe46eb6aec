import numpy as np
import pytest

from mmtrtvit.errors import UserError
from mmtrtvit.runtime import Detector, Segmentor
from mmtrtvit.runtime.results import Detections, LabelMap
from mmtrtvit.runtime.tiles import Tile, merge_detections, merge_label_maps, tiles_of


@pytest.mark.parametrize(
    'size, tile, overlap',
    [
        ((100, 100), (40, 50), 0.2),
        ((101, 333), (64, 64), 0.25),
        ((30, 40), (50, 50), 0.5),
        ((50, 50), (50, 50), 0.9),
        ((10, 1000), (10, 10), 0),
        ((97, 64), (32, 32), 0.99),
    ],
)
def test_tiles_cover_the_image_and_overlap(size, tile, overlap):
    tiles = tiles_of(size, tile, overlap)
    covered = np.zeros(size, int)
    for each in tiles:
        covered[each.top : each.bottom, each.left : each.right] += 1
        assert each.bottom - each.top == min(tile[0], size[0])
        assert each.right - each.left == min(tile[1], size[1])
    assert covered.all()
    rows = sorted({(each.top, each.bottom) for each in tiles})
    for (_, end), (start, _) in zip(rows, rows[1:]):
        assert end - start >= int(tile[0] * overlap) - 1


@pytest.mark.parametrize(
    'tile, overlap, message',
    [((0, 5), 0.2, '5 x 0 pixels'), ((5, 5), 1, 'the overlap is 1'), ((5, 5), -0.1, 'is -0.1')],
)
def test_tiles_that_make_no_sense(tile, overlap, message):
    with pytest.raises(UserError, match=message):
        tiles_of((100, 100), tile, overlap)


def boxes(*rows, size=(100, 100)):
    rows = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32), size)


def merged(*parts, tiles):
    found = merge_detections(parts, tiles, size=(100, 160), iou_threshold=0.5)
    return [
        (*map(float, box), round(float(score), 2), int(label))
        for box, score, label in zip(found.boxes, found.scores, found.labels)
    ]


LEFT, RIGHT = Tile(0, 0, 100, 100), Tile(0, 60, 100, 160)


def test_an_object_of_two_tiles_is_found_once():
    same = merged(
        boxes((70, 10, 90, 30, 0.8, 0)), boxes((10, 10, 30, 31, 0.9, 0)), tiles=[LEFT, RIGHT]
    )
    assert same == [(70, 10, 90, 31, 0.9, 0)]


def test_other_classes_and_places_stay():
    found = merged(
        boxes((70, 10, 90, 30, 0.8, 0), (5, 5, 20, 20, 0.7, 1)),
        boxes((10, 10, 30, 30, 0.9, 1), (60, 10, 90, 30, 0.6, 0)),
        tiles=[LEFT, RIGHT],
    )
    assert [(row[4], row[5]) for row in found] == [(0.9, 1), (0.8, 0), (0.7, 1), (0.6, 0)]


def test_the_whole_object_replaces_its_cut_part_whatever_the_scores():
    whole = (30, 10, 70, 30, 0.5, 0)  # of the right tile, at 90..130 of the image
    cut = (90, 10, 100, 30, 0.95, 0)  # the left tile ends at 100
    assert merged(boxes(cut), boxes(whole), tiles=[LEFT, RIGHT]) == [(90, 10, 130, 30, 0.5, 0)]
    # at the border of the image nothing is cut, and a small box in a large one is an object
    inside = (0, 0, 5, 5, 0.95, 0)
    around = (0, 0, 90, 90, 0.5, 0)
    assert len(merged(boxes(inside, around), boxes(), tiles=[LEFT, RIGHT])) == 2
    # as it is between parts of one tile
    assert (
        len(
            merged(
                boxes((90, 10, 100, 20, 0.4, 0), (60, 0, 100, 60, 0.5, 0)),
                boxes(),
                tiles=[LEFT, RIGHT],
            )
        )
        == 2
    )


def test_masks_and_notes_come_along():
    first = Detections(*boxes((1, 1, 9, 9, 0.5, 0)).__dict__.values())
    first = Detections(
        first.boxes,
        first.scores,
        first.labels,
        first.size,
        np.ones((1, 28, 28), np.float32),
        0.5,
        'shrunk',
    )
    second = Detections(
        first.boxes,
        first.scores * 1.5,
        first.labels,
        first.size,
        np.zeros((1, 28, 28), np.float32),
        0.5,
        'shrunk',
    )
    found = merge_detections([first, second], [LEFT, RIGHT], size=(100, 160), iou_threshold=0.5)
    assert found.note == 'shrunk' and found.size == (100, 160)
    assert found.masks.sum(axis=(1, 2)).tolist() == [0, 64] and found.masks[1, 1:9, 1:9].all()


def test_each_pixel_has_the_label_of_the_tile_that_sees_it_best():
    tiles = tiles_of((50, 100), (30, 40), 0.25)
    truth = np.arange(5000).reshape(50, 100) % 251
    parts = []
    for each in tiles:
        part = truth[each.top : each.bottom, each.left : each.right].astype(np.uint8)
        # what is near a border that lies within the image is wrong
        part[: 3 * (each.top > 0)] = part[:, : 3 * (each.left > 0)] = 255
        part[len(part) - 3 * (each.bottom < 50) :] = 255
        part[:, part.shape[1] - 3 * (each.right < 100) :] = 255
        parts.append(LabelMap(part))
    np.testing.assert_array_equal(merge_label_maps(parts, tiles, (50, 100)).labels, truth)


def test_a_detector_finds_all_objects_of_a_large_image(bright):
    detector = Detector(bright(params=dict(nms=dict(iou_threshold=0.5))))
    image = np.zeros((200, 300, 3), np.uint8)
    objects = [(10, 150, 30, 170), (95, 20, 110, 40), (250, 150, 299, 199)]
    for left, top, right, bottom in objects:
        image[top:bottom, left:right] = 255
    assert len(detector(image)) == 1  # the box around all of them
    for batch_size in (1, 4):
        found = detector(image, tile=(100, 100), overlap=0.5, batch_size=batch_size)
        assert sorted(map(tuple, found.boxes.tolist())) == sorted(objects)
        assert found.size == (200, 300)
    small = detector(image, tile=(500, 500))
    assert small.boxes.tolist() == [[10, 20, 299, 199]]


def test_the_whole_image_finds_what_is_larger_than_a_tile(bright):
    resize = dict(type='Resize', size=[50, 50], keep_ratio=True)
    detector = Detector(bright(transforms=[resize]))
    image = np.zeros((200, 200, 3), np.uint8)
    image[20:180, 40:160] = 255
    found = detector(image, tile=(100, 100), overlap=0.2)
    np.testing.assert_allclose(found.boxes, [[40, 20, 160, 180]], atol=4)


def test_a_segmentor_in_tiles_is_the_segmentor(made):
    segmentor = Segmentor(
        made(
            '(float[B, 3, H, W] input) => (float[B, 3, H, W] output)',
            'output = Identity (input)',
            task='Segmentor',
            params=dict(num_classes=3),
        )
    )
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    whole = segmentor(image)
    np.testing.assert_array_equal(whole.labels, image.argmax(axis=2))
    tiled = segmentor(image, tile=(40, 50), overlap=0.3, batch_size=3)
    np.testing.assert_array_equal(tiled.labels, whole.labels)
