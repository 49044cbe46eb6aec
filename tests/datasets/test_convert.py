"""YOLO and VOC folders with known boxes and polygons, converted and loaded with MMDetection."""

import json
import os
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from pycocotools.coco import COCO

from mmtrtvit.datasets.convert import config_snippet, convert
from mmtrtvit.datasets.formats.voc import find_voc
from mmtrtvit.datasets.formats.yolo import find_yolo
from mmtrtvit.engine.checks import check_data
from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.hosts import import_host
from mmtrtvit.engine.parts import class_counts
from mmtrtvit.errors import UserError

pytest.importorskip('supervision')

ROOT = Path(__file__).parents[2]
CLASSES = ['cat', 'dog', 'bird']
SQUARE = [[10, 8], [30, 8], [30, 20], [10, 20]]
TO_BORDER = [[50, 30], [64, 30], [64, 48]]  # touches the right and the lower border
TWO_PARTS = [[2, 30], [8, 30], [8, 36], [5, 36], [5, 40], [8.5, 40], [8.5, 45.25], [2, 45.25]]
# by split and image: width, height and objects as (class, box as x, y, width, height, polygon)
OBJECTS = {
    'train': {
        'a.jpg': (64, 48, [(0, [10, 8, 20, 12], SQUARE), (2, [50, 30, 14, 18], TO_BORDER)]),
        'b.png': (48, 64, []),
        'in/c.jpg': (100, 80, [(1, [2, 30, 6.5, 15.25], TWO_PARTS)]),
    },
    'val': {'d.jpg': (64, 48, [(1, [0, 0, 63.5, 47.25], None)])},
}


def write_image(path, width, height):
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(len(path.name)).integers(0, 255, (height, width, 3))
    assert cv2.imwrite(str(path), colours.astype(np.uint8))


def write_yolo(root, images='images/{}', labels='labels/{}', objects=OBJECTS):
    for split, entries in objects.items():
        for name, (width, height, items) in entries.items():
            image = root / images.format(split) / name
            write_image(image, width, height)
            lines = []
            for label, (x, y, w, h), polygon in items:
                points = [[x + w / 2, y + h / 2], [w, h]] if polygon is None else polygon
                values = (np.array(points) / (width, height)).ravel()
                lines.append(' '.join([str(label), *(f'{value:.6f}' for value in values)]))
            if lines:
                label = (root / labels.format(split) / name).with_suffix('.txt')
                label.parent.mkdir(parents=True, exist_ok=True)
                label.write_text('\n'.join(lines) + '\n')
    write_yaml(root, names=CLASSES, train=images.format('train'), val=images.format('val'))


def write_yaml(root, **content):
    (root / 'data.yaml').write_text(yaml.safe_dump(content))


def assert_same(converted, objects=OBJECTS):
    """Compares the files with what was written, through pycocotools and MMDetection."""
    import_host('mmdet')
    from mmdet.datasets import CocoDataset

    for split, images in objects.items():
        file = converted.splits[split].file
        coco = COCO(file)
        assert {item['name']: item['id'] for item in coco.cats.values()} == {
            name: number for number, name in enumerate(converted.classes, 1)
        }
        assert min(coco.anns) == 1 and len(coco.imgs) == len(images)
        dataset = CocoDataset(
            ann_file=str(file),
            data_root=str(converted.data_root),
            metainfo=dict(classes=converted.classes),
            data_prefix=dict(img=''),
            test_mode=True,
            serialize_data=False,
            pipeline=[],
        )
        assert len(dataset) == len(images)
        for found in dataset:
            name = next(name for name in images if found['img_path'].endswith('/' + name))
            width, height, items = images[name]
            assert cv2.imread(found['img_path']).shape == (height, width, 3)
            assert (found['width'], found['height']) == (width, height)
            assert len(found['instances']) == len(items)
            for instance, (label, (x, y, w, h), polygon) in zip(found['instances'], items):
                assert instance['bbox'] == pytest.approx([x, y, x + w, y + h], abs=0.01)
                assert instance['bbox_label'] == label and not instance['ignore_flag']
                assert ('mask' in instance) == (polygon is not None)
                if polygon:
                    assert instance['mask'] == [pytest.approx(np.ravel(polygon).tolist(), abs=0.01)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    'images, labels', [('images/{}', 'labels/{}'), ('{}/images', '{}/labels'), ('{}', '{}')]
)
def test_yolo(folder, images, labels):
    write_yolo(folder / 'yolo', images, labels)
    converted = convert(find_yolo('yolo'), 'out')
    assert_same(converted)
    train = converted.splits['train']
    assert converted.classes == CLASSES
    assert (train.images, train.empty, train.boxes_only) == (3, 1, 0)
    assert train.counts == dict(cat=1, dog=1, bird=1)
    assert converted.splits['val'].boxes_only == 1
    assert sorted(path.name for path in (folder / 'out').iterdir()) == ['train.json', 'val.json']


