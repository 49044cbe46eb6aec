"""What an inspection counts and draws, compared with pycocotools, NumPy and MMSegmentation."""

import json
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from pycocotools.coco import COCO

from mmtrtvit.analysis.sheets import draw_sheet
from mmtrtvit.annotations.problems import Problem
from mmtrtvit.datasets import make_shapes
from mmtrtvit.datasets.inspection import inspect_data
from mmtrtvit.datasets.inspection.drawing import choose, draw_inspection
from mmtrtvit.datasets.inspection.report import format_class_counts
from mmtrtvit.engine.hosts import import_host

CLASSES = ('disc', 'triangle', 'ring')
SPLITS = {'train': 'training', 'val': 'validation'}


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('inspected') / 'shapes'
    make_shapes(root, 12, val=5, size=64, seed=2)
    return root


@pytest.fixture
def copied(shapes, tmp_path):
    return Path(shutil.copytree(shapes, tmp_path / 'shapes'))


def coco_set(root, split='train', **changes):
    return dict(
        type='CocoDataset',
        data_root=str(root),
        metainfo=dict(classes=CLASSES),
        ann_file=f'annotations/instances_{SPLITS[split]}.json',
        data_prefix=dict(img=f'images/{SPLITS[split]}'),
        pipeline=[],
        **changes,
    )


def map_set(root, split='train', **changes):
    return dict(
        dict(
            type='BaseSegDataset',
            data_root=str(root),
            metainfo=dict(classes=('background', *CLASSES)),
            data_prefix=dict(
                img_path=f'images/{SPLITS[split]}', seg_map_path=f'annotations/{SPLITS[split]}'
            ),
            pipeline=[],
        ),
        **changes,
    )


def inspect(scope='mmdet', workers=2, track=lambda items, **_: items, **splits):
    loaders = {f'{name}_dataloader': dict(dataset=dataset) for name, dataset in splits.items()}
    return inspect_data(Config(dict(default_scope=scope, **loaders)), workers, track)


def problems(inspection):
    return {(finding.problem, finding.split): finding.places for finding in inspection.findings}


def test_instances_are_counted_as_pycocotools_counts_them(shapes):
    inspection = inspect(train=coco_set(shapes), val=coco_set(shapes, 'val'))
    assert inspection.trains and not inspection.findings
    for split in inspection.splits:
        coco = COCO(shapes / f'annotations/instances_{SPLITS[split.name]}.json')
        assert split.counts == {
            name: len(coco.getAnnIds(catIds=coco.getCatIds([name]))) for name in CLASSES
        }
        assert len(split.images) == len(coco.imgs)
        for image in split.images:
            (entry,) = [item for item in coco.imgs.values() if item['file_name'] == image.name]
            boxes = np.array([item['bbox'] for item in coco.imgToAnns[entry['id']]])
            boxes[:, 2:] += boxes[:, :2]
            assert np.array_equal(image.boxes, boxes)


def test_masks_are_those_that_pycocotools_decodes(shapes):
    config = dict(coco_set(shapes), pipeline=[dict(type='LoadAnnotations', with_mask=True)])
    coco = COCO(shapes / f'annotations/instances_{SPLITS["train"]}.json')
    for image in inspect(train=config).splits[0].images:
        (entry,) = [item for item in coco.imgs.values() if item['file_name'] == image.name]
        expected = [coco.annToMask(item) > 0 for item in coco.imgToAnns[entry['id']]]
        assert all(isinstance(mask, bytes) for mask in image.masks)
        found = [image.mask(index) for index in range(len(image.masks))]
        assert np.array_equal(found, expected) and len(found)


