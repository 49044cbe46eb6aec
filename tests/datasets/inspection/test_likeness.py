"""Which images look alike, on drawn ones that were altered, and the search against a plain loop."""

import cv2
import numpy as np
import pytest

from mmtrtvit.datasets.inspection import likeness
from mmtrtvit.datasets.inspection.likeness import BITS, MOST_BITS, alike, fingerprint

HEIGHT, WIDTH = 96, 128


def drawn(seed):
    """An image with as much detail at each scale as photographs have."""
    rng = np.random.default_rng(seed)
    image = np.zeros((HEIGHT, WIDTH), np.float32)
    for cells in (2, 4, 8, 16, 32):
        noise = rng.normal(0, 60 / cells**0.5, (cells, cells)).astype(np.float32)
        image += cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return (image + 128).clip(0, 255).astype(np.uint8)


def differing(one, other):
    bits = np.frombuffer(one, np.uint8) ^ np.frombuffer(other, np.uint8)
    return int(np.unpackbits(bits).sum())


def saved(image, quality=30):
    return cv2.imdecode(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0)


@pytest.mark.parametrize(
    'alter',
    [
        saved,
        lambda image: cv2.resize(image, (WIDTH // 2, HEIGHT // 2)),
        lambda image: (image * 0.8 + 30).astype(np.uint8),
        lambda image: image[:-1, 1:],
    ],
)
@pytest.mark.parametrize('seed', range(4))
def test_an_altered_image_looks_like_itself(seed, alter):
    image = drawn(seed)
    assert differing(fingerprint(image), fingerprint(alter(image))) <= MOST_BITS


def test_different_images_do_not():
    prints = [fingerprint(drawn(seed)) for seed in range(30)]
    pairs = [differing(one, other) for i, one in enumerate(prints) for other in prints[:i]]
    assert min(pairs) > 2 * MOST_BITS


@pytest.mark.parametrize('level', [0, 128, 255])
def test_an_image_without_contrast_looks_like_none(level):
    image = np.full((HEIGHT, WIDTH), level, np.uint8)
    assert fingerprint(image) is None
    image[10:20, 10:20] = 255 - level // 2
    assert len(fingerprint(image)) * 8 == BITS


def test_the_search_finds_what_a_loop_finds(monkeypatch):
    monkeypatch.setattr(likeness, 'BLOCK', (3, 4))
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, (7, BITS), np.uint8)
    second = first[::-1].copy()
    changed = [0, 1, MOST_BITS - 1, MOST_BITS, MOST_BITS + 1, 60, 128]
    for row, count in zip(second, changed):
        row[rng.choice(BITS, count, replace=False)] ^= 1
    first, second = ([np.packbits(row).tobytes() for row in rows] for rows in (first, second))
    expected = [
        (one, other)
        for one in range(len(first))
        for other in range(len(second))
        if differing(first[one], second[other]) <= MOST_BITS
    ]
    assert sorted(alike(first, second)) == expected == [(3, 3), (4, 2), (5, 1), (6, 0)]
    assert list(alike(first, [])) == list(alike([], second)) == []