def test_areas_are_those_of_the_masks(folder):
    write_yolo(folder / 'yolo')
    converted = convert(find_yolo('yolo'), 'out')
    coco = COCO(converted.splits['train'].file)
    assert len(coco.anns) == 3
    for item in coco.anns.values():
        assert item['area'] == coco.annToMask(item).sum() > 0


@pytest.mark.parametrize(
    'content',
    [
        dict(path='../yolo', train='images/train', val='images/val'),
        dict(path='/nowhere/at/all', train='images/train', val='images/val'),
        dict(train='../images/train', valid='../images/val'),  # as Roboflow has it
        dict(train=['images/train', 'more'], val='images/val'),
        dict(train='train.txt', val='images/val'),
    ],
)
def test_ways_to_name_the_images(folder, content):
    root = folder / 'yolo'
    write_yolo(root)
    (root / 'images/train/in').rename(root / 'more')
    (root / 'labels/train/in/c.txt').rename(root / 'more/c.txt')
    (root / 'train.txt').write_text('images/train/a.jpg\n./images/train/b.png\n\nmore/c.jpg\n')
    names = {2: 'bird', 0: 'cat', 1: 'dog'}
    write_yaml(root, names=names, **content)
    converted = convert(find_yolo(root / 'data.yaml'), 'out')
    with_more = 'more' in content['train'] or content['train'] == 'train.txt'
    train = {
        name.replace('in/', ''): value
        for name, value in OBJECTS['train'].items()
        if with_more or name != 'in/c.jpg'
    }
    assert_same(converted, dict(OBJECTS, train=train))


def test_numbers_behind_boxes_and_polygons_are_left_out(folder):
    write_yolo(folder / 'yolo')
    for label in (folder / 'yolo/labels').rglob('*.txt'):
        label.write_text(label.read_text().replace('\n', ' 0.75\n'))
    assert_same(convert(find_yolo('yolo'), 'out'))


def test_images_turned_by_exif(folder):
    from PIL import Image

    write_yolo(folder / 'yolo')
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side: 48 x 64 stored, 64 x 48 seen
    Image.new('RGB', (48, 64)).save(folder / 'yolo/images/train/a.jpg', exif=exif)
    assert_same(convert(find_yolo('yolo'), 'out'))


def test_copied_images(folder):
    write_yolo(folder / 'yolo')
    converted = convert(find_yolo('yolo'), 'out', copy=True)
    os.rename(folder / 'yolo', folder / 'gone')
    assert converted.data_root == folder / 'out'
    assert_same(converted)


def test_files_are_not_overwritten_unasked(folder):
    write_yolo(folder / 'yolo')
    convert(find_yolo('yolo'), 'out')
    (folder / 'out/train.json').unlink()
    with pytest.raises(UserError, match='out/val.json exists. Write over it with --overwrite'):
        convert(find_yolo('yolo'), 'out')
    assert not (folder / 'out/train.json').exists()
    assert_same(convert(find_yolo('yolo'), 'out', overwrite=True))