def test_images_that_look_alike_are_told_unless_they_are_equal(copied):
    folder = copied / 'images'
    Image.open(folder / 'training/00000001.jpg').save(
        folder / 'validation/00000000.jpg', quality=50
    )
    shutil.copy(folder / 'training/00000002.jpg', folder / 'validation/00000001.jpg')
    inspection = inspect(train=coco_set(copied), val=coco_set(copied, 'val'))
    found = problems(inspection)
    assert found[Problem.NEAR_LEAK, 'val'] == ['00000000.jpg (train: 00000001.jpg)']
    assert found[Problem.LEAK, 'val'] == ['00000001.jpg (train: 00000002.jpg)']
    assert [(pair.name, pair.other_split, pair.other) for pair in inspection.pairs] == [
        ('00000001.jpg', 'train', '00000002.jpg'),
        ('00000000.jpg', 'train', '00000001.jpg'),
    ]


def test_a_jpeg_file_on_its_side_looks_like_the_upright_image(copied):
    folder = copied / 'images'
    image = Image.open(folder / 'training/00000001.jpg')
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    image.transpose(Image.Transpose.ROTATE_90).save(folder / 'validation/00000000.jpg', exif=exif)
    found = problems(inspect(train=coco_set(copied), val=coco_set(copied, 'val')))
    assert found[Problem.NEAR_LEAK, 'val'] == ['00000000.jpg (train: 00000001.jpg)']


def test_pixels_are_counted_as_numpy_counts_them(shapes):
    inspection = inspect('mmseg', train=map_set(shapes), val=map_set(shapes, 'val'))
    assert inspection.trains and not inspection.findings
    for split in inspection.splits:
        maps = [
            cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            for path in (shapes / f'annotations/{SPLITS[split.name]}').glob('*.png')
        ]
        assert list(split.counts.values()) == [
            sum(int((values == label).sum()) for values in maps) for label in range(4)
        ]


@pytest.mark.parametrize(
    'settings',
    [
        dict(),
        dict(reduce_zero_label=True),
        dict(type='ADE20KDataset', metainfo=None),
        dict(type='ADE20KDataset', metainfo=dict(classes=('sky', 'wall'))),
        dict(type='ADE20KDataset', metainfo=dict(classes=('sky', 'wall')), reduce_zero_label=False),
    ],
)
def test_values_become_labels_as_in_mmsegmentation(copied, settings):
    import_host('mmseg')
    from mmseg.datasets.transforms import LoadAnnotations
    from mmseg.registry import DATASETS

    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for folder in ('images', 'annotations'):
        shutil.rmtree(copied / f'{folder}/training')
        (copied / f'{folder}/training').mkdir()
    cv2.imwrite(str(copied / 'annotations/training/a.png'), values)
    cv2.imwrite(str(copied / 'images/training/a.jpg'), values)
    config = map_set(copied, **settings)
    data = inspect('mmseg', train=config).splits[0].data[0]
    dataset = DATASETS.build(dict(config, lazy_init=True))
    expected = LoadAnnotations()(dataset.load_data_list()[0])['gt_seg_map']
    assert np.array_equal(data.labels_of_values, expected.ravel())
    counts = Counter(expected[expected < len(dataset.metainfo['classes'])].tolist())
    assert data.counts == counts


def test_values_of_no_class_are_named_and_ignored_ones_are_not(copied):
    path = copied / 'annotations/training/00000003.png'
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    values[0, :3], values[1] = (4, 200, 4), 255
    cv2.imwrite(str(path), values)
    assert problems(inspect('mmseg', train=map_set(copied))) == {
        (Problem.LABEL_VALUE, 'train'): ['00000003.jpg (4, 200)']
    }
    settings = dict(metainfo=dict(classes=(*CLASSES, 'star')), reduce_zero_label=True)
    inspection = inspect('mmseg', train=map_set(copied, **settings))
    assert problems(inspection) == {(Problem.LABEL_VALUE, 'train'): ['00000003.jpg (200)']}
    assert inspection.splits[0].counts['star'] == 2


