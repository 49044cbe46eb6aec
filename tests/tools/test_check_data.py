"""tools/check_data.py on data sets with one defect each: its messages and its exit code."""

import io
import json
import re
import runpy
import shutil
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image

from mmtrtvit.annotations.problems import Problem
from mmtrtvit.datasets import make_shapes
from mmtrtvit.datasets.inspection import inspect_data
from mmtrtvit.engine.config import read_config

ROOT = Path(__file__).parents[2]
DETECTION = '_base_ = __import__("mmtrtvit").config_path("demo/{}.py")\n'
VOC = (
    DETECTION.format('retinanet_trtvit_b')
    + """
metainfo = dict(classes=('disc', 'triangle', 'ring'))
def loader(split):
    return dict(dataset=dict(
        _delete_=True, type='VOCDataset', data_root='data/shapes', ann_file=split + '.txt',
        data_prefix=dict(sub_data_root='.'), pipeline=[]))
train_dataloader, val_dataloader = loader('train'), loader('val')
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(_delete_=True, type='VOCMetric')
"""
)
CONFIGS = {
    'boxes': DETECTION.format('retinanet_trtvit_b'),
    'masks': DETECTION.format('mask_rcnn_efficientvit_m2'),
    'maps': DETECTION.format('upernet_trtvit_a'),
    'voc': VOC,
}


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    """The generated shapes; their training boxes as VOC files, too."""
    root = tmp_path_factory.mktemp('shapes') / 'shapes'
    make_shapes(root, 6, val=3, size=64, seed=4)
    for split, name in (('training', 'train'), ('validation', 'val')):
        content = json.loads((root / f'annotations/instances_{split}.json').read_text())
        names = {item['id']: item['name'] for item in content['categories']}
        for image in content['images']:
            key = f'{name}{image["id"]}'
            objects = [
                f'<object><name>{names[item["category_id"]]}</name><bndbox><xmin>{x + 1}</xmin>'
                f'<ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>'
                for item in content['annotations']
                if item['image_id'] == image['id']
                for x, y, w, h in [item['bbox']]
            ]
            (root / 'Annotations').mkdir(exist_ok=True)
            (root / f'Annotations/{key}.xml').write_text(
                '<annotation><size><width>64</width><height>64</height></size>'
                f'{"".join(objects)}</annotation>'
            )
            (root / 'JPEGImages').mkdir(exist_ok=True)
            shutil.copy(
                root / f'images/{split}/{image["file_name"]}', root / f'JPEGImages/{key}.jpg'
            )
            with open(root / f'{name}.txt', 'a') as file:
                file.write(f'{key}\n')
    return root


@pytest.fixture
def folder(shapes, tmp_path, monkeypatch):
    """A user's folder with a copy of the shapes and a config for each kind of data."""
    shutil.copytree(shapes, tmp_path / 'data/shapes')
    for name, text in CONFIGS.items():
        (tmp_path / f'{name}.py').write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(monkeypatch, capsys):
    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['check_data.py', *map(str, args)])
        code, message = 0, ''
        try:
            runpy.run_path(str(ROOT / 'tools/check_data.py'), run_name='__main__')
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
            message = error.code if isinstance(error.code, str) else ''
        return SimpleNamespace(code=code, out=capsys.readouterr().out, message=message)

    return call


@pytest.mark.parametrize('kind', CONFIGS)
def test_sound_data(call, folder, kind):
    result = call(f'{kind}.py', '--count', 0)
    assert result.code == 0, result.out
    assert 'error' not in result.out and 'warning' not in result.out
    assert 'test: the same data as val' in result.out
    assert result.out.endswith('\nA training would work.\n')
    findings = json.loads((folder / f'work_dirs/{kind}/data/findings.json').read_text())
    assert findings['findings'] == []
    assert {hint['severity'] for hint in findings['hints']} == {'hint'}
    assert findings['sizes'].keys() == {'train', 'val'}
    assert findings['splits']['train']['images'] == 6


