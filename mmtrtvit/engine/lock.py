"""A lock on a work dir, so that two trainings do not write over each other's checkpoints."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from mmengine.dist import is_main_process

from ..errors import UserError

LOCK = '.training.lock'  # held by the system, which lets go of it when the process ends
OWNER = '.training.json'  # who holds it


@contextmanager
def locked(work_dir: str | Path) -> Iterator[None]:
    """Keeps other trainings out of a work dir while the block runs.

    Of several processes, the first one holds the lock. The system lets go of it when the process
    ends, so that one that was killed locks nobody out.

    Args:
        work_dir: The folder; made if it is not there.

    Raises:
        UserError: If another training runs there; the message has its process and host.
    """
    if not is_main_process():
        yield
        return
    folder = Path(work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f'{folder.absolute()}: another training runs in this work dir{_owner(folder)}. Choose '
            'another with --work-dir, or end that one first.'
        ) from None
    try:
        (folder / OWNER).write_text(
            json.dumps(
                dict(
                    pid=os.getpid(),
                    host=socket.gethostname(),
                    since=datetime.now().astimezone().isoformat(timespec='seconds'),
                )
            )
        )
        yield
    finally:
        with suppress(OSError):
            (folder / OWNER).unlink()
        lock.release()


def _owner(folder: Path) -> str:
    try:
        owner = json.loads((folder / OWNER).read_text())
        return f' (process {owner["pid"]} on {owner["host"]}, since {owner["since"]})'
    except (OSError, ValueError, KeyError, TypeError):  # it has just begun, or just ended
        return ''
