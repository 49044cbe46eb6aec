"""Checkpoints that are whole or not there at all."""

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend


@register_backend('atomic', force=True)
class AtomicBackend(LocalBackend):
    """Local files that appear under their name only once all their bytes are on the disk.

    Used by ``dict(type='CheckpointHook', backend_args=dict(backend='atomic'))``. A write that was
    killed leaves ``<name>.part`` behind, which the next write of that name replaces.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes ``obj`` to ``filepath`` and creates its folder if need be."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f'{path.name}.part')
        try:
            with open(part, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