def change(name, line):
    return lambda root: (root / name).write_text(line)


def remove(name):
    def apply(root):
        target = root / name
        if target.is_dir():
            target.rename(root.parent / 'removed')
        else:
            target.unlink()

    return apply


LABEL = 'labels/train/a.txt'


@pytest.mark.parametrize(
    'break_it, parts',
    [
        (remove('data.yaml'), ['has no data.yaml', 'names the classes']),
        (change('data.yaml', 'names: [a\n'), ['data.yaml cannot be read as YAML']),
        (
            change('data.yaml', 'names: !!python/object/apply:os.mkdir [ran]\n'),
            ['data.yaml cannot be read as YAML', 'would run Python'],
        ),
        (change('data.yaml', '- cat\n'), ['should have the keys names, train and val']),
        (change('data.yaml', 'train: images/train\nval: images/val\n'), ['names should be a list']),
        (
            change('data.yaml', 'names: {1: cat}\ntrain: images/train\nval: images/val\n'),
            ['for each number from 0 on', "{1: 'cat'}"],
        ),
        (
            change('data.yaml', 'names: [cat, dog, cat]\ntrain: images/train\nval: images/val\n'),
            ['different class names'],
        ),
        (
            change('data.yaml', 'names: [cat]\ntrain: images/train\n'),
            ['names no images for val', '"val: images/val"'],
        ),
        (
            change('data.yaml', 'names: [cat]\ntrain: images/trian\nval: images/val\n'),
            ['has train: images/trian, but there is no', 'Did you mean train?'],
        ),
        (
            change('data.yaml', 'names: [cat]\ntrain: labels/train\nval: images/val\n'),
            ['has train: labels/train, but no images are there'],
        ),
        (
            remove('labels'),
            [
                'train: none of the 3 images has a label file',
                'images/train/a.jpg it would be',
                'labels/train/a.txt',
            ],
        ),
        (
            change(LABEL, '0 .5 .5 .1 .1\n\n3 .5 .5 .1 .1'),
            ['a.txt: line 3: class 3, but there are the classes 0 to 2: cat, dog, bird'],
        ),
        (change(LABEL, '-1 .5 .5 .1 .1'), ['line 1: class -1']),
        (change(LABEL, 'cat .5 .5 .1 .1'), ['line 1: ', "'cat'"]),
        (change(LABEL, '0 .5 .5 .1'), ['line 1: ', '5 tokens']),
        (change(LABEL, '0 .5 .5 .1 x'), ['line 1: ', "'x'"]),
        (change(LABEL, '0 .5 .5 .1 -.2'), ['line 1: ', 'non-negative']),
        (change(LABEL, '0 20 14 20 12'), ['line 1: "0 20 14 20 12"', 'fractions of the image']),
        (
            change('images/train/a.jpg', 'no image'),
            ['images/train/a.jpg cannot be decoded as an image: '],
        ),
    ],
)
def test_broken_yolo_is_told_and_nothing_is_written(folder, break_it, parts):
    root = folder / 'yolo'
    write_yolo(root)
    break_it(root)
    with pytest.raises(UserError) as caught:
        convert(find_yolo(root), 'out')
    for part in parts:
        assert part in str(caught.value)
    assert not (folder / 'out').exists()


def test_all_problems_are_told_at_once(folder):
    write_yolo(folder / 'yolo')
    (folder / 'yolo' / LABEL).write_text('9 .5 .5 .1 .1')
    (folder / 'yolo/labels/val/d.txt').write_text('8 .5 .5 .1 .1')
    with pytest.raises(UserError, match='(?s)nothing was converted.*class 9.*class 8'):
        convert(find_yolo('yolo'), 'out')


