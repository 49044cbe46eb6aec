"""The one reader of images: the same pixels and sizes for every format, mode and turn."""

import importlib
import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from mmcv.transforms.loading import LoadImageFromFile as MMCVLoader
from mmengine.dataset import BaseDataset
from mmengine.logging import MMLogger
from mmengine.registry import TRANSFORMS
from PIL import Image, ImageOps
from torch.utils.data import DataLoader

from mmtrtvit import images as reading
from mmtrtvit.engine import loading
from mmtrtvit.errors import UserError
from mmtrtvit.image_header import read_header
from mmtrtvit.images import decode, read_image, read_size
from mmtrtvit.media import IMAGES

# Modes of Pillow that each format is stored in; EXIF data only where the format has them.
MODES = {
    'jpg': ('RGB', 'L', 'CMYK'),
    'png': ('RGB', 'L', 'LA', 'P', 'RGBA', '1', 'I;16'),
    'tif': ('RGB', 'L', 'LA', 'P', 'RGBA', '1', 'I;16', 'CMYK'),
    'webp': ('RGB', 'L', 'RGBA'),
    'bmp': ('RGB', 'L', 'P', 'RGBA', '1'),
    'ppm': ('RGB',),
    'pgm': ('L', 'I;16'),
}
TURNED = ('jpg', 'png', 'tif', 'webp')
ORIENTATION = 0x0112


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
    expected = MMCVLoader()(dict(img_path=str(path)))['img']
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(read_image(str(path)), expected)
    if path.suffix == '.png':
        result = read_image(stored)
        np.testing.assert_array_equal(result, expected)
        assert result.flags['C_CONTIGUOUS'] and result.dtype == np.uint8


