"""Memory that was freed: glibc, Linux's C library, keeps it for later or gives it back."""

import ctypes
import os
import sys
from functools import cache

KEPT = 1 << 30  # bytes
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
SETTINGS = 'MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_', 'GLIBC_TUNABLES'


@cache
def keep_freed() -> None:
    """Has glibc keep up to 1 GiB of freed memory, in blocks of up to 1 GiB, from now on.

    By itself it gives large blocks back and asks for them again a moment later, page by page: a
    network does so with its feature maps, on every image. Nothing changes where one of glibc's own
    environment variables (:data:`SETTINGS`) is set, or where there is no glibc.
    """
    if not any(name in os.environ for name in SETTINGS):
        _call('mallopt', M_MMAP_THRESHOLD, KEPT)
        _call('mallopt', M_TRIM_THRESHOLD, KEPT)


def give_back_freed() -> None:
    """Has glibc give back all freed memory that it keeps."""
    _call('malloc_trim', 0)


def _call(name: str, *args: int) -> None:
    if sys.platform == 'linux' and hasattr(libc := ctypes.CDLL(None), name):
        getattr(libc, name)(*args)
