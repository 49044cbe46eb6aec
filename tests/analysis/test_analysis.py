import json
import os

import cv2
import numpy as np
import pytest
from PIL import Image

from mmtrtvit.analysis.curves import draw_curves, read_scalars
from mmtrtvit.analysis.sheets import draw_sheet, pick_images
from mmtrtvit.errors import UserError


def write_run(work_dir, time, rows):
    folder = work_dir / time / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, rows)))


@pytest.fixture
def work_dir(tmp_path):
    """An epoch, an interruption after half of the second, and its repetition."""
    first = [
        dict(loss=2.0 - step / 10, loss_cls=1.0, lr=0.1, epoch=1 + (step > 4), iter=step, step=step)
        for step in (2, 4, 6)
    ]
    validated = dict(first[1], step=1)
    validated = {'coco/bbox_mAP_50': 0.25, 'coco/bbox_mAP_l': -1.0, 'time': 0.1, 'step': 1}
    write_run(tmp_path, '20260101_000000', [*first[:2], validated, first[2]])
    write_run(
        tmp_path,
        '20260102_000000',
        [
            dict(loss=1.0, loss_cls=0.5, epoch=2, iter=6, step=6),
            dict(loss=0.9, loss_cls=0.4, epoch=2, iter=8, step=8),
            {'coco/bbox_mAP_50': 0.5, 'step': 2},
        ],
    )
    write_run(tmp_path, '20260103_000000', [{'coco/bbox_mAP_50': 0.9}])  # of an evaluation
    return tmp_path


def test_scalars_of_a_resumed_training(work_dir):
    losses, metrics = read_scalars(work_dir)
    assert losses['loss'] == [(2, 1.8), (4, 1.6), (6, 1.0), (8, 0.9)]
    assert set(losses) == {'loss', 'loss_cls'}
    assert metrics['coco/bbox_mAP_50'] == [(4, 0.25), (8, 0.5)]
    assert 'time' not in metrics


def test_curves_are_drawn(work_dir, tmp_path):
    image = cv2.imread(str(draw_curves(work_dir, tmp_path / 'new' / 'curves.png')))
    assert image.shape[0] > 300 and image.std() > 5


@pytest.mark.parametrize('name, kind', [('curves', 'PNG'), ('curves.JPG', 'JPEG')])
def test_figures_go_to_exactly_the_file_that_was_named(work_dir, tmp_path, name, kind):
    path = tmp_path / 'new' / name
    assert draw_curves(work_dir, path) == path
    assert os.listdir(path.parent) == [name]
    with Image.open(path) as image:
        assert image.format == kind


def test_an_unknown_format_of_a_figure(work_dir, tmp_path):
    with pytest.raises(UserError, match=r'curves.xyz: no format .* one of .*png.*svg'):
        draw_curves(work_dir, tmp_path / 'curves.xyz')


def test_no_curves_without_a_training(tmp_path):
    with pytest.raises(UserError, match='no .*scalars.json'):
        read_scalars(tmp_path)


def test_sheet_of_images(tmp_path):
    for index in range(10):
        image = np.full((40, 80, 3), 25 * index, np.uint8)
        cv2.imwrite(str(tmp_path / f'{index}.jpg'), image)
    (tmp_path / 'notes.txt').touch()
    images = pick_images(tmp_path, 5)
    assert [path.name for path in images] == ['0.jpg', '2.jpg', '4.jpg', '6.jpg', '8.jpg']
    sheet = cv2.imread(str(draw_sheet(images, tmp_path / 'out' / 'sheet.png', title='title')))
    assert {0, 50, 100, 150, 200} <= set(np.unique(sheet[..., 0]))


def test_no_sheet_without_images(tmp_path):
    with pytest.raises(UserError, match='no images'):
        pick_images(tmp_path, 4)