def test_a_missing_label_map_is_one_finding(copied):
    (copied / 'annotations/training/00000003.png').unlink()
    assert list(problems(inspect('mmseg', train=map_set(copied)))) == [
        (Problem.MISSING_LABEL_MAP, 'train')
    ]


def test_palette_images_are_label_maps(copied):
    path = copied / 'annotations/training/00000003.png'
    before = inspect('mmseg', train=map_set(copied)).splits[0].counts
    coloured = Image.open(path).convert('L')
    coloured = Image.fromarray(np.asarray(coloured), 'P')
    coloured.putpalette([5, 6, 7, 100, 0, 0, 0, 100, 0, 0, 0, 100])
    coloured.save(path)
    inspection = inspect('mmseg', train=map_set(copied))
    assert inspection.splits[0].counts == before and not inspection.findings


@pytest.mark.parametrize(
    'wrap, times',
    [
        (lambda one, two: dict(type='RepeatDataset', times=3, dataset=one), 12),
        (lambda one, two: dict(type='ClassBalancedDataset', oversample_thr=0.5, dataset=one), 12),
        (lambda one, two: dict(type='ConcatDataset', datasets=[one, two]), 17),
        (
            lambda one, two: dict(
                type='RepeatDataset',
                times=2,
                dataset=dict(type='ConcatDataset', datasets=[one, two]),
            ),
            17,
        ),
    ],
)
def test_data_sets_in_wrappers(shapes, wrap, times):
    (split,) = inspect(train=wrap(coco_set(shapes), coco_set(shapes, 'val'))).splits
    assert len(split.images) == times
    both = [COCO(shapes / f'annotations/instances_{name}.json') for name in SPLITS.values()]
    assert sum(split.counts.values()) == sum(len(coco.anns) for coco in both[: 1 + (times == 17)])


def test_what_two_splits_share_is_read_once(shapes):
    seen = []

    def track(items, total, desc):
        seen.append((desc, total))
        return items

    val = coco_set(shapes, 'val')
    test = dict(val, test_mode=True, pipeline=[dict()])
    inspection = inspect(train=coco_set(shapes), val=val, test=test, track=track)
    assert [split.same_as for split in inspection.splits] == [None, None, 'val']
    assert seen == [('train', 12), ('val', 5)]
    assert not inspection.findings


def test_training_images_that_are_validated_on(shapes):
    found = problems(inspect(train=coco_set(shapes), val=coco_set(shapes)))
    assert found == {
        (Problem.LEAK, 'val'): [f'{index:08d}.jpg (train: {index:08d}.jpg)' for index in range(12)]
    }


@pytest.mark.parametrize(
    'suffix, options',
    [
        ('jpg', dict(quality=90)),
        ('jpg', dict(quality=90, progressive=True)),
        ('png', dict()),
        ('webp', dict()),
        ('tif', dict(compression='tiff_lzw')),
    ],
)
@pytest.mark.parametrize('kept', [0.3, 0.7, 0.99])
def test_cut_off_images_are_noticed(copied, suffix, options, kept):
    file = copied / 'annotations/instances_training.json'
    content = json.loads(file.read_text())
    content['images'] = content['images'][:2]
    for image in content['images']:
        path = copied / 'images/training' / image['file_name']
        image['file_name'] = f'{path.stem}.{suffix}'
        Image.open(path).save(path.with_suffix(f'.{suffix}'), **options)
    file.write_text(json.dumps(content))
    found = problems(inspect(train=coco_set(copied)))
    assert not any(problem.severity == 'error' for problem, _ in found)
    path = path.with_suffix(f'.{suffix}')
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    found = problems(inspect(train=coco_set(copied)))
    assert len(found[Problem.UNREADABLE_IMAGE, 'train']) == 1


