import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile

from mmtrtvit.errors import UserError
from mmtrtvit.runtime.images import read_image


@pytest.fixture(scope='module')
def image():
    return np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def variants(image):
    wide = image.astype(np.uint16) * 256 + 77
    alpha = np.full(image.shape[:2], 9, np.uint8)
    return {
        'colour.png': image,
        'grey.png': image[..., 0],
        'alpha.png': np.dstack([image, alpha]),
        'deep.png': wide,
        'deep grey.png': wide[..., 0],
        'deep alpha.png': np.dstack([wide, wide[..., 0]]),
        'fläche 图.png': image,
        'photo.jpg': image,
        'deep.tif': wide,
    }


@pytest.mark.parametrize('name', variants(np.zeros((1, 1, 3), np.uint8)))
def test_files_and_arrays_are_read_like_mmcv_reads_files(name, image, tmp_path):
    stored = variants(image)[name]
    path = tmp_path / name
    path.write_bytes(cv2.imencode(path.suffix, stored)[1])
    expected = LoadImageFromFile()(dict(img_path=str(path)))['img']
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(read_image(str(path)), expected)
    if path.suffix == '.png':
        result = read_image(stored)
        np.testing.assert_array_equal(result, expected)
        assert result.flags['C_CONTIGUOUS'] and result.dtype == np.uint8


def test_a_turned_photo_stands_upright(image, tmp_path):
    from PIL import Image

    path = tmp_path / 'turned.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(path, exif=exif)
    assert read_image(path).shape == (40, 30, 3)


def test_files_that_are_no_images(tmp_path):
    with pytest.raises(UserError, match='none.png cannot be read: No such file'):
        read_image(tmp_path / 'none.png')
    with pytest.raises(UserError, match='cannot be read: Is a directory'):
        read_image(tmp_path)
    path = tmp_path / 'bad.png'
    path.write_bytes(b'')
    with pytest.raises(UserError, match='bad.png is empty'):
        read_image(path)
    path.write_bytes(b'no image')
    with pytest.raises(UserError, match='bad.png cannot be decoded'):
        read_image(path)


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.tif', '.bmp', '.webp'])
@pytest.mark.parametrize('share', [0.02, 0.5, 0.99])
def test_a_file_whose_end_is_missing_is_refused(suffix, share, image, tmp_path):
    data = cv2.imencode(suffix, cv2.resize(image, (640, 480)))[1].tobytes()
    path = tmp_path / f'half{suffix}'
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=f'half{suffix} cannot be decoded'):
        read_image(path)


@pytest.mark.parametrize(
    'array, message',
    [
        (np.zeros((0, 5, 3), np.uint8), 'it has no pixels'),
        (np.zeros((5, 0), np.uint8), 'it has no pixels'),
        (np.zeros((5, 5, 2), np.uint8), r'\(5, 5, 2\), expected \(H, W\)'),
        (np.zeros(5, np.uint8), r'\(5,\), expected'),
        (np.zeros((5, 5, 3), np.float32), 'holds float32, expected uint8 or uint16'),
    ],
)
def test_arrays_that_are_no_images(array, message):
    with pytest.raises(UserError, match=message):
        read_image(array)
