"""Outputs of a run: checkpoints, images and predictions that are complete or not there at all."""

from pathlib import Path

import mmengine
import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import print_log
from mmengine.registry import METRICS, VISBACKENDS
from mmengine.visualization import LocalVisBackend
from mmengine.visualization.vis_backend import force_init_env

from ..files import remove_leftovers, whole_file, write_whole
from ..media import write_image


@register_backend('atomic', force=True)
class AtomicBackend(LocalBackend):
    """Local files that appear under their name only once all their bytes are on the disk.

    Used by ``dict(type='CheckpointHook', backend_args=dict(backend='atomic'))``. A write that was
    killed leaves ``<stem>.<random>.part``, which the next write of that name removes.
    """

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        """Writes ``obj`` to ``filepath`` and creates its folder if need be."""
        path = Path(filepath)
        remove_leftovers(path)
        write_whole(path, obj, sync=True)


@VISBACKENDS.register_module(name='PictureBackend')
class ImageBackend(LocalVisBackend):
    """MMEngine's backend for images, but one that cannot be written is an error."""

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs) -> None:
        """Writes ``<name>_<step>.png``; ``image`` is ``(H, W, 3)`` RGB."""
        write_image(Path(self._img_save_dir, f'{name}_{step}.png'), image[..., ::-1])


def make_dump(kind: str, out: Path) -> BaseMetric:
    """Makes a metric that writes all predictions to a pickle file.

    Args:
        kind: ``'DumpResults'`` of MMEngine, or a metric made of it.
        out: The file; ``.pkl`` or ``.pickle``.
    """

    def write(results: list) -> dict:
        with whole_file(out) as part:
            mmengine.dump(results, part)
        print_log(f'predictions written to {out}', 'current')
        return {}

    metric = METRICS.build(dict(type=kind, out_file_path=str(out)))
    metric.compute_metrics = write
    return metric