def encode(file, encoding):
    file.write_bytes(file.read_text().encode(encoding))


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32'])
def test_texts_of_other_systems(folder, encoding):
    root = folder / 'yolo'
    write_yolo(root)
    (root / 'train.txt').write_text(
        '\r\n'.join(f'images/train/{name}' for name in OBJECTS['train'])
    )
    write_yaml(root, names=CLASSES, train='train.txt', val='images/val')
    for file in (root / 'data.yaml', root / 'train.txt', *(root / 'labels').rglob('*.txt')):
        encode(file, encoding)
    assert_same(convert(find_yolo('yolo'), 'out'))
    write_voc(folder / 'voc')
    for file in (*(folder / 'voc/ImageSets').rglob('*.txt'),):
        encode(file, encoding)
    assert convert(find_voc('voc'), 'voc_out').splits['train'].images == 3


@pytest.mark.parametrize('name', ['data.yaml', 'train.txt', LABEL])
def test_a_text_in_no_unicode_is_named(folder, name):
    root = folder / 'yolo'
    write_yolo(root)
    (root / 'train.txt').write_text('images/train/a.jpg\n')
    write_yaml(root, names=CLASSES, train='train.txt', val='images/val')
    (root / name).write_bytes((root / name).read_bytes() + '# 汉字'.encode('gbk'))
    with pytest.raises(
        UserError, match=f'{name}:? is neither a text in UTF-8 .*: save it as UTF-8'
    ):
        convert(find_yolo(root), 'out')


def test_hidden_files_and_folders_are_no_images(folder):
    root = folder / 'yolo'
    write_yolo(root)
    names = [f'images/train/{name}' for name in OBJECTS['train']] + ['images/train/._a.jpg']
    (root / 'images/train/._a.jpg').write_bytes(b'\0\5\x16\7')
    (root / 'labels/train/._a.txt').write_bytes(b'\0\5\x16\7')
    (root / 'images/train/.ipynb_checkpoints').mkdir()
    write_image(root / 'images/train/.ipynb_checkpoints/a-checkpoint.jpg', 64, 48)
    assert_same(convert(find_yolo('yolo'), 'out'))
    write_yaml(root, names=CLASSES, train=names, val='images/val')
    assert_same(convert(find_yolo('yolo'), 'out', overwrite=True))
    expected = write_voc(folder / 'voc', side_by_side=True)
    for name in ('._a.jpg', '._a.xml'):
        (folder / 'voc/train' / name).write_bytes(b'\0\5\x16\7')
    assert_same(convert(find_voc('voc'), 'voc_out'), expected)


@pytest.mark.parametrize(
    'start', ['images/', 'data/images/', './images/', 'images\\', 'C:\\sets\\mine\\images\\']
)
@pytest.mark.parametrize('in_yaml', [False, True])
def test_lists_of_images_of_other_machines(folder, start, in_yaml):
    root = folder / 'yolo'
    write_yolo(root)
    slash = '\\' if '\\' in start else '/'
    content = {}
    for split, images in OBJECTS.items():
        listed = [f'{start}{split}/{name}'.replace('/', slash) for name in images]
        (root / f'{split}.txt').write_text('\n'.join(listed))
        content[split] = listed if in_yaml else f'{split}.txt'
    write_yaml(root, path='.', names=CLASSES, **content)
    assert_same(convert(find_yolo('yolo'), 'out'))


@pytest.mark.parametrize('export', ['darknet', 'label studio'])
def test_yolo_without_data_yaml(folder, export):
    root = folder / 'yolo'
    write_yolo(root, *(['{}', '{}'] if export == 'darknet' else []))
    (root / 'data.yaml').unlink()
    names = '\n'.join(CLASSES)
    if export == 'darknet':
        (root / 'obj.names').write_text(names)
        (root / 'obj.data').write_text(
            'classes = 3\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\n'
        )
        for split, images in OBJECTS.items():
            lines = [f'data/{split}/{name}' for name in images]
            (root / f'{split.replace("val", "valid")}.txt').write_text('\n'.join(lines))
        assert_same(convert(find_yolo('yolo'), 'out'))
        return
    (root / 'classes.txt').write_text(names)
    with pytest.raises(UserError, match='classes.txt names no images for val. To take some of'):
        convert(find_yolo('yolo'), 'out')
    converted = convert(find_yolo('yolo'), 'out', val=0.5)
    assert converted.classes == CLASSES
    counts = [split.counts for split in converted.splits.values()]
    assert len(counts) == 2
    total = {name: sum(count[name] for count in counts) for name in CLASSES}
    assert total == dict(cat=1, dog=2, bird=1)


