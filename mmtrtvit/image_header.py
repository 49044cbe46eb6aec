"""Headers of image files: format, size, and the turn that their EXIF data ask for.

Only a few hundred bytes of a file are read, so the sizes of many files are known at once. What a
file is follows from its first bytes, not from its name.
"""

import re
import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import BinaryIO, NamedTuple

FORMATS = 'BMP, JPEG, PNG, PNM, TIFF or WebP'
MAX_BITS = 16  # of a value in a TIFF file that OpenCV reads as colour
WIDTH, HEIGHT, BITS, ORIENTATION, SAMPLE_FORMAT = 256, 257, 258, 274, 339  # tags of TIFF and EXIF
FLOAT = 3  # as SAMPLE_FORMAT
DAMAGED = (struct.error, IndexError, OverflowError)  # from too few bytes, or a place far outside
# What people have under the name of an image, by its first bytes.
OTHERS = (
    (rb'GIF8', 'a GIF image'),
    (rb'.{4}ftypavi[fs]', 'an AVIF image'),
    (rb'.{4}ftyp(hei|hev|mif|msf)', 'a HEIC image'),
    (rb'.{4}jP  \r\n|\xff\x4f\xff\x51', 'a JPEG 2000 image'),
    (rb'\xff\x0a|.{4}JXL ', 'a JPEG XL image'),
    (rb'8BPS', 'a Photoshop file'),
    (rb'\x0a[\x00-\x05]\x01[\x01\x02\x04\x08]', 'a PCX image'),
    (rb'%PDF', 'a PDF file'),
    (rb'\x00\x05\x16\x07', 'what a Mac keeps of another file'),
    (rb'version https://git-lfs', 'a pointer of Git LFS: fetch the image itself with git lfs pull'),
    (rb'\s*<(!doctype|html|\?xml|svg)', 'a text in HTML, XML or SVG'),
)


class Header(NamedTuple):
    """What the header of an image file says.

    Attributes:
        format: BMP, JPEG, PNG, PNM, TIFF or WebP.
        width: Pixels in a row, as stored.
        height: Rows, as stored.
        orientation: How the image is to be turned or mirrored, from 1 (not at all) to 8, as EXIF
            numbers it.
        stored_at: Where a TIFF file has the orientation, and its type, for :func:`unturned`.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    stored_at: tuple[int, str] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the upright image."""
        lies = self.orientation > 4
        return (self.height, self.width) if lies else (self.width, self.height)


def read_header(file: BinaryIO) -> Header:
    """Reads the header of an image.

    Args:
        file: An open file or ``io.BytesIO``.

    Raises:
        ValueError: If it is not of a format that is read. The message continues a sentence that
            begins with the name of the file.
    """
    file.seek(0)
    start = file.read(32)
    if not start:
        raise ValueError('is empty.')
    for magic, parse in _PARSERS.items():
        if re.match(magic, start, re.DOTALL):
            try:
                header = parse(file)
            except DAMAGED as error:
                raise ValueError('cannot be decoded: its header is cut off or damaged.') from error
            if not header.width or not header.height:
                raise ValueError('cannot be decoded: it has no pixels.')
            return header
    for magic, name in OTHERS:
        if re.match(magic, start, re.DOTALL | re.IGNORECASE):
            raise ValueError(f'cannot be decoded: it is {name}. Images are {FORMATS} files.')
    raise ValueError(f'cannot be decoded as an image: it is no {FORMATS} file.')


def unturned(content: bytes, header: Header) -> bytes:
    """Returns the bytes of a TIFF file with the orientation 1.

    Some versions of OpenCV turn such a file twice, others fail.
    """
    if header.orientation == 1 or not header.stored_at:
        return content
    offset, kind = header.stored_at
    changed = bytearray(content)
    struct.pack_into(kind, changed, offset, 1)
    return bytes(changed)


def _bmp(file: BinaryIO) -> Header:
    file.seek(14)
    (length,) = _unpack(file, '<I')
    width, height = _unpack(file, '<HH' if length == 12 else '<ii')
    return Header('BMP', width, abs(height))  # negative: rows from the top down


def _pnm(file: BinaryIO) -> Header:
    file.seek(2)
    words = re.sub(rb'#[^\r\n]*', b'', file.read(1 << 16)).split(maxsplit=2)
    if not (words[0] + words[1]).isdigit():
        raise ValueError('cannot be decoded: its header has no width and height.')
    return Header('PNM', int(words[0]), int(words[1]))


def _jpeg(file: BinaryIO) -> Header:
    file.seek(2)
    size, orientation = (0, 0), None
    while (marker := _marker(file)) not in (0xD9, 0xDA):  # end of the image, begin of the pixels
        if marker == 1 or 0xD0 <= marker <= 0xD8:  # without content
            continue
        (length,) = _unpack(file, '>H')
        end = file.tell() + length - 2
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            _, height, width = _unpack(file, '>BHH')
            size = width, height
        elif marker == 0xE1 and orientation is None:
            content = file.read(max(length - 2, 0))
            orientation = _exif(content) if content.startswith(b'Exif\0') else None
        file.seek(end)
    return Header('JPEG', *size, orientation or 1)