def test_images_turned_by_exif(copied):
    file = copied / 'annotations/instances_training.json'
    content = json.loads(file.read_text())
    content['images'][0].update(width=64, height=80)
    file.write_text(json.dumps(content))
    exif = Image.Exif()
    exif[0x0112] = 8
    path = copied / 'images/training/00000000.jpg'
    Image.new('RGB', (80, 64)).save(path, exif=exif)
    assert cv2.imread(str(path)).shape == (80, 64, 3)
    assert inspect(train=coco_set(copied)).trains
    Image.new('RGB', (80, 64)).save(path)
    assert problems(inspect(train=coco_set(copied)))[Problem.IMAGE_SIZE, 'train'] == [
        '00000000.jpg (80 x 64, not 64 x 80)'
    ]


def test_sizes_of_masks_are_height_and_width(copied):
    file = copied / 'annotations/instances_training.json'
    content = json.loads(file.read_text())
    content['images'] = content['images'][:1]
    content['images'][0].update(width=40, height=64)
    cv2.imwrite(str(copied / 'images/training/00000000.jpg'), np.zeros((64, 40, 3), np.uint8))
    item = dict(id=1, image_id=0, category_id=1, bbox=[1, 1, 9, 9], area=9, iscrowd=0)
    load_masks = [dict(type='LoadAnnotations', with_mask=True)]
    for size, found in (([64, 40], []), ([40, 64], ['00000000.jpg (annotation 1: 64 x 40)'])):
        item['segmentation'] = dict(size=size, counts='abc')
        file.write_text(json.dumps(dict(content, annotations=[item])))
        inspection = inspect(train=dict(coco_set(copied), pipeline=load_masks))
        assert problems(inspection).get((Problem.MASK_SIZE, 'train'), []) == found


def test_the_order_of_findings_does_not_depend_on_threads(copied):
    for path in sorted((copied / 'images/training').iterdir())[::2]:
        path.write_bytes(path.read_bytes()[:900])
    shutil.copy(copied / 'images/training/00000001.jpg', copied / 'images/validation/00000001.jpg')
    shutil.copy(copied / 'images/training/00000003.jpg', copied / 'images/validation/00000000.jpg')
    one, four = (
        inspect(train=coco_set(copied), val=coco_set(copied, 'val'), workers=workers)
        for workers in (1, 4)
    )
    assert problems(one) == problems(four)
    assert problems(one)[Problem.UNREADABLE_IMAGE, 'train'] == sorted(
        problems(one)[Problem.UNREADABLE_IMAGE, 'train']
    )
    assert [finding.problem.severity for finding in one.findings] == ['error', 'warning']


@pytest.mark.parametrize(
    'dataset, part',
    [
        (dict(type='LVISDataset'), 'train_dataloader.dataset.type is LVISV05Dataset'),
        (dict(type='CocoDataset', colour=3), 'CocoDataset does not take it: '),
        (dict(type='NoDataset'), 'NoDataset does not take it: '),
    ],
)
def test_data_sets_that_cannot_be_inspected(shapes, dataset, part):
    inspection = inspect(train=dict(coco_set(shapes), **dataset))
    (place,) = problems(inspection)[Problem.UNREADABLE_DATA, 'train']
    assert part in place and not inspection.trains


def test_up_to_half_of_the_drawn_images_have_a_finding(copied):
    file = copied / 'annotations/instances_training.json'
    content = json.loads(file.read_text())
    content['annotations'] = [item for item in content['annotations'] if item['image_id'] < 6]
    file.write_text(json.dumps(content))
    (copied / 'images/training/00000006.jpg').unlink()
    (split,) = inspect(train=coco_set(copied)).splits

    def names(count):
        return [int(Path(image.name).stem) for _, image in choose(split, count)]

    assert names(0) == [] and names(1) == [0] and names(2) == [0, 7]
    assert names(4) == [0, 4, 7, 9]
    assert names(99) == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]