def test_objects_given_twice_are_taken_once(folder):
    write_yolo(folder / 'yolo')
    for label in (folder / 'yolo/labels').rglob('*.txt'):
        label.write_text(label.read_text() * 2)
    converted = convert(find_yolo('yolo'), 'out')
    assert_same(converted)
    assert converted.notes == ['objects that stand twice in an image are taken once (4)']


def test_keypoints_are_left_out_with_a_word(folder):
    root = folder / 'yolo'
    write_yolo(root)
    for label in (root / 'labels').rglob('*.txt'):
        label.write_text('0 .5 .5 .25 .5 .4 .4 2 .6 .6 2 0 0 0\n')
    write_yaml(root, names=CLASSES, train='images/train', val='images/val', kpt_shape=[3, 3])
    converted = convert(find_yolo('yolo'), 'out')
    boxes = [item['bbox'] for item in COCO(converted.splits['val'].file).anns.values()]
    assert boxes == [[24, 12, 16, 24]] and not converted.has_polygons
    assert converted.notes == ['keypoints are left out: only boxes and polygons are converted']


def test_another_yaml_file_has_to_be_named(folder):
    write_yolo(folder / 'yolo')
    text = (folder / 'yolo/data.yaml').read_text()
    (folder / 'yolo/data.yaml').rename(folder / 'yolo/mine.yaml')
    assert_same(convert(find_yolo('yolo'), 'one'))  # there is no other
    (folder / 'yolo/other.yaml').write_text(text)
    with pytest.raises(UserError, match='Name one of these instead: .*mine.yaml, .*other.yaml'):
        find_yolo('yolo')
    assert_same(convert(find_yolo('yolo/mine.yaml'), 'two'))


def write_voc(root, side_by_side=False):
    """The boxes of OBJECTS, the lower and right ones rounded up to whole pixels."""
    expected = {}
    for split, images in OBJECTS.items():
        expected[split] = {}
        for name, (width, height, items) in images.items():
            key = Path(name).stem
            images_in = (
                root / {'train': 'train', 'val': 'valid'}[split]
                if side_by_side
                else (root / 'JPEGImages')
            )
            labels_in = images_in if side_by_side else root / 'Annotations'
            write_image(images_in / Path(name).name, width, height)
            boxes = [
                (CLASSES[label], [x, y, np.ceil(w), np.ceil(h)]) for label, (x, y, w, h), _ in items
            ]
            expected[split][Path(name).name] = (
                width,
                height,
                [(sorted(CLASSES).index(name), box, None) for name, box in boxes],
            )
            parts = [
                f'<object><name>{name}</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>'
                f'<xmax>{x + w:.0f}</xmax><ymax>{y + h:.0f}</ymax></bndbox></object>'
                for name, (x, y, w, h) in boxes
            ]
            labels_in.mkdir(parents=True, exist_ok=True)
            (labels_in / f'{key}.xml').write_text(
                f'<annotation><size><width>{width}</width><height>{height}</height></size>'
                f'{"".join(parts)}</annotation>'
            )
            if not side_by_side:
                lists = root / 'ImageSets/Main'
                lists.mkdir(parents=True, exist_ok=True)
                with open(lists / f'{split}.txt', 'a') as file:
                    file.write(f'{key}\n')
    return expected


