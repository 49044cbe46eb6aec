"""The image loader of pipelines, by the name that every config gives it."""

from typing import Any

from mmcv.transforms.loading import LoadImageFromFile as MMCVLoader
from mmengine import fileio
from mmengine.registry import TRANSFORMS

from ..errors import UserError
from ..images import decode


@TRANSFORMS.register_module(force=True)
class LoadImageFromFile(MMCVLoader):
    """MMCV's loader of that name, with the images of :mod:`mmtrtvit.images`.

    The arguments are MMCV's. With another ``color_type`` or ``imdecode_backend`` than the default
    ones it is MMCV's loader.
    """

    def transform(self, results: dict) -> dict[str, Any] | None:
        """Adds the image of ``results['img_path']`` and its shape, as MMCV's loader does.

        Raises:
            UserError: If the file cannot be decoded and ``ignore_empty`` is not set.
        """
        if (self.color_type, self.imdecode_backend) != ('color', 'cv2'):
            return super().transform(results)
        path = results['img_path']
        try:
            image = decode(self._content(path))
        except (OSError, ValueError) as error:
            if self.ignore_empty:
                return None
            if isinstance(error, FileNotFoundError):
                raise UserError(f'{path} does not exist.') from error
            if isinstance(error, OSError):
                raise
            raise UserError(f'{path} {error}') from error
        results['img'] = image.astype('float32') if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def _content(self, path: str) -> bytes:
        if self.file_client_args is not None:
            return fileio.FileClient.infer_client(self.file_client_args, path).get(path)
        return fileio.get(path, backend_args=self.backend_args)