def _marker(file: BinaryIO) -> int:
    """Returns the next marker of a JPEG file; as libjpeg does, it passes over what is none."""
    before, marker = 0, file.read(1)[0]
    while before != 0xFF or marker in (0, 0xFF):
        before, marker = marker, file.read(1)[0]
    return marker


def _png(file: BinaryIO) -> Header:
    file.seek(16)
    width, height = _unpack(file, '>II')
    start = 8
    while len(head := _at(file, start, 8)) == 8:
        length = int.from_bytes(head[:4], 'big')
        if head[4:] == b'eXIf':
            return Header('PNG', width, height, _exif(file.read(length)))
        start += 12 + length
    return Header('PNG', width, height)


def _webp(file: BinaryIO) -> Header:
    width, height, orientation, start = 0, 0, 1, 12
    while len(head := _at(file, start, 8)) == 8:
        name, length = head[:4], int.from_bytes(head[4:], 'little')
        if name == b'EXIF':
            orientation = _exif(file.read(length))
        elif name == b'VP8X':  # of the canvas, which other parts may not fill
            data = file.read(10)
            width, height = (int.from_bytes(data[at : at + 3], 'little') + 1 for at in (4, 7))
        elif name == b'VP8L' and not width:
            (bits,) = _unpack(file, '<xI')
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif name == b'VP8 ' and not width:
            width, height = (side & 0x3FFF for side in _unpack(file, '<6xHH'))
        start += 8 + length + length % 2
    return Header('WebP', width, height, orientation)


def _at(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def _tiff(file: BinaryIO) -> Header:
    tags = dict(_tags(file))
    width, height = (_value(file, tags.get(tag)) for tag in (WIDTH, HEIGHT))
    bits, sample_format = (_value(file, tags.get(tag)) for tag in (BITS, SAMPLE_FORMAT))
    if bits > MAX_BITS or sample_format == FLOAT:
        kind = 'fractions' if sample_format == FLOAT else 'whole numbers'
        raise ValueError(
            f'cannot be decoded: it has {kind} of {bits} bits as values. Images have whole numbers '
            f'of 8 or {MAX_BITS} bits.'
        )
    where = tags.get(ORIENTATION)
    return Header('TIFF', width, height, _orientation(_value(file, where)), where)


def _exif(content: bytes) -> int:
    """Returns the orientation that EXIF data ask for, 1 where they say nothing or are damaged."""
    file = BytesIO(content.removeprefix(b'Exif\0\0'))
    try:
        return _orientation(_value(file, dict(_tags(file)).get(ORIENTATION)))
    except DAMAGED:
        return 1


def _orientation(value: int) -> int:
    return value if 1 <= value <= 8 else 1


def _tags(file: BinaryIO) -> Iterator[tuple[int, tuple[int, str]]]:
    """Yields the tags of the first directory of TIFF or EXIF data.

    Each comes with the place of its first value and its type, as ``struct`` names it.
    """
    file.seek(0)
    order = '<' if file.read(2) == b'II' else '>'
    large = _unpack(file, f'{order}H')[0] == 43  # BigTIFF
    count, entry, field = ('Q', 'HHQ', 'Q') if large else ('H', 'HHI', 'I')
    if large:
        file.seek(8)
    file.seek(_unpack(file, order + field)[0])
    for _ in range(_unpack(file, order + count)[0]):
        tag, code, values = _unpack(file, order + entry)
        at, kind = file.tell(), {1: 'B', 3: 'H', 4: 'I', 16: 'Q'}.get(code)
        (elsewhere,) = _unpack(file, order + field)
        end = file.tell()
        if kind:
            fits = values * struct.calcsize(kind) <= end - at
            yield tag, (at if fits else elsewhere, order + kind)
        file.seek(end)


def _value(file: BinaryIO, where: tuple[int, str] | None) -> int:
    """Returns the first value of a tag, 0 if there is none."""
    if not where:
        return 0
    file.seek(where[0])
    return _unpack(file, where[1])[0]


def _unpack(file: BinaryIO, layout: str) -> tuple:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


_PARSERS: dict[bytes, Callable[[BinaryIO], Header]] = {
    rb'BM': _bmp,
    rb'\xff\xd8\xff': _jpeg,
    rb'\x89PNG\r\n\x1a\n': _png,
    rb'P[1-6][\s#]': _pnm,
    rb'(II[*+]\0|MM\0[*+])': _tiff,
    rb'RIFF.{4}WEBP': _webp,
}
