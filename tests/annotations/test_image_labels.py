"""The listing of images by class agrees with MMPretrain's own."""

from pathlib import Path

import pytest

from mmtrtvit.annotations.data import Use
from mmtrtvit.annotations.reading import read_annotations
from mmtrtvit.engine.hosts import import_host

pytest.importorskip('mmpretrain')


@pytest.mark.parametrize('listed', [False, True])
def test_what_is_listed_is_what_mmpretrain_reads(tmp_path, listed):
    from mmpretrain.datasets import CustomDataset

    import_host('mmpretrain')
    names = ['b/1.PNG', 'b/deep/2.jpg', 'a/.hidden.jpg', 'a/x.txt', '.git/3.png', 'a/4 5.bmp']
    for name in names:
        Path(tmp_path, name).parent.mkdir(parents=True, exist_ok=True)
        Path(tmp_path, name).touch()
    (tmp_path / 'list.txt').write_text('a/4 5.bmp 1\nb/1.PNG 0\n')
    config = dict(
        type='CustomDataset',
        data_root=str(tmp_path),
        ann_file='list.txt' if listed else '',
        metainfo=dict(classes=('.git', 'a', 'b')),
    )
    data = read_annotations('data', config, scope='mmpretrain', use=Use())
    config.pop('type')
    theirs = [(Path(each['img_path']), each['gt_label']) for each in CustomDataset(**config)]
    ours = [(image.path, image.labels[0]) for image in data.images]
    assert sorted(ours) == sorted(theirs) and len(ours) == (2 if listed else 4)
