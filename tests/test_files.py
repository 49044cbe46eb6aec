import errno
import os
import threading

import pytest

from mmtrtvit.files import read_json, remove_leftovers, whole_file, write_whole


def test_a_file_is_whole_or_keeps_its_past(tmp_path):
    path = tmp_path / 'new' / 'file.txt'
    with whole_file(path) as part:
        part.write_text('first')
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), whole_file(path) as part:
        part.write_text('second')
        1 / 0  # noqa: B018
    assert path.read_text() == 'first' and os.listdir(path.parent) == ['file.txt']


@pytest.mark.parametrize(
    'data, content',
    [
        (b'\x00\r\n', b'\x00\r\n'),
        (memoryview(b'engine'), b'engine'),
        ('ä\n', 'ä\n'.encode()),
    ],
)
def test_bytes_and_texts_are_written_at_once(tmp_path, data, content):
    path = tmp_path / 'new' / 'file'
    write_whole(str(path), data)
    assert path.read_bytes() == content and os.listdir(path.parent) == ['file']


def test_a_full_disk_is_told_by_the_name_of_the_file(tmp_path, full_disk):
    path = tmp_path / 'file.txt'
    path.write_text('first')
    with full_disk(1000), pytest.raises(OSError) as caught:
        write_whole(path, bytes(2000))
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
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


def test_the_temporary_file_is_new_and_like_no_other(tmp_path):
    path = tmp_path / 'a.png'
    beside = tmp_path / 'a.part.png'
    beside.write_text('another image')
    with whole_file(path) as first, whole_file(path) as second:
        assert len({path, beside, first, second}) == 4
        assert {first.suffix, second.suffix} == {'.png'}  # writers go by it
        assert first.parent == tmp_path and first.stat().st_size == 0
        first.write_text('first')
        second.write_text('second')
    assert path.read_text() == 'first' and beside.read_text() == 'another image'
    assert sorted(os.listdir(tmp_path)) == ['a.part.png', 'a.png']


def test_a_planted_link_is_not_written_through(tmp_path, monkeypatch):
    target = tmp_path / 'target'
    target.write_text('precious')
    path = tmp_path / 'predictions.json'
    (tmp_path / 'predictions.part.json').symlink_to(target)
    path.symlink_to(target)
    write_whole(path, 'new')
    assert target.read_text() == 'precious'
    assert path.read_text() == 'new' and not path.is_symlink()
    monkeypatch.setattr('secrets.token_hex', lambda size: 'guessed')
    (tmp_path / 'predictions.guessed.part').symlink_to(target)
    with pytest.raises(FileExistsError) as caught:
        write_whole(path, 'newer')
    assert caught.value.filename == str(path)
    assert target.read_text() == 'precious' and path.read_text() == 'new'
    assert (tmp_path / 'predictions.guessed.part').is_symlink()  # not ours to remove


@pytest.mark.skipif(os.name != 'posix', reason='modes are those of POSIX')
def test_modes_are_those_of_the_old_file_or_of_any_new_one(tmp_path):
    path, plain = tmp_path / 'file', tmp_path / 'plain'
    old = os.umask(0o027)
    try:
        plain.write_text('')
        write_whole(path, '')
        assert path.stat().st_mode == plain.stat().st_mode
        for mode in (0o600, 0o444, 0o664):
            path.chmod(mode)
            write_whole(path, 'new')
            assert path.stat().st_mode & 0o777 == mode
    finally:
        os.umask(old)


def test_threads_that_write_one_file_leave_one_of_their_contents(tmp_path):
    path = tmp_path / 'file'
    contents = [bytes([index]) * 100_000 for index in range(8)]
    threads = [threading.Thread(target=write_whole, args=(path, data)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents and os.listdir(tmp_path) == ['file']


def test_only_what_is_lasting_waits_for_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, 'fsync', lambda file: synced.append(os.fstat(file).st_size))
    write_whole(tmp_path / 'x', b'image')
    assert synced == []
    write_whole(tmp_path / 'x', b'weights', sync=True)
    assert synced == [7]


def test_leftovers_are_those_of_the_file_alone(tmp_path):
    token = '0123456789abcdef'
    keep = [f'epoch_1.{token}.part', f'epoch_10.{token}.part.pth', 'epoch_10.part', 'epoch_10.pth']
    for name in [*keep, f'epoch_10.{token}.part']:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / 'epoch_10.pth')
    assert sorted(os.listdir(tmp_path)) == sorted(keep)


@pytest.mark.parametrize(
    'data, reason',
    [
        ('{"name": "工件"}'.encode('gb18030'), 'is not in UTF-8.* perhaps in gb18030. .* iconv'),
        (b'[' * 100_000, 'is nested too deeply'),
        (b'{"a": ', 'is not a JSON file: '),
    ],
)
def test_what_is_no_json(tmp_path, data, reason):
    (tmp_path / 'a.json').write_bytes(data)
    with pytest.raises(ValueError, match=f'^{reason}'):
        read_json(tmp_path / 'a.json')
