"""Generated shapes in one folder per class."""

import cv2
import pytest

from mmtrtvit.datasets import CLASSES, make_shape_folders


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob('*') if path.is_file()
    }


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return make_shape_folders(tmp_path_factory.mktemp('shapes') / 'made', 9, val=4, size=40)


def test_each_image_is_in_the_folder_of_a_class(root):
    for split, count in (('training', 9), ('validation', 4)):
        images = sorted((root / split).rglob('*.png'))
        assert len(images) == count
        assert {path.parent.name for path in images} <= {*CLASSES}
        assert all(cv2.imread(str(path)).shape == (40, 40, 3) for path in images)
    assert len({*contents(root).values()}) == 14  # no image is there twice


def test_equal_arguments_give_equal_files_and_leave_them_alone(root, tmp_path):
    calls = []
    again = make_shape_folders(
        tmp_path / 'again', 9, val=4, size=40, progress=lambda: calls.append(1)
    )
    assert contents(again) == contents(root) and len(calls) == 13
    times = {path: path.stat().st_mtime_ns for path in root.rglob('*')}
    assert make_shape_folders(root, 9, val=4, size=40) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob('*')} == times
    other = make_shape_folders(tmp_path / 'other', 9, val=4, size=40, seed=1)
    assert contents(other) != contents(root)


def test_what_is_there_is_not_replaced(root, tmp_path):
    with pytest.raises(FileExistsError, match='holds something else'):
        make_shape_folders(root, 8, val=4, size=40)
    (tmp_path / 'mine.txt').touch()
    with pytest.raises(FileExistsError, match='choose another folder'):
        make_shape_folders(tmp_path, 8)


@pytest.mark.parametrize('size', [31, (40, 40)])
def test_a_wrong_size(tmp_path, size):
    with pytest.raises(ValueError, match='32 pixels or more'):
        make_shape_folders(tmp_path / 'none', size=size)
    assert not (tmp_path / 'none').exists()


def test_nothing_is_left_of_what_was_broken_off(tmp_path):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_shape_folders(tmp_path / 'none', 2, progress=stop)
    assert not list(tmp_path.iterdir())
