"""A model goes into a folder or onto a stand-in of the Hub, and is loaded from there."""

import hashlib
import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

from mmtrtvit.engine import load
from mmtrtvit.errors import UserError
from mmtrtvit.models import TRTViT
from mmtrtvit.publish.push import push
from mmtrtvit.weights.checkpoints import read_weights

TOOL = Path(__file__).parents[2] / 'tools/push.py'
TINY = dict(depths=(1, 1, 1, 1), channels=(32, 32, 64, 64))
SCALARS = [
    dict(iter=1, step=1, epoch=1, loss=2.0, loss_cls=1.5),
    dict(iter=2, step=2, epoch=1, loss=1.0, loss_cls=0.5),
    {'step': 1, 'coco/bbox_mAP': 0.25},
    dict(iter=4, step=4, epoch=2, loss=0.9, loss_cls=0.4),
    {'step': 2, 'coco/bbox_mAP': 0.5},
]


@pytest.fixture
def run(small_models, tmp_path, monkeypatch):
    """The work dir of a training: config, checkpoint after its first epoch, curves."""
    folder = tmp_path / 'run'
    folder.mkdir()
    shutil.copy(small_models / 'retinanet.py', folder)
    checkpoint = read_weights(small_models / 'retinanet.pth')
    checkpoint['meta'].update(epoch=1, iter=2, cfg='secret = 1', experiment_name='x')
    torch.save(checkpoint, folder / 'epoch_1.pth')
    scalars = folder / '20260101_000000/vis_data/scalars.json'
    scalars.parent.mkdir(parents=True)
    scalars.write_text('\n'.join(map(json.dumps, SCALARS)))
    monkeypatch.chdir(tmp_path)
    return folder


def head_and_text(path):
    _, head, text = path.read_text().split('---\n', 2)
    return yaml.safe_load(head), text


def test_a_folder_holds_all_that_loads_the_model(run):
    pushed = push(run, 'out/model', license='cc-by-4.0', data='640 generated images')
    out = Path('out/model')
    files = ['README.md', 'config.py', 'curves.png', 'model.safetensors']
    assert sorted(pushed.files) == sorted(path.name for path in out.iterdir()) == files
    head, text = head_and_text(out / 'README.md')
    assert head == dict(
        license='cc-by-4.0',
        library_name='mmtrtvit',
        pipeline_tag='object-detection',
        tags=['mmtrtvit', 'RetinaNet', 'TRTViT'],
    )
    for part in (
        '# retinanet\n',
        '* data: 640 generated images\n',
        '* classes: 3: ',
        '* licence: cc-by-4.0\n',
        '* started from: scratch\n',
        '2 iterations\n',
        '| coco/bbox_mAP | 0.25 |',
        '](curves.png)',
    ):
        assert part in text
    (code,) = (part.split('```')[0] for part in text.split('```python\n')[1:2])
    assert "load('out/model/config.py', 'out/model/model.safetensors')" in code
    model = load('out/model/config.py', 'out/model/model.safetensors')
    ours = load(run / 'retinanet.py', run / 'epoch_1.pth')
    image = torch.zeros(64, 64, 3, dtype=torch.uint8).numpy()
    found, wanted = (each([image])[0].pred_instances for each in (model, ours))
    assert torch.equal(found.scores, wanted.scores) and len(found) > 0
    meta = read_weights(out / 'model.safetensors')['meta']
    assert meta.keys() == {'epoch', 'iter', 'dataset_meta'}
    assert 'work_dir' not in (out / 'config.py').read_text()


def test_the_hub_gets_it_in_one_commit_and_gives_it_back(run, hub):
    push(run, 'hf://me/model', license='apache-2.0', private=True)
    files = hub.repositories['me/model']
    assert sorted(files) == ['README.md', 'config.py', 'curves.png', 'model.safetensors']
    assert hub.private and sum(path.endswith('/commit/main') for path in hub.asked) == 1
    assert b"load('model/config.py', 'hf://me/model')" in files['README.md']
    Path('config.py').write_bytes(files['config.py'])
    image = torch.zeros(64, 64, 3, dtype=torch.uint8).numpy()
    assert len(load('config.py', 'hf://me/model')([image])[0].pred_instances) > 0
    init_cfg = dict(type='Pretrained', checkpoint='hf://me/model', prefix='backbone.')
    backbone = TRTViT(TINY, init_cfg=init_cfg)
    backbone.init_weights()
    wanted = read_weights(run / 'epoch_1.pth')['state_dict']
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, wanted[f'backbone.{name}'])