def annotations(split='training'):
    """Makes a decorator: changes the annotation file of a split."""

    def decorate(change):
        def apply(root):
            file = root / f'annotations/instances_{split}.json'
            content = json.loads(file.read_text())
            change(content)
            file.write_text(json.dumps(content))

        apply.__name__ = change.__name__
        return apply

    return decorate


def first(split='training', list_name='annotations', **values):
    """Sets values of the first entry; None removes the key."""

    @annotations(split)
    def change(content):
        entry = content[list_name][0]
        entry.update(values)
        for key in [key for key, value in values.items() if value is None]:
            del entry[key]

    return change


def text(name, content):
    return lambda root: (root / name).write_text(content)


def replace(name, old, new):
    def apply(root):
        before = (root / name).read_text()
        assert old in before
        (root / name).write_text(before.replace(old, new, 1))

    return apply


def remove(name):
    return lambda root: (root / name).unlink()


def cut(name):
    def apply(root):
        content = (root / name).read_bytes()
        (root / name).write_bytes(content[: len(content) - 300])

    return apply


def pixels(name, change):
    """Changes the values of a label map."""

    def apply(root):
        values = cv2.imread(str(root / name), cv2.IMREAD_UNCHANGED)
        assert cv2.imwrite(str(root / name), change(values))

    return apply


@annotations()
def second_id_is_the_first(content):
    content['annotations'][1]['id'] = content['annotations'][0]['id']


@annotations()
def second_image_is_the_first(content):
    content['images'][1]['id'] = 0


@annotations()
def no_annotation_of_the_first_image(content):
    content['annotations'] = [item for item in content['annotations'] if item['image_id']]


@annotations()
def no_annotations(content):
    content['annotations'] = []


@annotations()
def no_images(content):
    content['images'] = content['annotations'] = []


@annotations()
def no_rings(content):
    content['annotations'] = [item for item in content['annotations'] if item['category_id'] != 3]


@annotations('validation')
def no_rings_either(content):
    content['annotations'] = [item for item in content['annotations'] if item['category_id'] != 3]


@annotations()
def a_fourth_category(content):
    content['categories'].append({'id': 4, 'name': 'star'})
    content['annotations'][0]['category_id'] = 4


@annotations()
def a_category_twice(content):
    content['categories'].append({'id': 3, 'name': 'star'})


def a_training_image_in_validation(root):
    shutil.copy(root / 'images/training/00000001.jpg', root / 'images/validation/00000002.jpg')


def a_training_image_saved_anew(root):
    with Image.open(root / 'images/training/00000001.jpg') as image:
        image.save(root / 'images/validation/00000002.jpg', quality=60)


def nothing(root):
    pass


def each(split='training', **values):
    """Sets values of every annotation; a function gets the annotation."""

    @annotations(split)
    def change(content):
        for item in content['annotations']:
            for key, value in values.items():
                item[key] = value(item) if callable(value) else value

    return change


def corners(item):
    left, top, width, height = item['bbox']
    return [left, top, left + width, top + height]


@annotations()
def first_image_again(content):
    content['images'].append(dict(content['images'][0], id=99))


@annotations()
def first_object_again(content):
    content['annotations'].append(dict(content['annotations'][0], id=999))


@annotations()
def most_rings_are_crowds(content):
    rings = [item for item in content['annotations'] if item['category_id'] == 3]
    for item in rings[1:]:
        item['iscrowd'] = 1


def shift(item):
    """Polygons that are mirrored at the centre of the image, which has 64 pixels a side."""
    left, top, width, height = item['bbox']
    x, y = (0 if left + width > 32 else 50), (0 if top + height > 32 else 50)
    return [[x, y, x + 12, y, x + 12, y + 12, x, y + 12]]


def part(item):
    left, top = item['bbox'][:2]
    return [[left, top, left + 4, top, left + 4, top + 4, left, top + 4]]


