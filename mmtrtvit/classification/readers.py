"""Data sets of MMPretrain for tar files and for parquet files, the hub's form of ImageNet.

Both are indexed like folders of images: any sampler shuffles and shares them, and a training that
goes on takes the very next samples. Needs mmpretrain.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mmpretrain.datasets.base_dataset import BaseDataset
from mmpretrain.registry import DATASETS

from ..errors import UserError, listed
from .tar_images import find_tar_images, list_tar_images, numbered, numbers_by_label

CONTENT = 'img_bytes'  # key of the bytes of an image that comes from no file of its own
SHOWN = 5


class Sample(NamedTuple):
    """A sample as an inspection of the data sees it, whatever is wrong with its label.

    Attributes:
        name: Where it is.
        label: What the file says of its class, empty for nothing.
        number: The class, None if the label stands for none.
        read: Returns the bytes of the image.
    """

    name: str
    label: str
    number: int | None
    read: Callable[[], bytes]


@DATASETS.register_module()
class TarDataset(BaseDataset):
    """Images in tar files, see :mod:`~.tar_images`.

    Args:
        files: A tar file, a folder of some, or a pattern such as ``train-*.tar``.
        metainfo: With the names of the ``classes``, in their order.
        options: Of MMPretrain's ``BaseDataset``, such as ``pipeline``.
    """

    def __init__(self, files: str, metainfo: dict | None = None, **options: Any) -> None:
        self.files = self.source = files
        super().__init__(ann_file='', metainfo=metainfo, **options)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Reads the tables of contents.

        Raises:
            UserError: If there are no classes, no images, or images without one of the classes.
        """
        classes = _classes(self)
        images = find_tar_images(self.files)
        return [
            dict(img_path=f'{image.tar}/{image.name}', image=image, gt_label=label)
            for image, label in zip(images, numbered(images, classes))
        ]

    def samples(self) -> Iterator[Sample]:
        """Yields all samples, those without a class too.

        Raises:
            UserError: If there are no images, or a file is damaged.
        """
        images = list_tar_images(self.files)
        numbers = numbers_by_label(images, self.CLASSES)
        for image in images:
            name = f'{Path(image.tar).name}/{image.name}'
            yield Sample(name, image.label, numbers[image.label], image.read)

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Returns the name, the class and the bytes of an image."""
        info = super().get_data_info(idx)
        info[CONTENT] = info.pop('image').read()
        return info


@DATASETS.register_module()
class ParquetDataset(BaseDataset):
    """Images in parquet files, through Hugging Face's ``datasets``.

    Args:
        path: A folder as a repository of the hub has it, or the name of one.
        split: Name of the split in it.
        image_key: Column of the images.
        label_key: Column of the numbers of the classes.
        metainfo: With the names of the ``classes``; default: those that the files name.
        options: Of MMPretrain's ``BaseDataset``, such as ``pipeline``.
    """

    def __init__(
        self,
        path: str,
        split: str = 'train',
        *,
        image_key: str = 'image',
        label_key: str = 'label',
        metainfo: dict | None = None,
        **options: Any,
    ) -> None:
        try:
            import datasets
        except ImportError as error:
            raise UserError(
                'ParquetDataset reads with datasets, which is missing: pip install '
                "'mmtrtvit[parquet]'"
            ) from error
        try:
            table = datasets.load_dataset(path, split=split)
        except (OSError, ValueError) as error:
            raise UserError(f'{path}, split {split}: {str(error).splitlines()[0]}') from error
        missing = [key for key in (image_key, label_key) if key not in table.column_names]
        if missing:
            raise UserError(
                f'{path} has no column {", ".join(missing)}, but '
                f'{", ".join(table.column_names)}: set image_key and label_key'
            )
        names = getattr(table.features[label_key], 'names', None)
        self._table = table.cast_column(image_key, datasets.Image(decode=False))
        self._keys = image_key, label_key
        self.source = f'{path}, split {split}'
        if names and not (metainfo or {}).get('classes'):
            metainfo = dict(metainfo or {}, classes=tuple(names))
        # the table is the list; nothing is left to serialise
        options['serialize_data'] = False
        super().__init__(ann_file='', metainfo=metainfo, **options)

    def load_data_list(self) -> range:
        """Compares the labels with the classes.

        Raises:
            UserError: If there are no classes, or a label is none of them.
        """
        _classes(self)
        labels = self._table.unique(self._keys[1])
        wrong = [label for label in labels if self._number(label) is None]
        if wrong:
            wrong.sort(key=lambda label: (label is None, label))
            raise UserError(
                f'column {self._keys[1]} has labels that are no class: '
                f'{listed([str(label) for label in wrong], SHOWN)}. Expected numbers from 0 to '
                f'{len(self.CLASSES) - 1}'
            )
        return range(len(self._table))

    def samples(self) -> Iterator[Sample]:
        """Yields all samples, those without a class too."""
        image_key, label_key = self._keys
        paths = self._table.flatten()[f'{image_key}.path']
        for place, (path, label) in enumerate(zip(paths, self._table[label_key])):
            yield Sample(
                f'row {place}/{path}' if path else f'row {place}',
                '' if label is None else str(label),
                self._number(label),
                partial(self._content, place),
            )

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Returns the name, the class and the bytes of an image."""
        place = self.data_list[int(idx)]
        image_key, label_key = self._keys
        row = self._table[place]
        name = (row[image_key] or {}).get('path') or f'image {place}'
        content = _content(row[image_key])
        return {
            'img_path': name,
            'gt_label': row[label_key],
            'sample_idx': int(idx),
            CONTENT: content,
        }

    def _content(self, place: int) -> bytes:
        return _content(self._table[place][self._keys[0]])

    def _number(self, label: Any) -> int | None:
        return label if isinstance(label, int) and 0 <= label < len(self.CLASSES) else None


def _content(image: dict[str, Any] | None) -> bytes:
    """The bytes of an image of a table, none where a row has no image."""
    if not image:
        return b''
    return Path(image['path']).read_bytes() if image['bytes'] is None else image['bytes']


def _classes(dataset: BaseDataset) -> tuple[str, ...]:
    if not dataset.CLASSES:
        raise UserError(
            f'{type(dataset).__name__}: no classes. Set metainfo = dict(classes=(...)) at the top '
            'of the config, in the order of the numbers'
        )
    return tuple(dataset.CLASSES)
