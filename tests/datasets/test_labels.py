"""Label maps with other numbers for their classes."""

import numpy as np
import pytest
from PIL import Image

from mmtrtvit.datasets.labels import convert_labels, parse_map
from mmtrtvit.errors import UserError

VALUES = np.array([[0, 255, 255], [7, 0, 255]], np.uint8)
WANTED = np.where(VALUES == 255, 1, VALUES)


def save(folder, image, name='in/a.png'):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    image.save(folder / name)


def palette(values):
    image = Image.fromarray(values, 'P')
    image.putpalette(range(256))
    return image


KINDS = {
    'grey': Image.fromarray,
    'palette': palette,
    'three channels': lambda values: Image.fromarray(np.repeat(values[..., None], 3, 2)),
    'grey and alpha': lambda values: Image.merge(
        'LA', [Image.fromarray(values), Image.new('L', values.shape[::-1], 9)]
    ),
    '16 bits': lambda values: Image.fromarray(values.astype(np.uint16)),
}


@pytest.mark.parametrize('kind', KINDS.values(), ids=KINDS)
def test_values_are_mapped(tmp_path, kind):
    save(tmp_path / 'old', kind(VALUES))
    converted = convert_labels(tmp_path / 'old', tmp_path / 'new', values={255: 1})
    assert converted.files == [tmp_path / 'new/in/a.png']
    with Image.open(tmp_path / 'new/in/a.png') as image:
        assert image.mode == 'L' and np.array_equal(np.asarray(image), WANTED)
    assert converted.before == {0: 2, 7: 1, 255: 3} and converted.after == {0: 2, 7: 1, 1: 3}


def test_one_bit(tmp_path):
    save(tmp_path / 'old', Image.fromarray(VALUES > 0))
    convert_labels(tmp_path / 'old', tmp_path / 'new', values={})
    with Image.open(tmp_path / 'new/in/a.png') as image:
        assert np.array_equal(np.asarray(image), VALUES > 0)


def test_values_are_swapped_at_once(tmp_path):
    save(tmp_path / 'old', Image.fromarray(VALUES))
    convert_labels(tmp_path / 'old', tmp_path / 'new', values={0: 7, 7: 0})
    with Image.open(tmp_path / 'new/in/a.png') as image:
        assert np.asarray(image).tolist() == [[7, 255, 255], [0, 7, 255]]


def colours(folder):
    save(folder, Image.fromarray(np.arange(18, dtype=np.uint8).reshape(2, 3, 3)))


def large(folder):
    save(folder, Image.fromarray(VALUES.astype(np.uint16) * 10))


def damaged(folder):
    (folder / 'in').mkdir(parents=True)
    (folder / 'in/a.png').write_bytes(b'x')


@pytest.mark.parametrize(
    'make, part',
    [
        (colours, 'a.png has colours'),
        (large, 'a.png has the values 2550'),
        (damaged, 'a.png cannot be read as a label map'),
        (lambda folder: folder.mkdir(), 'has no label maps'),
    ],
)
def test_what_is_no_label_map(tmp_path, make, part):
    make(tmp_path / 'old')
    if part != 'has no label maps':
        save(tmp_path / 'old', Image.fromarray(VALUES), '0.png')
    with pytest.raises(UserError, match=part):
        convert_labels(tmp_path / 'old', tmp_path / 'new', values={})
    assert not (tmp_path / 'new').exists()


def test_files_are_not_replaced_unless_that_is_asked_for(tmp_path):
    save(tmp_path / 'old', Image.fromarray(VALUES))
    with pytest.raises(UserError, match='exists'):
        convert_labels(tmp_path / 'old', tmp_path / 'old', values={255: 1})
    convert_labels(tmp_path / 'old', tmp_path / 'old', values={255: 1}, overwrite=True)
    with Image.open(tmp_path / 'old/in/a.png') as image:
        assert np.array_equal(np.asarray(image), WANTED)


@pytest.mark.parametrize('pairs', [['255'], ['a:1'], ['1:256'], ['1:-1'], ['1:2', '1:3']])
def test_what_is_no_pair_of_values(pairs):
    with pytest.raises(UserError, match='--map'):
        parse_map(pairs)
    assert parse_map(['255:1', '0:255']) == {255: 1, 0: 255}
