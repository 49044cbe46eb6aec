"""Resizing in NumPy beside Pillow's."""

import numpy as np
import PIL
import pytest
from PIL import Image

from mmtrtvit.runtime.resampling import FILTERS, resample

OLD = [(30, 40), (150, 100), (77, 300), (7, 5), (1, 1)]
NEW = [(25, 34), (90, 150), (120, 80), (30, 40), (3, 1)]


@pytest.mark.parametrize('interpolation', FILTERS)
@pytest.mark.parametrize('old', OLD, ids=str)
def test_it_is_pillows_to_the_bit(old, interpolation):
    image = np.random.default_rng(0).integers(0, 256, (*old, 3), dtype=np.uint8)
    way = Image.Resampling[interpolation.upper()]
    sizes = NEW if int(PIL.__version__.split('.')[0]) >= 13 else []  # older: another order of axes
    for new in [*sizes, (old[0], 23), (51, old[1])]:
        expected = np.asarray(Image.fromarray(image).resize(new[::-1], way))
        assert np.array_equal(resample(image, new, interpolation), expected), new
