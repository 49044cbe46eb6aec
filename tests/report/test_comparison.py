"""Runs beside each other."""

import json
import shutil

import pytest
import torch
from mmengine.config import Config

from mmtrtvit.errors import UserError
from mmtrtvit.report.comparison import compare, flatten, names_of


def other_run(folder, name, new, **options):
    """Copies a run with other weights and, in its config, other values."""
    (folder / new).mkdir(exist_ok=True)
    config = Config.fromfile(folder / name / f'{name}.py')
    config.merge_from_dict(options)
    config.dump(folder / new / f'{name}.py')
    weights = torch.load(folder / name / 'epoch_1.pth', weights_only=False)
    generator = torch.manual_seed(1)
    for key, value in weights['state_dict'].items():
        if key.endswith('weight'):
            value += 0.3 * value.std(unbiased=False) * torch.randn(value.shape, generator=generator)
    torch.save(weights, folder / new / 'epoch_1.pth')


@pytest.fixture(params=['retinanet', 'fpn', 'classifier'])
def compared(request, folder, monkeypatch):
    monkeypatch.chdir(folder)
    name, new = request.param, f'{request.param}_2'
    other_run(folder, name, new, **{'model.backbone.frozen_stages': 0})
    for run, loss in ((name, 3.0), (new, 2.0)):
        row = dict(iter=1, step=1, loss=loss)
        (folder / run / '1/vis_data').mkdir(parents=True, exist_ok=True)
        (folder / run / '1/vis_data/scalars.json').write_text(json.dumps(row))
    return compare([name, new], images=2)


def test_metrics_classes_configs_and_images(compared, reader):
    path, evaluations = compared
    first, last = evaluations.values()
    page = reader(path.read_text(encoding='utf-8'))
    assert path.name == 'comparison.html' and path.parent.name.endswith('_2')
    for key, value in first.metrics.items():
        cells = page.row(key)[1:]
        assert cells[:2] == [f'{value:.3f}', f'{last.metrics[key]:.3f}']
        assert float(cells[2]) == pytest.approx(last.metrics[key] - value, abs=6e-4)
    assert page.row('model.backbone.frozen_stages')[2] == '0'
    assert not any(row[0].startswith('val_dataloader') for row in page.rows if row)  # alike
    assert all(page.row(name) for name in first.legend.names)
    assert 'loss over the iterations' in path.read_text(encoding='utf-8')
    changed = {'gained', 'lost'} & {*page.ids}
    assert changed
    sides = 1 if first.task == 'classes of images' else 3  # the truth, and what both found
    figures = sum(each.startswith(('gained-', 'lost-')) for each in page.ids)
    assert len(page.images) == figures * sides
    assert all(link[1:] in page.ids for link in page.links if link.startswith('#'))


def test_runs_of_other_tasks_or_classes_are_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match='retinanet evaluates objects, but fpn label maps'):
        compare(['retinanet', 'fpn'])
    with pytest.raises(UserError, match='name each work dir once'):
        compare(['fpn', './fpn/../fpn'])
    with pytest.raises(UserError, match='nowhere: no such folder'):
        compare(['fpn', 'nowhere'])


def test_other_images_are_not_compared(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(folder)
    shutil.copytree(folder / 'data', folder / 'moved', dirs_exist_ok=True)
    config = Config.fromfile('fpn/fpn.py')
    root = config.test_dataloader.dataset.data_root
    moved = str(root).replace('data', 'moved', 1) if 'data' in str(root) else 'moved'
    other_run(folder, 'fpn', 'fpn_3', **{'test_dataloader.dataset.data_root': moved})
    path, _ = compare(['fpn', 'fpn_3'], out=tmp_path / 'x.html')
    assert 'evaluated on other images' in path.read_text()


def test_names_are_as_long_as_it_takes():
    assert names_of(['a/run', 'b/other']) == ['run', 'other']
    assert names_of(['a/run', 'b/run/']) == ['a/run', 'b/run']


def test_values_of_a_config_by_dotted_key():
    config = dict(model=dict(depths=[1, 2], heads=[dict(n=3), dict(n=4)]), empty={})
    assert flatten(config) == [
        ('model.depths', [1, 2]),
        ('model.heads.0.n', 3),
        ('model.heads.1.n', 4),
        ('empty', {}),
    ]