def test_boxes_and_masks_are_drawn_where_they_are(copied, tmp_path):
    file = copied / 'annotations/instances_training.json'
    content = json.loads(file.read_text())
    content['images'], item = content['images'][:1], content['annotations'][0]
    ring = [[20, 20, 44, 20, 44, 44, 20, 44]]
    item.update(bbox=[20, 20, 24, 24], segmentation=ring, category_id=1)
    content['annotations'] = [item]
    file.write_text(json.dumps(content))
    cv2.imwrite(str(copied / 'images/training/00000000.jpg'), np.full((64, 64, 3), 128, np.uint8))
    sheets = {}
    for name, mask in (('boxes', []), ('masks', ring)):
        item['segmentation'] = mask
        file.write_text(json.dumps(content))
        data = dict(coco_set(copied), pipeline=[dict(with_mask=name == 'masks')])
        (sheets[name],) = draw_inspection(inspect(train=data), tmp_path / name, 4)
        drawn = cv2.imread(str(tmp_path / name / 'train/00000000.jpg')).astype(int)
        changed = (abs(drawn - 128) > 30).any(2)
        assert changed[43, 30] and changed[30, 43] and not changed[50:].any()
        assert changed[35:40, 25:40].mean() == (name == 'masks')
    assert sheets['boxes'] == tmp_path / 'boxes/train.png' and sheets['boxes'].is_file()


def test_a_box_over_the_border_does_not_move_the_image(copied, tmp_path):
    file = copied / 'annotations/instances_training.json'
    content = json.loads(file.read_text())
    content['images'], item = content['images'][:1], content['annotations'][0]
    item.update(bbox=[-20, 30, 90, 50], segmentation=[])
    content['annotations'] = [item]
    file.write_text(json.dumps(content))
    draw_inspection(inspect(train=coco_set(copied)), tmp_path, 1)
    plain, drawn = (
        cv2.imread(str(root / '00000000.jpg'))[:24].astype(int)
        for root in (copied / 'images/training', tmp_path / 'train')
    )
    assert abs(plain - drawn).mean() < 5


def test_label_maps_are_drawn_in_the_colours_of_the_config(copied, tmp_path):
    path = copied / 'annotations/validation/00000000.png'
    values = np.full((64, 64), 255, np.uint8)
    values[32:, 32:] = 2
    cv2.imwrite(str(path), values)
    cv2.imwrite(str(copied / 'images/validation/00000000.jpg'), np.zeros((64, 64, 3), np.uint8))
    palette = [[0, 0, 0], [255, 0, 0], [0, 200, 0], [0, 0, 255]]
    inspection = inspect(
        'mmseg',
        val=map_set(
            copied, 'val', metainfo=dict(classes=('background', *CLASSES), palette=palette)
        ),
    )
    draw_inspection(inspection, tmp_path / 'maps', 5)
    drawn = cv2.imread(str(tmp_path / 'maps/val/00000000.jpg')).astype(int)
    blue, green, red = drawn[36:60, 50:60].reshape(-1, 3).mean(0)
    assert green > 80 > 30 > max(blue, red)
    assert drawn[:28, :28].max() < 30


def test_captions_stand_on_the_sheet(shapes, tmp_path):
    images = sorted((shapes / 'images/validation').iterdir())[:2]
    plain, captioned = (
        cv2.imread(
            str(draw_sheet(images, tmp_path / 'sheet.png', title='title', captions=captions))
        )
        for captions in (None, ['one', 'two\nlines'])
    )
    assert plain.shape == captioned.shape and (plain != captioned).any()


def test_the_table():
    table = format_class_counts(
        'objects of class',
        {'train': {'cat': 1234567, 'a long name of a class': 0}, 'val': {'cat': 5, 'dog': 6}},
        {'images': {'train': 3, 'val': 2}},
    )
    assert table.splitlines() == [
        'objects of class            train  val',
        'cat                     1,234,567    5',
        'a long name of a class          0',
        'dog                                  6',
        '--------------------------------------',
        'all classes             1,234,567   11',
        'images                          3    2',
    ]
