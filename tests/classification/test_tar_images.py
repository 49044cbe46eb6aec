"""Images in tar files: what is found in them, and what is refused."""

import io
import tarfile

import pytest

from mmtrtvit.classification.tar_images import find_tar_images, numbered
from mmtrtvit.errors import UserError


@pytest.fixture
def write(tmp_path):
    """Writes a tar file of texts by name."""

    def write(name, files, mode='w'):
        with tarfile.open(tmp_path / name, mode) as tar:
            for member, text in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
        return tmp_path / name

    return write


def test_folders_and_shards(write, tmp_path):
    write('b.tar', {'./cat/1.jpg': 'one', 'deep/dog/2.PNG': 'two', 'cat/notes.txt': '-'})
    write('a.tar', {'7.jpg': 'three', '7.cls': '1\n', '8.jpg': 'four', '8.cls': 'cat'})
    images = find_tar_images(tmp_path)
    assert [image.read() for image in images] == [b'three', b'four', b'one', b'two']
    assert [image.label for image in images] == ['1', 'cat', 'cat', 'dog']
    assert numbered(images, ('cat', 'dog')) == [1, 0, 0, 1]
    assert len(find_tar_images(tmp_path / 'b*.tar')) == 2


def test_no_file(tmp_path):
    with pytest.raises(UserError, match=r'no tar file .*/none\.tar'):
        find_tar_images(tmp_path / 'none.tar')


def test_images_without_a_class(write):
    path = write('x.tar', {'1.jpg': 'a', 'cat/2.jpg': 'b', './3.jpg': 'c'})
    with pytest.raises(UserError, match=r'x.tar has 2 of 3 images without a class: 1.jpg, ./3.jpg'):
        find_tar_images(path)
    with pytest.raises(UserError, match='no image in it'):
        find_tar_images(write('y.tar', {'cat/a.txt': 'a'}))


def test_labels_that_are_no_class(write):
    images = find_tar_images(write('x.tar', {'1.jpg': 'a', '1.cls': '2', 'cow/2.jpg': 'b'}))
    with pytest.raises(UserError, match=r'no class: 2, cow. Expected one of .*, cat, dog, or'):
        numbered(images, ('cat', 'dog'))


def test_damaged_files(write):
    path = write('x.tar', {'cat/1.jpg': 'a' * 5000})
    whole = path.read_bytes()
    (image,) = find_tar_images(path)
    path.write_bytes(whole[:3000])
    with pytest.raises(UserError, match='x.tar (is cut off|cannot be read)'):
        find_tar_images(path)
    with pytest.raises(OSError, match='ends inside cat/1.jpg'):
        image.read()
    path.write_bytes(b'no tar at all')
    with pytest.raises(UserError, match='cannot be read as an uncompressed tar file'):
        find_tar_images(path)
    with pytest.raises(UserError, match='uncompressed'):
        find_tar_images(write('z.tar', {'cat/1.jpg': 'a'}, 'w:gz'))
