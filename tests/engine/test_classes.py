import pytest
from mmengine.config import Config

from mmtrtvit.engine.classes import spread_metainfo
from mmtrtvit.engine.config import read_config
from mmtrtvit.errors import UserError

CONFIG = """
model = dict(
    backbone=dict(num_classes=1000),
    rpn_head=dict(num_classes=1),
    roi_head=dict(bbox_head=[dict(num_classes=80), dict(num_classes=80)],
                  mask_head=dict(num_classes=80)))
part = dict(type='CocoDataset', metainfo=dict(classes=('a', 'b', 'c')))
train_dataloader = dict(dataset=dict(type='RepeatDataset', times=2, dataset=part))
val_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=[part, dict(type='CocoDataset')]))
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / 'base.py').write_text(CONFIG)
    (tmp_path / 'own.py').write_text(
        "_base_ = 'base.py'\nmetainfo = dict(classes=('cat', 'dog'), palette=[[1, 2, 3]] * 2)\n"
    )
    return tmp_path / 'own.py'


def test_classes_reach_every_data_set_and_every_head(path):
    config = read_config(path)
    metainfo = dict(classes=('cat', 'dog'), palette=[[1, 2, 3]] * 2)
    assert config.train_dataloader.dataset.dataset.metainfo == metainfo
    assert [part.metainfo for part in config.val_dataloader.dataset.datasets] == [metainfo] * 2
    roi_head = config.model.roi_head
    assert [head.num_classes for head in (*roi_head.bbox_head, roi_head.mask_head)] == [2, 2, 2]
    assert config.model.backbone.num_classes == 1000 and config.model.rpn_head.num_classes == 1


def test_without_it_nothing_changes(path):
    config = read_config(path.with_name('base.py'))
    assert config.train_dataloader.dataset.dataset.metainfo.classes == ('a', 'b', 'c')
    assert config.model.roi_head.mask_head.num_classes == 80


def test_from_the_command_line(path):
    config = read_config(path.with_name('base.py'), {'metainfo.classes': ['x']})
    assert config.model.roi_head.mask_head.num_classes == 1


def test_from_a_file_of_names(path, tmp_path):
    (tmp_path / 'names.txt').write_text('cat\ngrey dog\n\n')
    config = read_config(path, {'metainfo.classes': str(tmp_path / 'names.txt')})
    assert config.train_dataloader.dataset.dataset.metainfo.classes == ('cat', 'grey dog')


@pytest.mark.parametrize(
    'metainfo, part',
    [
        (dict(classes='cat'), "is 'cat'. It should be a tuple"),
        (dict(), 'is None'),
        (('cat', 'dog'), 'is None'),
        (dict(classes=()), r'is \(\)'),
        (dict(classes=('cat', 1)), "is .'cat', 1."),
        (dict(classes=('cat', 'dog', 'cat')), 'names cat more than once'),
    ],
)
def test_what_names_no_classes(metainfo, part):
    with pytest.raises(UserError, match=part):
        spread_metainfo(Config(dict(metainfo=metainfo)))
