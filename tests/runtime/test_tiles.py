from dataclasses import replace

import numpy as np
import pytest

from mmtrtvit.errors import UserError
from mmtrtvit.runtime import Detector, Segmentor
from mmtrtvit.runtime.masks import join
from mmtrtvit.runtime.merging import Logits, blend_logits, merge_detections, merge_label_maps
from mmtrtvit.runtime.results import Detections, LabelMap
from mmtrtvit.runtime.tiling import Tile, tiles_of


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


def merged(*parts, tiles, **options):
    found = merge_detections(parts, tiles, size=(100, 160), **options)
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


def test_an_object_that_a_border_cuts_is_put_together():
    cut = (60, 10, 100, 30, 0.9, 0)  # the left tile ends at 100
    rest = (10, 10, 60, 30, 0.5, 0)  # of the right tile, at 70..120 of the image
    assert merged(boxes(cut), boxes(rest), tiles=[LEFT, RIGHT]) == [(60, 10, 120, 30, 0.9, 0)]
    # one too uncertain is taken in, but adds nothing
    assert merged(boxes(cut), boxes(rest), tiles=[LEFT, RIGHT], score_thr=0.5) == [
        (60, 10, 100, 30, 0.9, 0)
    ]


def test_only_what_a_border_cuts_is_put_together():
    around, inside = (10, 10, 90, 60, 0.9, 0), (5, 5, 40, 50, 0.8, 0)  # two objects of one tile
    assert len(merged(boxes(around, inside), boxes(), tiles=[LEFT, RIGHT])) == 2
    assert merged(boxes(around, inside), boxes(), tiles=[LEFT, RIGHT], merge='all') == [
        (5, 5, 90, 60, 0.9, 0)
    ]
    other = (0, 5, 31, 50, 0.8, 0)  # of the right tile, whose left border cuts it
    assert merged(boxes(around), boxes(other), tiles=[LEFT, RIGHT]) == [(10, 5, 91, 60, 0.9, 0)]
    other = (3, 12, 10, 20, 0.8, 0)  # which nothing cuts
    assert len(merged(boxes(around), boxes(other), tiles=[LEFT, RIGHT])) == 2


def test_another_way_to_merge_is_refused(bright):
    with pytest.raises(UserError, match="tile_merge is 'nms', expected cut or all"):
        Detector(bright())(np.zeros((50, 50, 3), np.uint8), tile=(30, 30), tile_merge='nms')


@pytest.mark.parametrize('score', [0.1, 0.5])
def test_boxes_are_merged_as_sahi_does(score):
    combine = pytest.importorskip('sahi.postprocess.combine')
    from sahi.prediction import ObjectPrediction

    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 80, (200, 2))
    found = np.concatenate(
        [
            corners,
            corners + rng.uniform(4, 60, (200, 2)),
            rng.uniform(score, 1, (200, 1)),
            rng.integers(0, 3, (200, 1)),
        ],
        axis=1,
    ).astype(np.float32)
    theirs = combine.GreedyNMMPostprocess(0.5, 'IOS', class_agnostic=False)(
        [
            ObjectPrediction(
                bbox=row[:4].tolist(), score=float(row[4]), category_id=int(row[5]), full_shape=None
            )
            for row in found
        ]
    )
    expected = sorted(
        (*each.bbox.to_xyxy(), round(each.score.value, 2), each.category.id) for each in theirs
    )
    ours = merged(boxes(*found), tiles=[Tile(0, 0, 100, 160)], merge='all', score_thr=score)
    assert 3 < len(ours) < 150
    np.testing.assert_allclose(sorted(ours), expected, atol=1e-3)


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
    found = merge_detections([first, second], [LEFT, RIGHT], size=(100, 160))
    assert found.note == 'shrunk' and found.size == (100, 160)
    assert found.masks.sum(axis=(1, 2)).tolist() == [0, 64] and found.masks[1, 1:9, 1:9].all()


