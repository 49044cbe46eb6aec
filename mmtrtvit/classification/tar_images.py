"""Images in tar files by their number, for any process that asks.

Each file's table of contents is read once. After that an image is one read at a place that is
known, so that samples are shuffled and shared as those in folders are, however many files there
are. The class of ``cat/1.jpg`` is cat; that of ``1.jpg`` stands in ``1.cls`` beside it, as in the
shards of webdataset: a number, or a name.
"""

import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path, PurePosixPath

from ..errors import UserError, listed
from ..media import IMAGES

CLASS_SUFFIX = '.cls'
SHOWN = 5  # names in a message, at most


@dataclass(frozen=True)
class TarImage:
    """An image in a tar file.

    Attributes:
        tar: The file.
        name: The image's name in it.
        offset: Where its bytes begin.
        size: How many they are.
        label: Name or number of its class, as the tar file has it; empty if it has none.
    """

    tar: str
    name: str
    offset: int
    size: int
    label: str

    def read(self) -> bytes:
        """Returns the bytes of the image.

        Raises:
            OSError: If the file is gone or shorter than it was.
        """
        with open(self.tar, 'rb') as file:
            file.seek(self.offset)
            content = file.read(self.size)
        if len(content) < self.size:
            raise OSError(0, f'the file ends inside {self.name}', self.tar)
        return content


def find_tar_images(pattern: str | Path) -> list[TarImage]:
    """Returns the images of tar files, each with a class, in the order of the files' names.

    Args:
        pattern: A tar file, a folder of some, or a pattern such as ``train-*.tar``.

    Raises:
        UserError: If there is no such file, one is damaged, or images have no class.
    """
    images = list_tar_images(pattern)
    lacking = [image for image in images if not image.label]
    if lacking:
        tar = lacking[0].tar
        names = [image.name for image in lacking if image.tar == tar]
        raise UserError(
            f'{tar} has {len(names)} of {sum(image.tar == tar for image in images)} images without '
            f'a class: {listed(names, SHOWN)}. Expected a folder for each class, as cat/1.jpg, or '
            f'a text beside each image, as 1{CLASS_SUFFIX} beside 1.jpg'
        )
    return images


def list_tar_images(pattern: str | Path) -> list[TarImage]:
    """Returns the images of tar files, also without a class, in the order of the files' names.

    Args:
        pattern: As of :func:`find_tar_images`.

    Raises:
        UserError: If there is no such file, or one is damaged.
    """
    pattern = Path(pattern).expanduser()
    paths = sorted(glob(str(pattern / '*.tar' if pattern.is_dir() else pattern)))
    if not paths:
        raise UserError(f'no tar file {pattern.absolute()}')
    images = [image for path in paths for image in _images(path)]
    if not images:
        raise UserError(f'{listed(paths, SHOWN)}: no image in it. Known are {", ".join(IMAGES)}')
    return images


def _images(path: str) -> Iterator[TarImage]:
    found: list[tarfile.TarInfo] = []
    labels: dict[str, str] = {}
    try:
        with tarfile.open(path, 'r:') as tar:  # a compressed one would be read from its beginning
            for member in tar:
                suffix = PurePosixPath(member.name).suffix.lower()
                if member.isfile() and suffix in IMAGES:
                    found.append(member)
                elif member.isfile() and suffix == CLASS_SUFFIX:
                    labels[_stem(member)] = tar.extractfile(member).read(200).decode().strip()
    except (tarfile.TarError, OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path} cannot be read as an uncompressed tar file: {error}') from error
    if found and (last := max(found, key=lambda each: each.offset_data)):
        if os.path.getsize(path) < last.offset_data + last.size:
            raise UserError(f'{path} is cut off: it ends inside {last.name}')
    for each in found:
        label = labels.get(_stem(each)) or _folder(each)
        yield TarImage(path, each.name, each.offset_data, each.size, label)


def _stem(member: tarfile.TarInfo) -> str:
    return str(PurePosixPath(member.name).with_suffix(''))


def _folder(member: tarfile.TarInfo) -> str:
    name = PurePosixPath(member.name).parent.name
    return '' if name == '.' else name


def numbered(images: Sequence[TarImage], classes: Sequence[str]) -> list[int]:
    """Returns the numbers of the classes of images.

    Args:
        images: The images.
        classes: Names of all classes, in their order.

    Raises:
        UserError: If a label is neither one of the names nor a number below their count.
    """
    numbers = numbers_by_label(images, classes)
    wrong = sorted(label for label, number in numbers.items() if number is None)
    if wrong:
        raise UserError(
            f'{images[0].tar} and others have labels that are no class: {listed(wrong, SHOWN)}. '
            f'Expected one of metainfo.classes, {listed(list(classes), SHOWN)}, or a number below '
            f'{len(classes)}'
        )
    return [numbers[each.label] for each in images]


def numbers_by_label(images: Sequence[TarImage], classes: Sequence[str]) -> dict[str, int | None]:
    """Returns the number of the class of each label that images have; None if it stands for none.

    Args:
        images: The images, also without a class.
        classes: Names of all classes, in their order.
    """
    numbers = {str(number): number for number in range(len(classes))}
    numbers |= {name: number for number, name in enumerate(classes)}
    return {each.label: numbers.get(each.label) for each in images}
