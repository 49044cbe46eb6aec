"""Freed memory that glibc keeps, counted by the pages that a process asks for."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='not glibc')

CALLS = 10
FILL_AND_FREE = f"""
import resource, sys
from mmtrtvit.glibc import give_back_freed, keep_freed

def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if 'keep' in sys.argv:
    keep_freed()
b'x' * (48 << 20)
before = pages()
for _ in range({CALLS}):
    b'x' * (48 << 20)
    if 'give_back' in sys.argv:
        give_back_freed()
print(pages() - before)
"""


def pages_for_a_block(*arguments, **variables):
    """Pages of 4 KiB that each of several blocks of 48 MiB, each freed before the next, took."""
    done = subprocess.run(
        [sys.executable, '-c', FILL_AND_FREE, *arguments],
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout) / CALLS


def test_a_block_that_was_freed_is_used_again():
    assert pages_for_a_block() > 1000
    assert pages_for_a_block('keep') < 10


def test_what_is_kept_can_be_given_back():
    assert pages_for_a_block('keep', 'give_back') > 1000


@pytest.mark.parametrize(
    'variables',
    [
        dict(MALLOC_MMAP_THRESHOLD_='100000'),
        dict(MALLOC_TRIM_THRESHOLD_='100000'),
        dict(GLIBC_TUNABLES='glibc.malloc.mmap_threshold=100000'),
    ],
    ids=str,
)
def test_settings_of_the_user_stay(variables):
    assert pages_for_a_block('keep', **variables) > 1000