def in_a_hidden_folder(root):
    for folder, name in (('images', '0.jpg'), ('annotations', '0.png')):
        target = root / folder / 'training/.ipynb_checkpoints'
        target.mkdir()
        shutil.copy(root / folder / f'training/0000000{name}', target / f'9{name[1:]}')


def upper_suffix(root):
    file = root / IMAGE
    file.rename(file.with_suffix('.JPG'))


def only_255(root):
    for path in root.glob('annotations/training/*.png'):
        values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), (values > 0) * np.uint8(255))


def first_image_as_second(root):
    shutil.copy(root / IMAGE, root / 'images/training/00000001.jpg')


def no_rings_at_all(root):
    no_rings(root)
    no_rings_either(root)


def colour_map(values):
    return np.repeat(values[..., None], 3, axis=2)


IMAGE = 'images/training/00000000.jpg'
MAP = 'annotations/training/00000000.png'
COCO = 'annotations/instances_training.json'
XML = 'Annotations/train0.xml'
RLE = dict(size=[32, 64], counts='abc')
LONG_RLE = dict(size=[64, 64], counts=[2500, 2500])
BAD_RLE = dict(size=[64, 64], counts='no RLE')
HUGE_RLE = dict(size=[10**6, 10**6], counts=[10**12])

DEFECTS = [  # kind of data, what is done to it, what is found, and where
    ('boxes', cut(IMAGE), Problem.UNREADABLE_IMAGE, 'train', 'cannot be decoded: image file is tr'),
    ('maps', cut(IMAGE), Problem.UNREADABLE_IMAGE, 'train', '00000000.jpg (cannot be decoded: ima'),
    ('boxes', text(IMAGE, 'x'), Problem.UNREADABLE_IMAGE, 'train', '.jpg (cannot be decoded as an'),
    ('boxes', remove(IMAGE), Problem.MISSING_IMAGE, 'train', '00000000.jpg (No such file'),
    ('voc', remove('JPEGImages/val1.jpg'), Problem.MISSING_IMAGE, 'val', 'JPEGImages/val1.jpg'),
    (
        'boxes',
        first(list_name='images', width=74),
        Problem.IMAGE_SIZE,
        'train',
        '00000000.jpg (64 x 64, not 74 x 64)',
    ),
    (
        'voc',
        replace(XML, '<width>64', '<width>99'),
        Problem.IMAGE_SIZE,
        'train',
        'JPEGImages/train0.jpg (64 x 64, not 99 x 64)',
    ),
    ('boxes', first(area=None), Problem.INCOMPLETE, 'train', '00000000.jpg (annotation 1: area)'),
    ('boxes', first(bbox=[1, 2, 3]), Problem.INCOMPLETE, 'train', '(annotation 1: bbox of 4 num'),
    ('boxes', first('validation', iscrowd=None), Problem.INCOMPLETE, 'val', '1: iscrowd)'),
    (
        'boxes',
        first(list_name='images', width='64'),
        Problem.INCOMPLETE,
        'train',
        'image 00000000.jpg: width',
    ),
    ('boxes', first(category_id=9), Problem.UNKNOWN_CATEGORY, 'train', '(annotation 1: 9)'),
    ('boxes', first(image_id=99), Problem.UNKNOWN_IMAGE, 'train', 'annotation 1, image id 99'),
    ('boxes', second_id_is_the_first, Problem.DUPLICATE_ID, 'train', '(annotation 1)'),
    ('boxes', second_image_is_the_first, Problem.DUPLICATE_ID, 'train', 'image id 0'),
    ('boxes', a_category_twice, Problem.DUPLICATE_ID, 'train', 'category id 3'),
    ('boxes', a_fourth_category, Problem.OTHER_CATEGORY, 'train', '(annotation 1: star)'),
    ('masks', first(segmentation=None), Problem.MISSING_MASK, 'train', '(annotation 1)'),
    ('masks', first('validation', segmentation=[]), Problem.MISSING_MASK, 'val', '(annotation 1)'),
    ('masks', first(segmentation=[1, 1, 9, 1, 9, 9]), Problem.INCOMPLETE, 'train', 'segmentation'),
    ('masks', first(segmentation=RLE), Problem.MASK_SIZE, 'train', '(annotation 1: 64 x 32)'),
    ('masks', first(segmentation=dict(size=[64, 64])), Problem.BROKEN_MASK, 'train', 'tation 1)'),
    ('masks', first(segmentation=[[1, 1, 9, 9]]), Problem.BROKEN_MASK, 'train', '(annotation 1)'),
    ('boxes', first(bbox=[50, 10, 20, 20]), Problem.BORDER, 'train', '(annotation 1)'),
    ('boxes', first(bbox=[-5, 10, 20, 20]), Problem.BORDER, 'train', '(annotation 1)'),
    ('voc', replace(XML, '<xmin>', '<xmin>-9'), Problem.BORDER, 'train', '(object 1)'),
    ('boxes', first(bbox=[10, 10, 0, 20]), Problem.LOST_BOX, 'train', '(annotation 1)'),
    ('boxes', first(bbox=[70, 10, 20, 20]), Problem.LOST_BOX, 'train', '(annotation 1)'),
    ('boxes', first(area=0), Problem.LOST_BOX, 'train', '(annotation 1)'),
    ('voc', replace(XML, '<xmax>', '<xmax>-'), Problem.VOID_BOX, 'train', '(object 1)'),
    ('voc', replace(XML, '<xmin>', '<left>'), Problem.MISSING_XML, 'train', 'mismatched tag'),
    ('voc', remove(XML), Problem.MISSING_XML, 'train', 'train0.xml: No such file'),
    (
        'voc',
        text(XML, '<annotation><object></object></annotation>'),
        Problem.INCOMPLETE,
        'train',
        'train0.jpg (name, bndbox or size in train0.xml)',
    ),
    ('voc', replace(XML, '<name>', '<name>big '), Problem.OTHER_CATEGORY, 'train', '1: big '),
    ('boxes', no_annotation_of_the_first_image, Problem.EMPTY_IMAGE, 'train', '00000000.jpg'),
    (
        'maps',
        pixels(MAP, lambda values: values * 0 + 255),
        Problem.EMPTY_IMAGE,
        'train',
        '00000000.jpg',
    ),
    ('boxes', first('validation', id=0), Problem.ID_ZERO, 'val', '(annotation 0)'),
    (
        'boxes',
        a_training_image_in_validation,
        Problem.LEAK,
        'val',
        '00000002.jpg (train: 00000001.jpg)',
    ),
    ('maps', a_training_image_in_validation, Problem.LEAK, 'val', '00000002.jpg (train: 000'),
    ('boxes', a_training_image_saved_anew, Problem.NEAR_LEAK, 'val', '2.jpg (train: 00000001.jpg)'),
    ('boxes', nothing, Problem.FEW_OBJECTS, 'val', 'ring ('),
    ('maps', nothing, Problem.FEW_PIXELS, 'val', 'ring ('),
    ('boxes', first(bbox=[9, 9, 1, 1]), Problem.SMALL_OBJECTS, 'train', ': 1 of '),
    ('boxes', first(bbox=[2, 9, 60, 1]), Problem.UNFIT_OBJECTS, 'train', 'IoU < 0.4'),
    ('boxes', no_rings, Problem.ABSENT_CLASS, 'train', 'ring (but in val)'),
    ('boxes', no_rings_at_all, Problem.ABSENT_CLASS, 'train', 'ring\n'),
    ('boxes', no_annotations, Problem.NO_INSTANCE, 'train', 'disc, triangle, ring'),
    ('boxes', no_images, Problem.NO_IMAGE, 'train', COCO),
    (
        'maps',
        lambda root: [path.unlink() for path in (root / 'images/training').iterdir()],
        Problem.NO_IMAGE,
        'train',
        'images/training/*.jpg',
    ),
    ('boxes', each(iscrowd=1), Problem.IGNORED_CLASS, 'train', 'disc ('),
    ('boxes', each('validation', iscrowd=1), Problem.IGNORED_CLASS, 'val', 'disc ('),
    ('boxes', each(ignore=1), Problem.IGNORED_CLASS, 'train', 'iscrowd, ignore or a broken'),
    ('boxes', most_rings_are_crowds, Problem.MOSTLY_IGNORED, 'train', 'ring ('),
    ('boxes', each(iscrowd='0'), Problem.INCOMPLETE, 'train', "iscrowd is '0', not 0 or 1"),
    ('boxes', each(area=lambda item: [item['area']]), Problem.INCOMPLETE, 'train', 'area is ['),
    ('boxes', each(image_id=lambda item: [1]), Problem.INCOMPLETE, 'train', 'image_id is [1]'),
    ('boxes', first(area=float('nan')), Problem.INCOMPLETE, 'train', 'area is nan, not a number'),
    ('boxes', first(bbox=[1, 2, 9, None]), Problem.INCOMPLETE, 'train', 'bbox of 4 numbers'),
    ('boxes', first(bbox=[1, 2, 10**400, 9]), Problem.INCOMPLETE, 'train', 'bbox of 4 numbers'),
    ('boxes', first(list_name='images', height=[64]), Problem.INCOMPLETE, 'train', 'height is [6'),
    ('boxes', first(list_name='images', width=10**9), Problem.INCOMPLETE, 'train', 'is over 5368'),
    ('boxes', first(list_name='images', file_name=7), Problem.INCOMPLETE, 'train', 'file_name is'),
    ('boxes', each(image_id=lambda item: str(item['image_id'])), Problem.ID_KIND, 'train', "'0'"),
    ('boxes', first(category_id='1'), Problem.ID_KIND, 'train', "'1', where the list has 1"),
    ('boxes', first_image_again, Problem.LISTED_TWICE, 'train', '00000000.jpg (2 times)'),
    ('boxes', first_object_again, Problem.OBJECT_TWICE, 'train', '00000000.jpg (annotation 999)'),
    ('boxes', each(bbox=corners), Problem.CORNERS, 'train', 'instances_training.json'),
    ('boxes', each(area=-1), Problem.LOST_OBJECTS, 'train', 'instances_training.json'),
    ('masks', each(segmentation=[[]]), Problem.LOST_OBJECTS, 'train', 'instances_training.json'),
    ('masks', first('validation', segmentation=[[]]), Problem.UNMEASURABLE_MASK, 'val', '0 numb'),
    ('masks', first(segmentation=LONG_RLE), Problem.RLE, 'train', '5000 pixels, but its image'),
    ('masks', first(segmentation=BAD_RLE), Problem.RLE, 'train', 'text that is no RLE'),
    ('masks', first(segmentation=HUGE_RLE), Problem.MASK_SIZE, 'train', '1000000 x 1000000'),
    ('masks', first(segmentation=[[1e9, 0] * 3]), Problem.INCOMPLETE, 'train', 'beyond 1000000'),
    ('masks', first(segmentation=[[1, 2, 3, 4, 5, None]]), Problem.INCOMPLETE, 'train', 'None'),
    ('masks', first(segmentation=[[0.1, 0.2] * 3]), Problem.EMPTY_MASK, 'train', 'annotation 1'),
    ('masks', first(segmentation=[[[1, 1], [9, 9], [1, 9]]]), Problem.INCOMPLETE, 'train', '[x,'),
    ('masks', each(segmentation=shift), Problem.OTHER_PLACE, 'train', '% of the mask in the box'),
    ('masks', each(segmentation=part), Problem.PARTIAL_MASK, 'train', '100% of the mask in the'),
    ('maps', only_255, Problem.BINARY, 'train', 'annotations/training OUT --map 255:1'),
    ('maps', upper_suffix, Problem.OTHER_SUFFIX, 'train', '00000000.JPG (read are *.jpg)'),
    ('maps', in_a_hidden_folder, Problem.HIDDEN, 'train', '.ipynb_checkpoints/9.jpg'),
    ('boxes', first_image_as_second, Problem.COPY, 'train', '00000001.jpg (00000000.jpg)'),
    ('boxes', text(COCO, '{"images": ['), Problem.CONFIG, '', 'is not a JSON file'),
    ('boxes', text(COCO, '[]'), Problem.UNREADABLE_DATA, 'train', 'no list of images'),
    (
        'boxes',
        text(COCO, '{"images": [1], "categories": []}'),
        Problem.UNREADABLE_DATA,
        'train',
        'no list of images',
    ),
    ('boxes', remove(COCO), Problem.CONFIG, 'train', 'train_dataloader.dataset.ann_file: no file'),
    ('maps', remove(MAP), Problem.MISSING_LABEL_MAP, 'train', '00000000.png)'),
    ('maps', cut(MAP), Problem.UNREADABLE_LABEL_MAP, 'train', '00000000.jpg (00000000.png: '),
    ('maps', pixels(MAP, colour_map), Problem.UNREADABLE_LABEL_MAP, 'train', '3 channels'),
    (
        'maps',
        pixels(MAP, lambda values: values[:32]),
        Problem.LABEL_MAP_SIZE,
        'train',
        '00000000.jpg (64 x 32, not 64 x 64)',
    ),
    ('maps', pixels(MAP, lambda values: values + 7), Problem.LABEL_VALUE, 'train', '(7, 8'),
    (
        'maps',
        pixels(MAP, lambda values: values * np.uint16(1000)),
        Problem.LABEL_VALUE,
        'train',
        '000)',
    ),
]


