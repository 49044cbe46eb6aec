"""Exports of annotation tools with known shapes, converted."""

import base64
import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from mmtrtvit.datasets.convert import convert
from mmtrtvit.datasets.formats.by_name import FINDERS, find
from mmtrtvit.datasets.formats.polygons import corners
from mmtrtvit.datasets.images import by_tail, resolve
from mmtrtvit.errors import UserError

WIDTH, HEIGHT = 64, 48
TRIANGLE = [[10, 10], [30, 10], [10, 20]]
MASK = np.array([[1, 1, 0], [0, 1, 1]], np.uint8)  # from 20, 30


def write_images(folder, names=('a.jpg', 'in/b.png')):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))


def objects(converted, split='train'):
    """The objects of each image by its name: class, box and mask or None."""
    coco = COCO(converted.splits[split].file)
    names = {key: item['name'] for key, item in coco.cats.items()}
    found = {item['file_name'].rpartition('/')[2]: [] for item in coco.imgs.values()}
    for item in coco.anns.values():
        mask = coco.annToMask(item) if 'segmentation' in item else None
        assert item['area'] == (item['bbox'][2] * item['bbox'][3] if mask is None else mask.sum())
        image = coco.imgs[item['image_id']]['file_name'].rpartition('/')[2]
        found[image].append((names[item['category_id']], item['bbox'], mask))
    return found


def assert_mask(mask):
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[30:32, 20:23] = MASK
    np.testing.assert_array_equal(mask, expected)


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><size>3</size></task></meta>
<image id="0" name="in/a.jpg" subset="{train}" width="64" height="48">
  <box label="cat" occluded="0" xtl="10.5" ytl="10" xbr="30" ybr="20" z_order="0">
    <attribute name="x">1</attribute></box>
  <box label="turned" xtl="20" ytl="10" xbr="40" ybr="14" rotation="90"/>
  <polygon label="dog" points="10.00,10.00;30.00,10.00;10.00,20.00"/>
  <mask label="dog" rle="0, 2, 2, 2" left="20" top="30" width="3" height="2"/>
  <ellipse label="ball" cx="30" cy="20" rx="10" ry="5"/>
  <points label="dog" points="1,2"/><points label="dog" points="1,2"/><tag label="dog"/>
