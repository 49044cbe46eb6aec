"""Contours by formula: what is written, and that classes look different."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mmtrtvit.datasets import make_contours
from mmtrtvit.datasets.generated import contours


def content(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob('*.png'))}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return make_contours(tmp_path_factory.mktemp('contours') / 'made', 11, train=3, val=2, size=32)


def test_every_class_has_its_images(root):
    for split, count in (('training', 3), ('validation', 2)):
        folders = sorted((root / split).iterdir())
        assert [folder.name for folder in folders] == [f'{index:02d}' for index in range(11)]
        assert {len([*folder.iterdir()]) for folder in folders} == {count}
    assert cv2.imread(str(next((root / 'training/00').iterdir()))).shape == (32, 32, 3)


def test_images_follow_from_the_seed(root, tmp_path):
    again = make_contours(tmp_path / 'again', 11, train=3, val=2, size=32)
    other = make_contours(tmp_path / 'other', 11, train=3, val=2, size=32, seed=1)
    assert content(again) == content(root) != content(other)
    assert len(set(content(root).values())) == 55


def test_what_is_complete_is_left_alone(root):
    before = next((root / 'training/00').iterdir()).stat().st_mtime_ns
    assert make_contours(root, 11, train=3, val=2, size=32) == root
    assert next((root / 'training/00').iterdir()).stat().st_mtime_ns == before
    with pytest.raises(FileExistsError, match='holds something else'):
        make_contours(root, 12, train=3, val=2, size=32)


def test_images_of_a_class_share_their_formula(monkeypatch):
    """The share of ink differs more between classes than within them."""
    plain = np.full((64, 64, 3), 128, np.uint8)
    monkeypatch.setattr(contours, '_background', lambda rng, size: plain.copy())
    ink = np.array(
        [
            [(draw(label, number) != plain).any(axis=2).mean() for number in range(20)]
            for label in range(10)
        ]
    )
    assert ink.min() > 0 and ink.mean(axis=1).std() > 1.5 * ink.std(axis=1).mean()


def draw(label, number):
    formula = contours._formula(np.random.default_rng([0, label]))
    return contours.draw_contours(np.random.default_rng([9, number, label]), formula, 64)


@pytest.mark.parametrize('classes, size', [(1, 64), (10, 31)])
def test_too_few_and_too_small(classes, size, tmp_path):
    with pytest.raises(ValueError, match=f'got {classes} and {size}'):
        make_contours(tmp_path / 'none', classes, size=size)
    assert not Path(tmp_path, 'none').exists()
