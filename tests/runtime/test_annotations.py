"""Numbers of images and categories out of COCO annotations."""

import json
from pathlib import Path

import pytest

from mmtrtvit.errors import UserError
from mmtrtvit.media import Medium
from mmtrtvit.runtime.annotations import read_annotations


@pytest.fixture
def annotations(tmp_path):
    """Writes and reads a file of images and categories, each as a pair of id and name."""

    def make(images=(), categories=(), used=(), encoding='utf-8'):
        content = dict(
            images=[dict(id=number, file_name=name) for number, name in images],
            categories=[dict(id=number, name=name) for number, name in categories],
            annotations=[dict(category_id=number) for number in used],
        )
        path = tmp_path / 'annotations.json'
        path.write_text(json.dumps(content), encoding=encoding)
        return read_annotations(path)

    return make


def media(*paths):
    return [Medium(Path(path), Path(path).name, Path(path).stem) for path in paths]


@pytest.mark.parametrize(
    'listed, path',
    [
        ('b.jpg', '/data/b.jpg'),
        ('train/b.jpg', '/data/train/b.jpg'),
        ('./train/b.jpg', '/data/train/b.jpg'),
        ('train\\b.jpg', '/data/train/b.jpg'),
        ('/data/train/b.jpg', '/data/train/b.jpg'),
        ('train/b.jpg', '/data/other/../train/b.jpg'),
    ],
)
def test_a_listed_name_ends_the_path_of_its_image(annotations, listed, path):
    (medium,) = media(path)
    found = annotations([(1, 'a.jpg'), (2, listed)]).image_ids([medium])
    assert found == {medium: 2}


def test_paths_are_relative_to_the_current_folder(annotations, tmp_path, monkeypatch):
    (tmp_path / 'train').mkdir()
    monkeypatch.chdir(tmp_path / 'train')
    assert [*annotations([(2, 'train/b.jpg')]).image_ids(media('b.jpg')).values()] == [2]


def test_what_is_not_listed_has_no_number(annotations):
    first, *others = media('/x/a.jpg', '/x/b.jpg', '/x/xa.jpg', '/x/a.png', '/x/d.mp4')
    assert annotations([(9, 'a.jpg'), (1, 'c/b.jpg'), (2, 'd.mp4')]).image_ids(
        [first, *others, Medium(0, Path('webcam_0'), Path('webcam_0'))]
    ) == {first: 9}


def test_none_is_listed(annotations):
    with pytest.raises(UserError, match='lists none of the inputs. Listed are c/b.jpg; the inputs'):
        annotations([(1, 'c/b.jpg')]).image_ids(media('/x/b.jpg'))


def test_the_longest_name_counts(annotations):
    root, below = media('/x/b.jpg', '/x/sub/b.jpg')
    found = annotations([(1, 'b.jpg'), (2, 'sub/b.jpg')]).image_ids([below, root])
    assert found == {root: 1, below: 2}


def test_two_images_of_one_name_are_refused(annotations):
    with pytest.raises(
        UserError, match=r'/x/b.jpg and /y/b.jpg could both be b.jpg in .*annotations.json'
    ):
        annotations([(1, 'b.jpg')]).image_ids(media('/x/b.jpg', '/y/b.jpg'))


def test_an_image_that_is_listed_twice_is_refused(annotations):
    twice = annotations([(3, 'b.jpg'), (8, './b.jpg'), (1, 'a.jpg')])
    with pytest.raises(UserError, match='lists b.jpg more than once, with the ids 3, 8, so /x/b'):
        twice.image_ids(media('/x/b.jpg'))
    assert [*twice.image_ids(media('/x/a.jpg')).values()] == [1]


def test_categories_go_by_name(annotations):
    found = annotations(categories=[(5, 'ring'), (0, 'disc'), (2, 'box')])
    assert found.category_ids(['disc', 'ring']) == [0, 5]
    with pytest.raises(UserError, match="no category 'rings'.* Did you mean ring.* are rings; li"):
        found.category_ids(['disc', 'rings'])
    with pytest.raises(UserError, match='the model has no names of classes'):
        found.category_ids([])


def test_of_two_categories_of_one_name_the_one_with_objects_counts(annotations):
    twice = [(0, 'cell'), (1, 'cell')]
    assert annotations(categories=twice, used=[1, 1]).category_ids(['cell']) == [1]
    for used in ([], [0, 1]):
        with pytest.raises(UserError, match="category 'cell' more than once, with the ids 0, 1"):
            annotations(categories=twice, used=used).category_ids(['cell'])


def test_a_byte_order_mark_and_ids_of_other_types(annotations):
    found = annotations([(2.0, 'b.jpg')], [('x', 'ring')], encoding='utf-8-sig')
    assert [*found.image_ids(media('b.jpg')).values()] == [2.0]
    assert found.category_ids(['ring']) == ['x']


@pytest.mark.parametrize(
    'text, message',
    [
        (None, 'cannot be read as COCO annotations: .*No such file'),
        ('no JSON', 'cannot be read as COCO annotations'),
        ('[]', "has no list 'images'"),
        ('{"images": []}', "has no list 'categories'"),
        ('{"images": [{"file_name": "a.jpg"}], "categories": []}', "images holds {'file_name'"),
        ('{"images": [{"id": 1, "file_name": null}], "categories": []}', 'expected an object with'),
        ('{"images": [{"id": [], "file_name": "a"}], "categories": []}', 'expected an object with'),
        ('{"images": [], "categories": {"1": "ring"}}', "has no list 'categories'"),
    ],
)
def test_files_that_are_no_annotations(tmp_path, text, message):
    if text is not None:
        (tmp_path / 'x.json').write_text(text)
    with pytest.raises(UserError, match=rf'x\.json.*{message}'):
        read_annotations(tmp_path / 'x.json')