def initialise(address):
    """A backbone that starts from an address."""
    backbone = TRTViT(TINY, init_cfg=dict(type='Pretrained', checkpoint=address))
    backbone.init_weights()
    return backbone


def test_a_file_of_the_hub_is_pinned_by_its_hash(hub, tmp_path):
    torch.save(dict(state_dict=TRTViT(TINY).state_dict()), tmp_path / 'x.pth')
    content = (tmp_path / 'x.pth').read_bytes()
    hub.repositories['me/model'] = {'deep/x.pth': content}
    digest = hashlib.sha256(content).hexdigest()

    initialise(f'hf://me/model/deep/x.pth#sha256={digest}')
    initialise('hf://me/model@main/deep/x.pth')
    for address, message in (
        (f'hf://me/model/deep/x.pth#sha256={64 * "0"}', 'is not the file that its hash belongs'),
        ('hf://me/model/x.pth', 'me/model has no file x.pth. Name one that it has'),
        ('hf://me/model', 'me/model has no file model.safetensors'),
        ('hf://me/modell/x.pth', 'the Hub shows you no repository me/modell'),
        ('hf://model', r'expected hf://OWNER/REPO, then, if needed, @REVISION'),
    ):
        with pytest.raises(UserError, match=message):
            initialise(address)


def test_without_a_connection_the_cache_serves(hub, tmp_path, monkeypatch):
    from huggingface_hub import constants

    torch.save(TRTViT(TINY).state_dict(), tmp_path / 'x.pth')
    hub.repositories['me/model'] = {'x.pth': (tmp_path / 'x.pth').read_bytes()}
    initialise('hf://me/model/x.pth')
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    initialise('hf://me/model/x.pth')
    with pytest.raises(UserError, match='is not in the cache') as caught:
        initialise('hf://me/model/y.pth')
    for part in (
        'HF_HUB_OFFLINE forbids',
        'hf download me/model y.pth',
        '--cfg-options model.backbone.init_cfg=None model.backbone.norm_eval=False',
    ):
        assert part in str(caught.value)


def test_a_bare_backbone_needs_no_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(TRTViT(TINY).state_dict(), 'b.pth')
    assert push('b.pth', 'out', license='mit').files == ['model.safetensors', 'README.md']
    head, text = head_and_text(Path('out/README.md'))
    assert head['pipeline_tag'] == 'image-feature-extraction'
    assert "init_cfg = dict(type='Pretrained', checkpoint='out/model.safetensors')" in text
    assert 'No metrics of these weights were recorded.' in text


@pytest.mark.parametrize(
    'change, options, message',
    [
        (None, dict(target='s3://x'), 's3://x: expected a folder or hf://OWNER/REPO'),
        (None, dict(target='hf://x'), 'hf://x: expected hf://OWNER/REPO'),
        (None, dict(target='run/epoch_1.pth'), 'is a file: name a folder'),
        ('second.py', {}, r'has 2 configs \(retinanet.py, second.py\): say which one'),
        ('other', {}, 'looks like the checkpoint of another model or config'),
    ],
)
def test_bad_input_writes_nothing(run, change, options, message):
    if change == 'second.py':
        shutil.copy(run / 'retinanet.py', run / 'second.py')
    if change == 'other':
        weights = read_weights(run / 'epoch_1.pth')['state_dict']
        weights['neck.lateral_convs.0.conv.weight'] = torch.ones(2)
        torch.save(dict(state_dict=weights), run / 'epoch_2.pth')
    before = sorted(run.parent.rglob('*'))
    with pytest.raises(UserError, match=message):
        push(run, **dict(dict(target='out'), license='mit', **options))
    assert sorted(run.parent.rglob('*')) == before


def test_a_hub_that_refuses_is_told(run, hub, monkeypatch, capsys):
    hub.refusal = 'Invalid token'
    monkeypatch.setenv('LOCAL_RANK', '0')
    arguments = ['push.py', 'run', 'hf://me/model', '--license', 'mit']
    monkeypatch.setattr(sys, 'argv', arguments)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(TOOL), run_name='__main__')
    assert 'error: hf://me/model: the Hub took nothing: ' in ended.value.code
    assert 'hf upload me/model FOLDER' in ended.value.code
    hub.refusal = None
    runpy.run_path(str(TOOL), run_name='__main__')
    printed = capsys.readouterr().out
    assert 'written: hf://me/model: model.safetensors, config.py, curves.png, README.md' in printed