@pytest.mark.parametrize('side_by_side', [False, True])
def test_voc(folder, side_by_side):
    expected = write_voc(folder / 'voc', side_by_side)
    converted = convert(find_voc('voc'), 'out')
    assert_same(converted, expected)
    assert converted.classes == ['bird', 'cat', 'dog'] and not converted.has_polygons
    assert converted.splits['train'].counts == dict(bird=1, cat=1, dog=1)


def test_voc_with_classes_in_an_order(folder):
    write_voc(folder / 'voc')
    converted = convert(find_voc('voc', CLASSES), 'out')
    names = {item['id']: item['name'] for item in COCO(converted.splits['val'].file).cats.values()}
    assert names == {1: 'cat', 2: 'dog', 3: 'bird'}
    with pytest.raises(UserError, match='not among cat, dog: bird'):
        convert(find_voc('voc', ['cat', 'dog']), 'out', overwrite=True)


@pytest.mark.parametrize(
    'line',
    [
        '{}',
        '{}.jpg',
        '{}.xml',
        '{} ',
        '{} 1',
        '{}  -1',
        'JPEGImages/{}.jpg',
        r'D:\v\JPEGImages\{}.jpg',
    ],
)
@pytest.mark.parametrize('name', ['IMG 1 (1)', 'v1.5'])
def test_names_in_lists_of_voc(folder, line, name):
    write_voc(folder / 'voc')
    (folder / 'voc/JPEGImages/a.jpg').rename(folder / f'voc/JPEGImages/{name}.jpg')
    (folder / 'voc/Annotations/a.xml').rename(folder / f'voc/Annotations/{name}.xml')
    (folder / 'voc/ImageSets/Main/train.txt').write_text(line.format(name) + '\n\n')
    train = convert(find_voc('voc'), 'out').splits['train']
    assert (train.images, train.empty) == (1, 0)


def test_xml_in_gbk_and_names_with_blanks(folder):
    write_voc(folder / 'voc')
    file = folder / 'voc/Annotations/a.xml'
    text = file.read_text().replace('<name>cat', '<name> 狗 ').replace('bird', 'Dog')
    file.write_bytes(f'<?xml version="1.0" encoding="GBK"?>{text}'.encode('gbk'))
    converted = convert(find_voc('voc'), 'out')
    assert converted.classes == ['Dog', 'dog', '狗']
    assert converted.notes == ['classes whose names differ in capital letters alone: Dog, dog']
    file.write_bytes(text.encode('gbk'))
    with pytest.raises(UserError, match='a.xml: is not an XML file'):
        convert(find_voc('voc'), 'out', overwrite=True)


def test_voc_with_trainval_and_test(folder):
    expected = write_voc(folder / 'voc')
    lists = folder / 'voc/ImageSets/Main'
    (lists / 'train.txt').rename(lists / 'trainval.txt')
    (lists / 'val.txt').rename(lists / 'test.txt')
    converted = convert(find_voc('voc'), 'out')
    assert_same(converted, expected)
    assert converted.notes == ['there is no val: the images of test are taken for it']


def test_difficult_objects_are_no_training_examples(folder):
    write_voc(folder / 'voc')
    file = folder / 'voc/Annotations/a.xml'
    file.write_text(file.read_text().replace('</name>', '</name><difficult>1</difficult>', 1))
    converted = convert(find_voc('voc'), 'out')
    crowds = [item['iscrowd'] for item in COCO(converted.splits['train'].file).anns.values()]
    assert crowds == [1, 0, 0]


