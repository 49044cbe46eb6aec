"""The image loader of pipelines, by the name that every config gives it."""

import logging
from multiprocessing import Value
from typing import Any

import numpy as np
from mmcv.transforms.loading import LoadImageFromFile as MMCVLoader
from mmengine import fileio
from mmengine.logging import print_log
from mmengine.registry import TRANSFORMS

from ..errors import UserError
from ..images import decode

_left_out: Any = Value('q', 0)  # of this process and the workers that it forks


@TRANSFORMS.register_module(force=True)
class LoadImageFromFile(MMCVLoader):
    """MMCV's loader of that name, with the images of :mod:`mmtrtvit.images`.

    The arguments are MMCV's. With ``ignore_empty=True`` an image that cannot be read is named and
    counted in the log, and in a training the data set takes another one at random. With another
    ``color_type`` or ``imdecode_backend`` than the default ones it is MMCV's loader.
    """

    def transform(self, results: dict) -> dict[str, Any] | None:
        """Adds the image of ``results['img_path']`` and its shape, as MMCV's loader does.

        Bytes in ``results['img_bytes']`` take the place of the file's.

        Raises:
            UserError: If the file cannot be decoded and ``ignore_empty`` is not set.
        """
        if (self.color_type, self.imdecode_backend) != ('color', 'cv2'):
            return super().transform(results)
        path = results['img_path']
        try:
            content = results.pop('img_bytes', None)
            image = decode(self._content(path) if content is None else content)
        except (OSError, ValueError) as error:
            reason = _reason(error)
            if self.ignore_empty:
                _log(f'{path} {reason}')
                return None
            raise UserError(f'{path} {reason}') from error
        results['img'] = image.astype('float32') if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def _content(self, path: str) -> bytes:
        if self.file_client_args is not None:
            return fileio.FileClient.infer_client(self.file_client_args, path).get(path)
        return fileio.get(path, backend_args=self.backend_args)


class AnyLoader:
    """A loader of files and of arrays, for a pipeline whose host has none.

    Args:
        options: Of :class:`LoadImageFromFile`.
    """

    def __init__(self, **options: Any) -> None:
        self._load = LoadImageFromFile(**options)

    def __call__(self, image: str | np.ndarray) -> dict[str, Any] | None:
        """Returns the image, ``(H, W, 3)``, BGR, and its shape, as the loader does."""
        if isinstance(image, str):
            return self._load(dict(img_path=image))
        shape = image.shape[:2]
        return dict(img=image, img_shape=shape, ori_shape=shape)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return 'does not exist.'
    return f'cannot be read: {error.strerror}' if isinstance(error, OSError) else str(error)


def _log(sentence: str) -> None:
    with _left_out.get_lock():
        _left_out.value += 1
        count = _left_out.value
    print_log(
        f'{sentence.rstrip(".")}: another image takes its place ({count} so far).',
        logger='current',
        level=logging.WARNING,
    )