VERDICTS = {
    'error': 'A training would fail',
    'warning': 'A training would work. Look at',
    'hint': 'A training would work.',
}


@pytest.mark.parametrize('kind, break_it, problem, split, place', DEFECTS)
def test_a_defect(call, folder, kind, break_it, problem, split, place):
    break_it(folder / 'data/shapes')
    result = call(f'{kind}.py', '--count', 0)
    header = f'{problem.severity}: {f"{split}: " if split else ""}{problem.text} ('
    assert header in result.out, result.out
    assert place in result.out[result.out.index(header) :]
    assert result.code == (problem.severity == 'error')
    last = result.out.splitlines()[-1]
    assert last.startswith(VERDICTS[problem.severity])


def test_every_problem_is_provoked():
    here = {problem for _, _, problem, *_ in DEFECTS}
    assert here == set(Problem) - {Problem.LABEL}  # of classifiers: tests/engine/test_folders.py


def test_boxes_alone_need_no_masks(call, folder):
    first(segmentation=None)(folder / 'data/shapes')
    assert call('boxes.py', '--count', 0).code == 0


def test_training_needs_no_iscrowd(call, folder):
    first(iscrowd=None)(folder / 'data/shapes')
    assert call('boxes.py', '--count', 0).code == 0


def test_boxes_of_voc_are_those_that_mmdetection_reads(folder):
    config = read_config('voc.py')
    images = inspect_data(config).splits[0].images
    with DATASETS.switch_scope_and_registry('mmdet') as registry:
        expected = registry.build(dict(config.train_dataloader.dataset, serialize_data=False))
    assert [image.boxes for image in images] == [
        [tuple(instance['bbox']) for instance in entry['instances']] for entry in expected
    ]
    assert [image.size for image in images] == [
        (entry['width'], entry['height']) for entry in expected
    ]