@pytest.mark.parametrize(
    'break_it, parts',
    [
        (remove('ImageSets'), ['has no images for train and val', 'no ImageSets/Main/train.txt']),
        (remove('ImageSets/Main/val.txt'), ['has no images for val', 'Main/val.txt']),
        (remove('Annotations'), ['train: none of the 3 images has a label file', 'a.xml']),
        (remove('JPEGImages/a.jpg'), ['JPEGImages/a.jpg does not exist']),
        (change('Annotations/a.xml', '<annotation>'), ['a.xml: is not an XML file']),
        (
            change(
                'Annotations/a.xml', '<annotation><object><name>cat</name></object></annotation>'
            ),
            ['a.xml: ', 'bndbox'],
        ),
        (
            change(
                'Annotations/a.xml',
                '<annotation><size><width>640</width><height>48</height></size></annotation>',
            ),
            ['made for an image of 640 x 48 pixels, but it has 64 x 48'],
        ),
    ],
)
def test_broken_voc_is_told_and_nothing_is_written(folder, break_it, parts):
    root = folder / 'voc'
    write_voc(root)
    break_it(root)
    with pytest.raises(UserError) as caught:
        convert(find_voc(root), 'out')
    for part in parts:
        assert part in str(caught.value)
    assert not (folder / 'out').exists()


@pytest.mark.parametrize(
    'polygons, test, head', [(True, 'test', 'roi_head.mask_head'), (False, 'val', 'bbox_head')]
)
def test_the_config_fits_the_data(folder, polygons, test, head):
    val = {'d.jpg': (64, 48, [(1, [0, 0, 20, 20], SQUARE if polygons else None)])}
    write_yolo(folder / 'yolo', objects=dict(OBJECTS, val=val))
    paths = {'train': 'images/train', 'val': 'images/val', test: 'images/val'}
    write_yaml(folder / 'yolo', names=CLASSES, **paths)
    converted = convert(find_yolo('yolo'), folder / 'yolo/converted')
    (folder / 'mine.py').write_text(config_snippet(converted))
    config = read_config(folder / 'mine.py')
    import_host('mmdet')
    check_data(config, ('train', 'val', 'test'))
    assert dict(class_counts(config.model))[f'model.{head}.num_classes'] == 3
    files = [config[f'{split}_dataloader'].dataset.ann_file for split in ('train', 'val', 'test')]
    assert files == [f'converted/{name}.json' for name in ('train', 'val', test)]
    assert config.test_evaluator.ann_file == f'{folder}/yolo/converted/{test}.json'


def call(monkeypatch, capsys, *args):
    """Runs the tool in this process; returns its exit code, stdout and message."""
    monkeypatch.setattr(sys, 'argv', ['convert_data.py', *map(str, args)])
    try:
        runpy.run_path(str(ROOT / 'tools/convert_data.py'), run_name='__main__')
    except SystemExit as error:
        return 1, capsys.readouterr().out, str(error.code)
    return 0, capsys.readouterr().out, ''


def test_the_tool(folder, monkeypatch, capsys):
    write_yolo(folder / 'yolo')
    code, out, _ = call(monkeypatch, capsys, 'yolo', 'yolo', 'out')
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert ['dog', '1', '1'] in rows and ['images', '3', '1'] in rows
    assert ['without', 'objects', '1', '0'] in rows
    assert ['boxes', 'without', 'polygon', '0', '1'] in rows
    assert f"data_root = '{folder}/yolo/'" in out
    assert json.loads((folder / 'out/train.json').read_text())['images']
    write_voc(folder / 'voc')
    code, out, message = call(monkeypatch, capsys, 'voc', 'voc', 'out', '--classes', *CLASSES)
    assert code == 1 and message.startswith('error: ') and '--overwrite' in message
    code, out, _ = call(
        monkeypatch, capsys, 'voc', 'voc', 'out', '--overwrite', '--copy', '--classes', *CLASSES
    )
    assert code == 0 and "classes=('cat', 'dog', 'bird')" in out
    assert (folder / 'out/JPEGImages/a.jpg').is_file()


def test_without_supervision_the_tool_says_how_to_get_it(folder, monkeypatch, capsys):
    write_yolo(folder / 'yolo')
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    code, _, message = call(monkeypatch, capsys, 'yolo', 'yolo', 'out')
    assert code == 1 and 'pip install "mmtrtvit[data]"' in message
