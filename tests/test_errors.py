import errno
import os
import sys

import pytest
from torch.utils.data import DataLoader, Dataset

from mmtrtvit.errors import UserError, listed, message


def error_of(function, *args):
    with pytest.raises(OSError) as caught:
        function(*args)
    return caught.value


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='there is no /dev/full')
def test_a_full_disk():
    with open('/dev/full', 'wb', buffering=0) as file:
        error = error_of(file.write, b'x')
    assert message(error) == ('No space left on device. Free some space, or choose another disk.')
    error.filename = 'epoch_1.pth'
    assert message(error).startswith('epoch_1.pth: No space left on device. ')


def test_places_that_cannot_be_written(tmp_path):
    file, folder = tmp_path / 'file', tmp_path / 'folder'
    file.touch()
    folder.mkdir()
    for function, args, place, reason in (
        (open, (file / 'x', 'w'), file / 'x', 'Not a directory. A part of this path is a file'),
        (file.mkdir, (), file, 'File exists. A file has the name of the folder'),
        (open, (folder, 'w'), folder, 'Is a directory. A folder has the name of the file'),
        (os.replace, (file, folder), folder, 'Is a directory. A folder has'),
    ):
        assert message(error_of(function, *args)).startswith(f'{place}: {reason}')


@pytest.mark.parametrize('number', ['EDQUOT', 'EFBIG', 'EROFS', 'EACCES', 'EPERM'])
def test_all_end_with_what_to_do(number):
    text = os.strerror(getattr(errno, number))
    advice = message(OSError(getattr(errno, number), text, 'out')).removeprefix(f'out: {text}. ')
    assert 'choose another' in advice.lower() and advice.endswith('.')


@pytest.mark.parametrize(
    'names, text',
    [
        ((), ''),
        (('a',), 'a'),
        (range(3), '0, 1, 2'),
        (iter(range(4)), '0, 1, 2, ...'),
    ],
)
def test_long_lists_are_cut(names, text):
    assert listed(names, 3) == text


class Unreadable(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise UserError('a.jpg is empty.')


def test_errors_of_workers_that_load_data_come_without_their_traceback():
    with pytest.raises(UserError, match='Traceback') as caught:
        list(DataLoader(Unreadable(), num_workers=1))
    assert message(caught.value) == 'a.jpg is empty.'


def test_other_errors_keep_their_traceback(tmp_path):
    assert message(UserError('bad')) == 'bad'
    for error in (ValueError('bad'), OSError('bad'), error_of(open, tmp_path / 'absent')):
        assert message(error) is None


@pytest.mark.parametrize('program', ['mmtrtvit deploy', '/usr/bin/mmtrtvit', 'tools/deploy.py'])
def test_tools_are_named_as_they_were_called(monkeypatch, program):
    monkeypatch.setattr(sys, 'argv', [program])
    text = 'try: python tools/check_data.py x, or tools/deploy.py; not /home/tools/deploy.py'
    commands = 'try: mmtrtvit check-data x, or mmtrtvit deploy; not /home/tools/deploy.py'
    assert message(UserError(text)) == (text if program.startswith('tools') else commands)