def test_masks_that_a_border_cuts_are_put_together():
    def with_mask(*row):
        found = boxes(row)
        return replace(found, cells=np.ones((1, 28, 28), np.float32))

    parts = with_mask(60, 10, 100, 30, 0.9, 0), with_mask(10, 10, 60, 30, 0.5, 0)
    found = merge_detections(parts, [LEFT, RIGHT], size=(100, 160))
    mask = found.mask(0)
    assert found.boxes.tolist() == [[60, 10, 120, 30]]
    assert mask[11:29, 61:119].all() and mask.sum() <= 20 * 60
    # of two that lie apart in the common box, the place between stays free
    parts = with_mask(60, 10, 100, 30, 0.9, 0), with_mask(30, 20, 60, 80, 0.5, 0)
    halves = merge_detections(parts, [LEFT, RIGHT], size=(100, 160))
    assert len(halves) == 2
    joined = join(
        np.ones((2, 28, 28), np.float32),
        np.array([[0, 0, 10, 10], [30, 30, 40, 40]], np.float32),
        np.array([0, 0, 40, 40], np.float32),
    )
    assert joined[3, 3] == joined[24, 24] == 1 and joined[3, 24] == joined[14, 14] == 0


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


def test_logits_are_blended_by_the_distance_from_the_border():
    tiles = tiles_of((4, 12), (4, 8), 0.5)
    assert [tile.left for tile in tiles] == [0, 4]
    left, right = np.zeros((2, 2, 4, 8), np.float32)
    left[0], right[1] = 1, 3  # the right tile is three times as sure

    def blended(*parts):
        results = (Logits(iter(part), 2) for part in parts)
        return blend_logits(results, tiles, size=(4, 12), label=lambda sums: sums.argmax(axis=0))

    labels = blended(left, right).labels
    # weights at 4..8 of the image: 7, 5, 3, 1 of 8 for the left one
    np.testing.assert_array_equal(labels, np.tile([0] * 5 + [1] * 7, (4, 1)))
    right[1] = 0.1
    np.testing.assert_array_equal(blended(left, right).labels[0], [0] * 8 + [1] * 4)


def test_blended_logits_are_a_mean():
    size, rng = (50, 100), np.random.default_rng(0)
    whole = rng.normal(size=(3, *size)).astype(np.float32)
    tiles = tiles_of(size, (30, 40), 0.4)
    parts = (
        Logits(whole[:, each.top : each.bottom, each.left : each.right], 3, 'shrunk')
        for each in tiles
    )
    seen = []
    found = blend_logits(
        parts, tiles, size=size, label=lambda sums: seen.append(sums) or sums.argmax(axis=0)
    )
    np.testing.assert_allclose(np.concatenate(seen, axis=1), whole, atol=1e-5)
    np.testing.assert_array_equal(found.labels, whole.argmax(axis=0))
    assert found.note == 'shrunk' and len(seen) == len({tile.top for tile in tiles})


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
    found = detector(image, tile=(100, 100), overlap=0.2, tile_whole=True)
    np.testing.assert_allclose(found.boxes, [[40, 20, 160, 180]], atol=4)
    assert len(detector(image, tile=(100, 100), overlap=0.2)) == 4  # its corners


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


def test_a_segmentor_of_one_channel_in_tiles(made):
    segmentor = Segmentor(
        made(
            '(float[B, 3, H, W] input) => (float[B, 1, H, W] output)',
            """level = Constant <value: tensor = float {100}> ()
            mean = ReduceMean <axes = [1], keepdims = 1> (input)
            output = Sub (mean, level)""",
            task='Segmentor',
            params=dict(num_classes=2, threshold=0.4),
        )
    )
    image = np.random.default_rng(0).integers(90, 110, (90, 130, 3), dtype=np.uint8)
    tiled = segmentor(image, tile=(40, 50), overlap=0.3, batch_size=3)
    assert 0.1 < tiled.labels.mean() < 0.9
    np.testing.assert_array_equal(tiled.labels, segmentor(image).labels)


def test_a_segmentor_that_gives_label_maps_in_tiles(made):
    segmentor = Segmentor(
        made(
            '(float[B, 3, H, W] input) => (int64[B, H, W] output)',
            'output = ArgMax <axis = 1, keepdims = 0> (input)',
            task='Segmentor',
            params=dict(num_classes=3),
        )
    )
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    tiled = segmentor(image, tile=(40, 50), overlap=0.3, batch_size=3)
    np.testing.assert_array_equal(tiled.labels, image.argmax(axis=2))