def test_everything_is_told_at_once(call, folder):
    root = folder / 'data/shapes'
    for break_it in (cut(IMAGE), first(category_id=9), a_training_image_in_validation):
        break_it(root)
    result = call('boxes.py', '--count', 0, '--cfg-options', 'model.bbox_head.num_classes=80')
    found = [line for line in result.out.splitlines() if line.startswith(('error', 'warning'))]
    assert [line.split(': ')[0] for line in found] == ['error', 'error', 'error', 'warning']
    assert 'model.bbox_head.num_classes is 80' in result.out


def test_a_file_that_is_not_json_is_told_once(call, folder):
    text(COCO, '{"images": [')(folder / 'data/shapes')
    result = call('boxes.py', '--count', 0)
    assert result.out.count('is not a JSON file') == 1 and result.out.count('error: ') == 1


def test_many_places_are_cut_and_all_are_in_the_file(call, folder):
    @annotations()
    def change(content):
        for item in content['annotations']:
            item['category_id'] = 9

    change(folder / 'data/shapes')
    result = call('boxes.py', '--count', 0, '--out-dir', 'look')
    count = len(json.loads((folder / 'data/shapes' / COCO).read_text())['annotations'])
    assert f'that the file does not list ({count})\n' in result.out
    assert f'    ... and {count - 4} more' in result.out
    (finding,) = [
        item
        for item in json.loads((folder / 'look/findings.json').read_text())['findings']
        if 'category id' in item['problem']
    ]
    assert len(finding['places']) == count and finding['severity'] == 'error'


