import os

import pytest

from mmtrtvit.files import whole_file


def test_a_file_is_whole_or_keeps_its_past(tmp_path):
    path = tmp_path / 'new' / 'file.txt'
    with whole_file(path) as part:
        part.write_text('first')
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), whole_file(path) as part:
        part.write_text('second')
        1 / 0  # noqa: B018
    assert path.read_text() == 'first' and os.listdir(path.parent) == ['file.txt']


def test_a_full_disk_is_told_by_the_name_of_the_file(tmp_path, full_disk):
    path = tmp_path / 'file.txt'
    path.write_text('first')
    with full_disk(1000), pytest.raises(OSError) as caught, whole_file(path) as part:
        part.write_bytes(bytes(2000))
    assert caught.value.filename == str(path)
    assert path.read_text() == 'first' and os.listdir(tmp_path) == ['file.txt']


def test_a_file_that_cannot_be_opened_is_told_by_its_name(tmp_path):
    path = tmp_path / ('x' * 250 + '.png')  # with .part longer than a name may be
    with pytest.raises(OSError) as caught, whole_file(path) as part:
        part.write_text('')
    assert caught.value.filename == str(path)


def test_errors_about_other_files_keep_their_names(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, whole_file(tmp_path / 'x'):
        (tmp_path / 'other').read_text()
    assert caught.value.filename == str(tmp_path / 'other')