</image>
<image id="1" name="in/b.png" subset="{val}" width="64" height="48"/>
</annotations>"""


def test_cvat(tmp_path):
    write_images(tmp_path / 'data/images', ['in/a.jpg', 'in/b.png', 'other/a.jpg'])
    (tmp_path / 'data/annotations.xml').write_text(CVAT.format(train='Train', val='Validation'))
    converted = convert(find('cvat', tmp_path / 'data'), tmp_path / 'out')
    assert converted.classes == ['ball', 'cat', 'dog', 'turned']
    assert objects(converted, 'val') == {'b.png': []}
    cat, turned, dog, masked, ball = objects(converted)['a.jpg']
    assert cat == ('cat', [10.5, 10, 19.5, 10], None)
    assert turned[1] == pytest.approx([28, 2, 4, 20]) and turned[2].sum() == 80
    assert dog[:2] == ('dog', [10, 10, 20, 10]) and 90 < dog[2].sum() < 110
    assert_mask(masked[2])
    assert ball[1] == pytest.approx([20, 15, 20, 10]) and 152 < ball[2].sum() < 162
    assert converted.notes == ['points is left out: it is neither a box nor a mask (2)']


def test_val_is_drawn_from_train_if_asked(tmp_path):
    write_images(tmp_path, ['in/a.jpg', 'in/b.png'])
    (tmp_path / 'annotations.xml').write_text(CVAT.format(train='default', val=''))
    with pytest.raises(UserError, match='no images for val. To take some of the 2 .* --val 0.2'):
        convert(find('cvat', tmp_path), tmp_path / 'out')
    with pytest.raises(UserError, match='no images for val'):
        convert(find('cvat', tmp_path), tmp_path / 'out', val=0.1)  # of 2
    drawn = [
        objects(convert(find('cvat', tmp_path), tmp_path / f'out{turn}', val=0.5), 'val').keys()
        for turn in range(2)
    ]
    assert drawn[0] == drawn[1] and len(drawn[0]) == 1


@pytest.mark.parametrize(
    'old, new, message',
    [
        ('in/b.png', 'c.png', '1 of 2 images are not below .*such as c.png'),
        ('in/a.jpg', 'a.jpg', '1 of 2 images are not below .*or more than once, such as a.jpg'),
        ('<image id="1"', '<track id="1"/><image id="1"', 'tracks of a video'),
        ('image', 'picture', 'is no export of "CVAT for images 1.1"'),
        ('</annotations>', '', 'annotations.xml is not an XML file'),
        ('width="64"', 'width="640"', 'a.jpg: annotated with 640 x 48 pixels, but it has 64'),
        ('0, 2, 2, 2', '0, 2, 2, 3', 'its runs do not fill its box'),
        ('left="20"', 'left="63"', 'or that is not in the image'),
        ('xtl="10.5"', 'xtl="x"', "a box that cannot be read: could not convert .* 'x'"),
        ('xtl="10.5"', 'xtl="nan"', 'cat has coordinates that are no numbers'),
        ('10.00,10.00;30.00', '1e9,10.00;30.00', 'dog has coordinates .*far outside'),
        ('10.00,10.00;30.00,10.00;10.00', '10.00', 'dog has a polygon of less than 3 points'),
    ],
)
def test_broken_cvat_is_told(tmp_path, old, new, message):
    write_images(tmp_path, ['in/a.jpg', 'in/b.png', 'other/a.jpg'])
    text = CVAT.format(train='train', val='val')
    text = text.replace(old, new) if old == 'image' else text.replace(old, new, 1)
    (tmp_path / 'annotations.xml').write_text(text)
    with pytest.raises(UserError, match=message):
        convert(find('cvat', tmp_path), tmp_path / 'out')


def shape(kind, points, label='dog', **more):
    return dict(label=label, points=points, shape_type=kind, group_id=None, flags={}, **more)


def write_labelme(file, image, shapes, **more):
    file.parent.mkdir(parents=True, exist_ok=True)
    content = dict(version='5.4', shapes=shapes, imagePath=image, imageData=None)
    file.write_text(json.dumps(dict(content, imageWidth=WIDTH, imageHeight=HEIGHT, **more)))


def as_png(mask):
    file = io.BytesIO()
    Image.fromarray(mask.astype(bool)).save(file, 'PNG')
    return base64.b64encode(file.getvalue()).decode()


def test_labelme(tmp_path):
    write_images(tmp_path / 'data', ['train/a.jpg', 'pictures/b.png', 'val/c.jpg'])
    shapes = [
        shape('polygon', TRIANGLE),
        dict(shape('polygon', TRIANGLE), group_id=3),
        dict(shape('polygon', [[40, 30], [50, 30], [50, 40]]), group_id=3),
        shape('rectangle', [[30, 20], [10.5, 10]], 'cat'),
        shape('circle', [[30, 20], [30, 30]]),
        shape('mask', [[20, 30], [22, 31]], mask=as_png(MASK)),
        shape('point', [[1, 2]]),
        shape('line', [[1, 2], [3, 4]]),
    ]
    write_labelme(tmp_path / 'data/train/a.json', 'a.jpg', shapes)
    write_labelme(tmp_path / 'data/labels/b.json', r'..\pictures\b.png', [])
    write_labelme(tmp_path / 'data/val/c.json', '/home/me/c.jpeg', [])
    write_labelme(tmp_path / 'data/.hidden/d.json', 'd.jpg', [])
    converted = convert(find('labelme', tmp_path / 'data'), tmp_path / 'out')
    assert objects(converted, 'val') == {'c.jpg': []}
    found = objects(converted)
    assert found.keys() == {'a.jpg', 'b.png'} and not found['b.png']
    cat, circle, mask, triangle, group = found['a.jpg']
    assert cat == ('cat', [10.5, 10, 19.5, 10], None)
    assert circle[1] == pytest.approx([20, 10, 20, 20]) and 306 < circle[2].sum() < 322
    assert_mask(mask[2])
    assert triangle[1] == [10, 10, 20, 10] and group[1] == [10, 10, 40, 30]
    assert group[2][32:38, 48].all() and group[2].sum() > triangle[2].sum()
    assert sorted(note.split()[0] for note in converted.notes) == ['line', 'point']


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(shapes=None), 'a.json is no file of labelme'),
        (dict(imageWidth=640), 'made for an image of 640 x 48 pixels, but it has 64 x 48'),
        (dict(imagePath='x.jpg'), 'x.jpg does not exist'),
        (dict(shapes=[{}]), 'shape 1 cannot be read: KeyError..label'),
        (dict(shapes=[shape('polygon', [['a', 1]])]), 'shape 1 cannot be read'),
        (dict(shapes=[shape('mask', [[63, 47]], mask=as_png(MASK))]), 'mask is not in the image'),
        (dict(shapes=[shape('mask', [[1, 1]], mask='AAAA')]), 'shape 1 cannot be read'),
    ],
)
def test_broken_labelme_is_told(tmp_path, change, message):
    write_images(tmp_path, ['b.jpg', 'c.jpg'])
    write_labelme(tmp_path / 'a.json', 'b.jpg', [])
    content = json.loads((tmp_path / 'a.json').read_text())
    (tmp_path / 'a.json').write_text(json.dumps(content | change))
    write_labelme(tmp_path / 'val/c.json', '../c.jpg', [])
    with pytest.raises(UserError, match=message):
        convert(find('labelme', tmp_path), tmp_path / 'out')


def result(kind, **value):
    names = {kind: value.pop('names', ['dog'])}
    size = dict(original_width=WIDTH, original_height=HEIGHT)
    return dict(type=kind, value=value | names, **size)


def label_studio_tasks():
    percent = (np.array(TRIANGLE) / (WIDTH, HEIGHT) * 100).tolist()
    box = dict(x=25, y=50, width=12.5, height=25)  # 16, 24, 8, 12
    results = [
        result('rectanglelabels', **box, names=['cat', 'dog']),
        result('rectanglelabels', **box, rotation=90),
        result('polygonlabels', points=percent),
        result('ellipselabels', x=50, y=50, radiusX=12.5, radiusY=25),
        result('keypointlabels', x=50, y=50, width=1),
    ]
    return [
        dict(
            id=1,
            data=dict(note=3, image='/data/upload/1/0a1b2c3d-a%20b.jpg'),
            annotations=[dict(was_cancelled=True, result=[{}]), dict(result=results)],
        ),
        dict(id=2, data=dict(image='/data/local-files/?d=me/in/b.png'), annotations=[]),
    ]


def test_label_studio(tmp_path):
    write_images(tmp_path / 'data', ['a b.jpg', 'in/b.png', 'b.png'])
    (tmp_path / 'data/export.json').write_text(json.dumps(label_studio_tasks()))
    files = find('label-studio', tmp_path / 'data/export.json', ['dog', 'cat'])
    converted = convert(files, tmp_path / 'out', val=0.5)
    assert converted.classes == ['dog', 'cat']
    both = {**objects(converted), **objects(converted, 'val')}
    assert both['b.png'] == []
    cat, dog, turned, triangle, ball = both['a b.jpg']
    assert cat == ('cat', [16, 24, 8, 12], None) and dog == ('dog', [16, 24, 8, 12], None)
    assert turned[1] == pytest.approx([4, 24, 12, 8]) and turned[2].sum() == 96
    assert triangle[1] == pytest.approx([10, 10, 20, 10], abs=0.01)
    assert ball[1] == pytest.approx([24, 12, 16, 24])
    assert converted.notes == ['keypointlabels is left out: it is neither a box nor a polygon']


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda tasks: tasks[0].pop('annotations'), 'no export of Label Studio as "JSON".*MIN'),
        (lambda tasks: tasks[0]['data'].update(image='x.jpg'), '1 of 2 images .*such as x.jpg'),
        (
            lambda tasks: tasks[0]['annotations'][1]['result'][0].update(original_width=1),
            'a b.jpg: annotated with 1 x 48 pixels, but it has 64 x 48',
        ),
        (lambda tasks: tasks[0]['annotations'].insert(0, 'x'), 'of another form .*AttributeError'),
        (
            lambda tasks: tasks[0]['annotations'][1]['result'][0]['value'].pop('x'),
            'a b.jpg: annotations of another form .*KeyError..x',
        ),
    ],
)
def test_broken_label_studio_is_told(tmp_path, change, message):
    write_images(tmp_path, ['a b.jpg', 'in/b.png'])
    tasks = label_studio_tasks()
    change(tasks)
    (tmp_path / 'export.json').write_text(json.dumps(tasks))
    with pytest.raises(UserError, match=message):
        convert(find('label-studio', tmp_path / 'export.json'), tmp_path / 'out', val=0.5)


@pytest.mark.parametrize('format', FINDERS)
def test_what_is_not_there_is_told(tmp_path, format):
    with pytest.raises(UserError, match='none'):
        find(format, tmp_path / 'none')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='empty'):
        find(format, tmp_path / 'empty')


@pytest.mark.parametrize(
    'name, expected',
    [
        ('images/a.jpg', 'images/a.jpg'),
        (r'.\images\a.jpg', 'images/a.jpg'),
        ('data/images/a.jpg', 'images/a.jpg'),
        (r'D:\mine\images\a.jpg', 'images/a.jpg'),
        ('/home/you/set/images/a.jpg', 'images/a.jpg'),
        ('../images/a.jpg', 'images/a.jpg'),
        ('images/sub/a.jpg', None),  # images is here: not another a.jpg
        ('images/' + 'b' * 5000, None),
        ('b.jpg', None),
    ],
)
def test_paths_of_other_machines(tmp_path, name, expected):
    write_images(tmp_path, ['images/a.jpg', 'a.jpg'])
    assert resolve(name, [tmp_path]) == (expected and tmp_path / expected)


def test_images_are_found_by_the_end_of_their_path(tmp_path):
    one, two, three = tmp_path / 'one/a.jpg', tmp_path / 'two/a.jpg', tmp_path / 'b.jpg'
    look = by_tail([one, two, three])
    assert look('x/two/a.jpg') == two and look(r'C:\one\a.jpg') == one
    assert look('b.jpg') == three and look('x/b.jpg') == three
    assert look('a.jpg') is None and look('c.jpg') is None and look('') is None


def test_boxes_turn_clockwise_on_the_screen():
    points = corners((10, 20), (4, 2), 30)
    right, below = points[1:3].mean(axis=0), points[2:4].mean(axis=0)
    assert right == pytest.approx([10 + 2 * 0.8660254, 20 + 1])
    assert below == pytest.approx([10 - 0.5, 20 + 0.8660254])