def in_mode(mode, width=48, height=32):
    """A smooth image, not alike upside down or mirrored."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    colour = Image.fromarray(np.dstack([x, y, (x + y) / 2]).astype(np.uint8))
    if mode == 'I;16':
        return Image.fromarray(np.asarray(colour.convert('L')).astype(np.uint16) * 256 + 9)
    return colour.convert(mode)


def stored(image, suffix, orientation=None, **options):
    file = io.BytesIO()
    if orientation:
        options['exif'] = exif = Image.Exif()
        exif[ORIENTATION] = orientation
    if suffix == 'webp':
        options['lossless'] = True
    image.save(file, Image.registered_extensions()[f'.{suffix}'], **options)
    return file.getvalue()


@pytest.mark.parametrize(
    'suffix, mode', [(s, mode) for s, modes in MODES.items() for mode in modes]
)
def test_every_turn_of_every_format_is_made_once(suffix, mode, tmp_path):
    plain = decode(stored(in_mode(mode), suffix))
    assert plain.shape == (32, 48, 3) and plain.dtype == np.uint8
    if mode == 'RGB' and suffix != 'jpg':
        np.testing.assert_array_equal(plain, np.asarray(in_mode(mode))[..., ::-1])
    upright = Image.fromarray(plain)
    for orientation in range(1, 9) if suffix in TURNED else [1]:
        path = tmp_path / f'{orientation}.{suffix}'
        path.write_bytes(stored(in_mode(mode), suffix, orientation))
        upright.getexif()[ORIENTATION] = orientation
        found = read_image(path)
        np.testing.assert_array_equal(found, np.asarray(ImageOps.exif_transpose(upright)))
        assert read_size(path) == found.shape[1::-1] == ((48, 32) if orientation < 5 else (32, 48))


def as_exif(order, kind, value, *, offset=8, count=1):
    """EXIF data with the orientation alone."""
    code = {'H': 3, 'I': 4}[kind]
    mark = b'II' if order == '<' else b'MM'
    entry = struct.pack(f'{order}HHI{kind}', ORIENTATION, code, count, value).ljust(12, b'\0')
    head = mark + struct.pack(f'{order}HI', 42, offset)
    return head + struct.pack(f'{order}H', 1) + entry + bytes(4)


@pytest.mark.parametrize(
    'exif, lies',
    [
        (as_exif('<', 'H', 6), True),
        (as_exif('>', 'H', 6), True),
        (as_exif('>', 'I', 6), True),
        (as_exif('<', 'H', 0), False),
        (as_exif('<', 'H', 9), False),
        (as_exif('<', 'H', 6, offset=0xFFFFFFF0), False),
        (as_exif('<', 'H', 6)[:15], False),
        (b'', False),
        (b'no EXIF data', False),
    ],
)
@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp'])
def test_exif_data_of_all_kinds(suffix, exif, lies):
    content = stored(in_mode('RGB'), suffix, exif=b'Exif\0\0' + exif)
    assert read_header(io.BytesIO(content)).size == ((32, 48) if lies else (48, 32))
    assert decode(content).shape == ((48, 32, 3) if lies else (32, 48, 3))


def test_exif_data_behind_the_pixels_of_a_png():
    content = stored(in_mode('RGB'), 'png')
    exif = as_exif('>', 'H', 8)
    chunk = struct.pack('>I', len(exif)) + b'eXIf' + exif
    chunk += struct.pack('>I', zlib.crc32(chunk[4:]))
    assert decode(content[:-12] + chunk + content[-12:]).shape == (48, 32, 3)


def test_bmp_from_the_top_down_and_tiff_of_64_bits_addresses():
    content = bytearray(stored(in_mode('RGB'), 'bmp'))
    struct.pack_into('<i', content, 22, -32)
    assert read_header(io.BytesIO(content)).size == (48, 32)
    assert (decode(bytes(content))[::-1] == decode(stored(in_mode('RGB'), 'bmp'))).all()
    large = stored(in_mode('RGB'), 'tif', 6, big_tiff=True)
    assert large[2] == 43
    np.testing.assert_array_equal(decode(large), decode(stored(in_mode('RGB'), 'tif', 6)))


def test_the_format_follows_from_the_content(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(stored(in_mode('L'), 'webp', 6))
    assert read_image(tmp_path / 'a.jpg').shape == (48, 32, 3)


@pytest.mark.parametrize(
    'content, message',
    [
        (stored(in_mode('L'), 'gif'), 'it is a GIF image. Images are BMP, JPEG, PNG, PNM, TIFF'),
        (stored(in_mode('RGB'), 'avif'), 'it is an AVIF image'),
        (stored(in_mode('L'), 'pcx'), 'it is a PCX image'),
        (stored(in_mode('L'), 'jp2'), 'it is a JPEG 2000 image'),
        (stored(in_mode('L'), 'tga'), 'it is no BMP, JPEG'),
        (b'\0\5\x16\7' + bytes(60), 'what a Mac keeps of another file'),
        (b'version https://git-lfs.github.com/spec/v1\noid', 'git lfs pull'),
        (b'\n<!DOCTYPE html><html>', 'it is a text in HTML'),
        (stored(in_mode('I'), 'tif'), 'whole numbers of 32 bits'),
        (stored(in_mode('F'), 'tif'), 'fractions of 32 bits'),
        (b'II*\0\xff\xff\xff\xff', 'its header is cut off or damaged'),
        (b'P6\n# no size\n', 'its header is cut off'),
        (b'P6 a 3 255\n', 'has no width and height'),
        (b'BM' + bytes(60), 'has no pixels'),
        (b'\xff\xd8\xff\xd9', 'has no pixels'),
        (b'\xff\xd8\xff\xe1\0\0' + bytes(40), 'its header is cut off'),
        (b'\xff\xd8\xff' + b'\0\xff' * 9999, 'its header is cut off'),
    ],
)
def test_what_is_not_read_is_refused_by_name(content, message, tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(content)
    for read in read_image, read_size:
        with pytest.raises(UserError, match=f'a.png cannot be decoded.*{message}'):
            read(path)


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = tmp_path / 'a.png'
    path.write_bytes(stored(in_mode('L'), 'png', 6))
    monkeypatch.setattr(reading, 'MAX_PIXELS', 48 * 32)
    assert read_size(path) == (32, 48)
    monkeypatch.setattr(reading, 'MAX_PIXELS', 48 * 32 - 1)
    monkeypatch.setattr(cv2, 'imdecode', None)
    for read in read_image, read_size:
        with pytest.raises(UserError, match='a.png has 32 x 48 pixels, but at most 0 megapixels'):
            read(path)


def test_a_training_reads_what_everything_else_reads(tmp_path):
    load = TRANSFORMS.build(dict(type='LoadImageFromFile', to_float32=True))
    path = tmp_path / 'a.tif'
    path.write_bytes(stored(in_mode('RGB'), 'tif', 6))
    found = load(dict(img_path=str(path)))
    assert found['img'].dtype == np.float32
    assert found['img_shape'] == found['ori_shape'] == (48, 32)
    np.testing.assert_array_equal(found['img'], read_image(path))
    grey = TRANSFORMS.build(dict(type='LoadImageFromFile', color_type='grayscale'))
    path.write_bytes(stored(in_mode('RGB'), 'png'))
    assert grey(dict(img_path=str(path)))['img'].shape == (32, 48)


@pytest.mark.parametrize('host', ['mmdet', 'mmseg'])
def test_both_hosts_build_the_one_reader(host):
    registry = importlib.import_module(f'{host}.registry').TRANSFORMS
    importlib.import_module(f'{host}.datasets')
    assert registry.get('LoadImageFromFile') is TRANSFORMS.get('LoadImageFromFile')
    assert TRANSFORMS.get('LoadImageFromFile').__module__ == 'mmtrtvit.engine.loading'


def test_the_loader_names_the_file_that_it_cannot_read(tmp_path):
    (tmp_path / 'a.tif').write_bytes(stored(in_mode('F'), 'tif'))
    load = TRANSFORMS.build(dict(type='LoadImageFromFile'))
    with pytest.raises(UserError, match='a.tif cannot be decoded: it has fractions'):
        load(dict(img_path=str(tmp_path / 'a.tif')))
    with pytest.raises(UserError, match='b.tif does not exist'):
        load(dict(img_path=str(tmp_path / 'b.tif')))


class Numbers(BaseDataset):
    def load_data_list(self):
        return [dict(img_path=f'{self.data_root}/{n}.png', number=n) for n in range(8)]


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
@pytest.mark.parametrize('workers', [0, 2])
def test_images_that_cannot_be_read_are_replaced_by_option(tmp_path, workers):
    for number in range(8):
        content = stored(in_mode('RGB'), 'png') if number % 4 else b''
        (tmp_path / f'{number}.png').write_bytes(content)
    pipeline = [dict(type='LoadImageFromFile', ignore_empty=True)]
    data = Numbers(data_root=str(tmp_path), pipeline=pipeline)
    log = MMLogger.get_instance(f'lenient {workers}', log_file=str(tmp_path / 'log.txt'))
    before = loading._left_out.value
    fork = 'fork' if workers else None
    loader = DataLoader(data, num_workers=workers, collate_fn=list, multiprocessing_context=fork)
    found = [item['number'] for batch in loader for item in batch]
    for handler in log.handlers:
        handler.flush()
    assert len(found) == 8 and not {0, 4} & {*found}
    count = loading._left_out.value - before
    text = (tmp_path / 'log.txt').read_text()
    assert count >= 2 and text.count('another image takes its place') == count
    assert f'{tmp_path}/0.png is empty: another image takes its place (' in text
    assert f'({loading._left_out.value} so far)' in text.splitlines()[-1] or workers


def test_every_listed_suffix_has_a_mode():
    assert {*MODES, 'jpeg', 'tiff'} == {suffix[1:] for suffix in IMAGES}


def test_files_that_are_no_images(tmp_path):
    with pytest.raises(UserError, match='none.png does not exist'):
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
