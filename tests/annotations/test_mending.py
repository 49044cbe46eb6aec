"""Corrected copies of annotation files: what is mended, and that the originals stay."""

import json

import pytest

from mmtrtvit.annotations.mending import mend_coco
from mmtrtvit.errors import UserError

SQUARE = [4, 4, 14, 4, 14, 14, 4, 14]


def content():
    item = dict(
        id=1, image_id=1, category_id=1, bbox=[4, 4, 10, 10], area=100, iscrowd=0,
        segmentation=[SQUARE],
    )  # fmt: skip
    return dict(
        images=[dict(id=1, file_name='in/a.jpg', width=64, height=64)],
        annotations=[item],
        categories=[dict(id=1, name='cat')],
    )


def entry(made, name='annotations', **changes):
    made[name][0].update(changes)


def add(made, name='annotations', **changes):
    made[name].append(dict(made[name][0], **changes))


def text_ids(made):
    entry(made, image_id='1', category_id=1.0)
    entry(made, 'images', id=1.0)


def image_twice(made):
    add(made, 'images', id=2)
    add(made, id=2, image_id=2, bbox=[20, 20, 5, 5])


def root_category(made):
    made['categories'].insert(0, dict(id=0, name='cat'))


CASES = {
    'ids': (text_ids, {'image_id': 1, 'category_id': 1}),
    'area in a list': (lambda made: entry(made, area=[100]), {'area': 100}),
    'no area': (lambda made: entry(made, area=None), {'area': 100}),
    'crowd as text': (lambda made: entry(made, iscrowd='0'), {'iscrowd': 0}),
    'corner': (lambda made: entry(made, bbox=[14, 14, -10, -10]), {'bbox': [4, 4, 10, 10]}),
    'points': (
        lambda made: entry(made, segmentation=[[[4, 4], [14, 4], [14, 14], [4, 14]]]),
        {'segmentation': [SQUARE]},
    ),
    'points and none': (lambda made: entry(made, segmentation=[[], SQUARE]), {}),
    'root': (root_category, {'category_id': 1}),
    'object twice': (lambda made: add(made, id=2), {}),
    'unusable object': (lambda made: add(made, id=2, bbox=[1, 2, None, 4]), {}),
    'object of no image': (lambda made: add(made, id=2, image_id=5), {}),
    'backslash': (lambda made: entry(made, 'images', file_name='in\\a.jpg'), {}),
    'id 0': (lambda made: entry(made, id=0), {}),
}


@pytest.mark.parametrize('change, values', CASES.values(), ids=CASES)
def test_what_is_mended(tmp_path, change, values):
    made = content()
    change(made)
    source = json.dumps(made).encode('utf-16')
    (tmp_path / 'a.json').write_bytes(source)
    done = mend_coco(tmp_path / 'a.json', tmp_path / 'out/a.json', images=tmp_path)
    mended = json.loads((tmp_path / 'out/a.json').read_bytes())
    assert len(done) == 1 + (change is text_ids) * 2
    assert mended == content() | dict(annotations=[content()['annotations'][0] | values])
    assert (tmp_path / 'a.json').read_bytes() == source


def test_an_image_listed_twice_gets_all_its_objects(tmp_path):
    made = content()
    image_twice(made)
    (tmp_path / 'a.json').write_text(json.dumps(made))
    mend_coco(tmp_path / 'a.json', tmp_path / 'b.json', images=tmp_path)
    mended = json.loads((tmp_path / 'b.json').read_text())
    assert len(mended['images']) == 1
    assert [item['image_id'] for item in mended['annotations']] == [1, 1]


def test_what_is_right_stays(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps(content()))
    assert not mend_coco(tmp_path / 'a.json', tmp_path / 'b.json', images=tmp_path)
    assert json.loads((tmp_path / 'b.json').read_text()) == content()


def test_an_original_is_never_written_over(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps(content()))
    with pytest.raises(UserError, match='is the annotation file itself'):
        mend_coco(tmp_path / 'a.json', tmp_path / '../' / tmp_path.name / 'a.json', images=tmp_path)