@pytest.mark.parametrize('kind', ['masks', 'maps'])
def test_images_are_drawn(call, folder, kind):
    square = [[-5, 10, 15, 10, 15, 30, -5, 30]]
    first(bbox=[-5, 10, 20, 20], segmentation=square)(folder / 'data/shapes')
    result = call(f'{kind}.py', '--count', 2, '--out-dir', 'look')
    assert result.code == 0
    for split, original in (('train', 'training'), ('val', 'validation')):
        images = sorted((folder / f'look/{split}').iterdir())
        assert len(images) == 2
        for path in images:
            drawn = np.asarray(Image.open(path), int)
            plain = np.asarray(Image.open(folder / f'data/shapes/images/{original}' / path.name))
            assert drawn.shape == plain.shape and (abs(drawn - plain) > 60).any(2).mean() > 0.02
        assert Image.open(folder / f'look/{split}.png').width > 500
        assert f'look/{split}.png' in result.out
    assert (folder / 'look/train/00000000.jpg').is_file()  # has a finding, where it has boxes
    assert not (folder / 'look/test.png').exists()


@pytest.mark.parametrize(
    'name, classes',
    [('cells.py', ('RBC', 'WBC', 'Platelets')), ('roads.py', ('background', 'road', 'car'))],
)
def test_the_documented_configs(call, folder, name, classes):
    """Those of docs/own_data.md, with the shapes under the names that stand there."""
    page = (ROOT / 'docs/own_data.md').read_text()
    (block,) = [block for block in page.split('```python\n')[1:] if block.startswith(f'# {name}')]
    (folder / name).write_text(
        block.split('```')[0]
        .replace('/path/to/mmtrtvit', str(ROOT))
        .replace('/path/to/data/', f'{folder}/data/mine/')
    )
    root = (folder / 'data/shapes').rename(folder / 'data/mine')
    for split, short in (('training', 'train'), ('validation', 'val')):
        file = root / f'annotations/instances_{split}.json'
        content = json.loads(file.read_text())
        for category, new in zip(content['categories'], classes):
            category['name'] = new
        for image in content['images']:
            image['file_name'] = f'{short}/{image["file_name"]}'
        (root / f'{short}.json').write_text(json.dumps(content))
        (root / f'images/{split}').rename(root / f'images/{short}')
        (root / 'labels').mkdir(exist_ok=True)
        (root / f'annotations/{split}').rename(root / f'labels/{short}')
    for path in root.glob('labels/*/*.png'):
        values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), values.clip(max=2))
    result = call(name, '--count', 0)
    assert result.code == 0 and 'error' not in result.out, result.out
    assert all(f'\n{each} ' in result.out for each in classes)


@pytest.mark.parametrize(
    'name, part', [('none.py', 'no config file none.py'), ('empty.py', 'describes no data')]
)
def test_what_cannot_be_checked(call, folder, name, part):
    (folder / 'empty.py').write_text('model = dict()\n')
    result = call(name)
    assert result.code == 1 and part in result.message


ARCHIVES = """
_base_ = __import__('mmtrtvit').config_path('classification/demo_trtvit_a.py')
dataset = dict(_delete_=True, pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')])
train_dataloader = dict(dataset=dict({train}, **dataset))
val_dataloader = test_dataloader = dict(dataset=dict({val}, **dataset))
"""


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """Writes images of two splits as tar or parquet files, and a config for them."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0)

    def write_tar(split, images):
        with tarfile.open(f'{split}.tar', 'w') as tar:
            for number, (content, label) in enumerate(images):
                texts = {} if label is None else {f'{number}.cls': str(label).encode()}
                for name, data in {f'{number}.png': content, **texts}.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        return f"type='TarDataset', files='{split}.tar'"

    def write_parquet(split, images):
        datasets = pytest.importorskip('datasets')
        monkeypatch.setattr(datasets.config, 'HF_DATASETS_CACHE', tmp_path / 'cache')
        features = dict(image=datasets.Image(), label=datasets.Value('int64'))
        contents, labels = zip(*images)
        rows = dict(
            image=[dict(bytes=each, path=f'{n}.png') for n, each in enumerate(contents)],
            label=list(labels),
        )
        Path(split).mkdir()
        table = datasets.Dataset.from_dict(rows, datasets.Features(features))
        table.to_parquet(f'{split}/train.parquet')
        return f"type='ParquetDataset', path='{split}'"

    def image():
        return cv2.imencode('.png', noise.integers(0, 256, (32, 32, 3), dtype=np.uint8))[1]

    def write(kind, damage=()):
        splits = {}
        for split in ('train', 'val'):
            images = [(image().tobytes(), label) for label in (0, 1, 2)]
            images += damage if split == 'train' else []
            splits[split] = (write_tar if kind == 'tar' else write_parquet)(split, images)
        Path('archives.py').write_text(ARCHIVES.format(**splits))

    return write


@pytest.mark.parametrize('kind', ['tar', 'parquet'])
def test_images_in_files_of_many(call, archives, kind):
    archives(kind)
    result = call('archives.py', '--count', 2)
    assert result.code == 0, result.out
    assert re.search(r'^all classes +3 +3$', result.out, re.M) and 'test: the same' in result.out
    drawn = sorted(path.name for path in Path('work_dirs/archives/data/train').iterdir())
    assert drawn == [f'{"train.tar" if kind == "tar" else f"row {n}"}_{n}.png' for n in (0, 1)]


@pytest.mark.parametrize(
    'kind, place', [('tar', 'train.tar/{}.png'), ('parquet', 'row {0}/{0}.png')]
)
def test_defects_in_files_of_many(call, archives, kind, place):
    archives(kind, [(b'no image', 0), (b'', 1), (b'no image', 7), (b'no image', None)])
    result = call('archives.py')
    assert result.code == 1
    found = json.loads(Path('work_dirs/archives/data/findings.json').read_text())['findings']
    places = {finding['problem']: finding['places'] for finding in found}
    names = [place.format(number) for number in range(7)]
    assert places[Problem.LABEL.text] == [
        f"{names[5]} (label '7', of 3 classes)",
        f'{names[6]} (no label, of 3 classes)',
    ]
    assert [each.split(' (')[0] for each in places[Problem.UNREADABLE_IMAGE.text]] == names[3:]


def test_a_tar_file_that_is_not_there(call, archives):
    archives('tar')
    Path('train.tar').unlink()
    result = call('archives.py')
    assert result.code == 1 and 'no tar file' in result.out
