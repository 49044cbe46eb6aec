"""Every road on which a file gets into a run, walked with files that would run code."""

import functools
import hashlib
import http.server
import io
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import mmengine
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import LocalBackend, register_backend
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader, _load_checkpoint
from torch import nn

from mmtrtvit.analysis.trained import load_trained
from mmtrtvit.datasets import make_shapes
from mmtrtvit.deploy.graphs.graph import load_onnx
from mmtrtvit.deploy.verify.open import open_checkpoint
from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.inference import infer
from mmtrtvit.engine.predictor import load
from mmtrtvit.engine.runner import evaluate, train
from mmtrtvit.errors import UserError
from mmtrtvit.models.conversion import convert_weights
from mmtrtvit.publish.push import push
from mmtrtvit.runtime.sessions.opening import open_session
from mmtrtvit.weights import hub
from mmtrtvit.weights.checkpoints import is_readable, newest_checkpoint, read_weights

ROOT = Path(__file__).parents[2]
DETECTOR = ROOT / 'configs/demo/retinanet_trtvit_b.py'


class Payload:
    """Writes the number of the process that loads it into a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return eval, (
            f'__import__("pathlib").Path({str(self.marker)!r}).write_text('
            'str(__import__("os").getpid()))',
        )


@pytest.fixture
def marker(tmp_path):
    """The file that a payload writes; it must not be there in the end."""
    path = tmp_path / 'code-was-run'
    yield path
    assert not path.exists()


def add_to_tar(archive, name, data):
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def write_tar(content, path):
    """A file as PyTorch 0.1 wrote it."""
    with tarfile.open(path, 'w') as archive:
        for name in ('storages', 'tensors', 'pickle'):
            add_to_tar(archive, name, pickle.dumps(content['meta'], 2))


def write_script(content, path):
    """A zip file with the mark of a TorchScript archive."""
    torch.save(content, path)
    with zipfile.ZipFile(path, 'a') as archive:
        folder = archive.namelist()[0].partition('/')[0]
        archive.writestr(f'{folder}/constants.pkl', pickle.dumps(content['meta'], 2))


def write_pickle(content, path, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol))


def write_array(content, path):
    """An array of objects as NumPy writes it, with a pickle inside."""
    save = np.savez if path.suffix == '.npz' else np.save
    save(path, np.array([content['meta']], object), allow_pickle=True)


write_legacy = functools.partial(torch.save, _use_new_zipfile_serialization=False)
KINDS = {
    'zip.pth': (torch.save, 'holds more than weights'),
    'zip.bin': (torch.save, 'holds more than weights'),
    'zip.safetensors': (torch.save, 'is not a safetensors file'),
    'legacy.pth': (write_legacy, 'has the format of PyTorch before 1.6'),
    'tar.pth': (write_tar, 'is a tar archive'),
    'bare.pkl': (write_pickle, 'is a bare pickle'),
    'bare.pth': (write_pickle, 'is a bare pickle'),
    'bare.safetensors': (write_pickle, 'is a bare pickle'),
    'text.pth': (functools.partial(write_pickle, protocol=0), 'is not a PyTorch checkpoint'),
    'script.pth': (write_script, 'is a TorchScript archive'),
    'array.npy': (write_array, 'is not a PyTorch checkpoint'),
    'arrays.npz': (write_array, 'is cut off or damaged'),
}
NEVER_WEIGHTS = 'text.pth', 'zip.safetensors', 'array.npy', 'arrays.npz'


def write_payload(kind, folder, marker):
    """Writes a file that runs code, and returns it with what its refusal says."""
    write, reason = KINDS[kind]
    content = dict(state_dict={'w': torch.ones(2)}, meta=Payload(marker))
    if kind == 'text.pth':
        content = Payload(marker)
    write(content, folder / kind)
    return folder / kind, reason


@MODELS.register_module()
class WholeModel(BaseModel):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.w = nn.Parameter(torch.zeros(2))

    def forward(self, inputs, mode='tensor'):
        return self.w


def initialise(file, **model):
    MODELS.build(dict(model, init_cfg=dict(type='Pretrained', checkpoint=str(file)))).init_weights()


def init_part(file):
    model = MODELS.build(
        dict(
            type='WholeModel',
            init_cfg=dict(type='Pretrained', prefix='part.', checkpoint=str(file)),
        )
    )
    model.init_weights()


def run(toy, file, **changes):
    Runner.from_cfg(toy(load_from=str(file), **changes)).train()


def init_detector(toy, file):
    from mmdet.apis import init_detector

    init_detector(str(DETECTOR), str(file), device='cpu')


def deploy_detector(toy, file):
    from mmtrtvit.deploy.workflow import deploy, read_deploy_config

    config = read_config(DETECTOR)
    settings = read_deploy_config(ROOT / 'configs/deploy/onnxruntime.py', config.default_scope)
    deploy(settings, config, checkpoint=file, images=[], work_dir=file.parent / 'out', verify=False)


def report_on(toy, file):
    from mmtrtvit.report.page import report

    make_shapes('data/shapes', 1, val=1, size=(64, 96))
    report(file.parent, config=DETECTOR, checkpoint=file)


def ask_teacher(toy, file):
    pytest.importorskip('timm')
    from mmtrtvit.classification.teacher import Teacher

    Teacher('timm://resnet18', checkpoint=str(file))(torch.zeros(1, 3, 64, 64))


def analyse(file):
    """What ``tools/analyze.py heads`` and ``importance`` begin with."""
    load_trained(read_config(ROOT / 'configs/demo/mask_rcnn_efficientvit_m2.py'), file)


FAMILY = dict(arch=dict(depths=(1, 1, 1, 1), channels=(32, 32, 64, 64)))
NECK = dict(in_channels=[32, 64, 64], out_channels=32)
MMENGINE_ROADS = {
    'init_cfg of a backbone': lambda toy, file: initialise(file, type='TRTViT', **FAMILY),
    'init_cfg of the other backbone': lambda _, file: initialise(
        file, type='EfficientViT', arch='m0'
    ),
    'init_cfg of a neck': lambda _, file: initialise(file, type='EfficientViTFPN', **NECK),
    'init_cfg of a model': lambda _, file: initialise(file, type='WholeModel'),
    'init_cfg of a part': lambda _, file: init_part(file),
    'load_from': lambda toy, file: run(toy, file),
    'resume': lambda toy, file: run(toy, file, resume=True),
    'mmengine': lambda _, file: _load_checkpoint(str(file)),
    'train': lambda toy, file: train(toy(load_from=str(file))),
    'train --resume': lambda toy, file: train(toy(), resume=str(file)),
    'test': lambda toy, file: evaluate(toy(), str(file)),
}
OTHER_ROADS = {
    'read': lambda _, file: read_weights(file),
    'load': lambda _, file: load(DETECTOR, file),
    'infer': lambda _, file: infer(read_config(DETECTOR), file, inputs=[ROOT], out_dir='out'),
    'convert': lambda _, file: convert_weights(file, file.with_name('converted.pth')),
    'push': lambda _, file: push(file, 'published', license='mit'),
    'analyze': lambda _, file: analyse(file),
    'benchmark': lambda _, file: open_checkpoint(DETECTOR, file),
}
SLOW_ROADS = {
    'init_detector': init_detector,
    'deploy': deploy_detector,
    'report': report_on,
    'teacher': ask_teacher,
}
FILE_ROADS = MMENGINE_ROADS | OTHER_ROADS


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('road', FILE_ROADS)
def test_no_road_runs_code_in_a_file(toy, tmp_path, marker, road, kind):
    file, reason = write_payload(kind, tmp_path, marker)
    with pytest.raises(UserError, match=f'{kind} {reason}') as caught:
        FILE_ROADS[road](toy, file)
    assert ('--trust' in str(caught.value)) == (kind not in NEVER_WEIGHTS)


@pytest.mark.parametrize('road', SLOW_ROADS)
def test_no_road_with_a_model_runs_code_in_a_file(toy, tmp_path, marker, road):
    file, reason = write_payload('zip.pth', tmp_path, marker)
    with pytest.raises(UserError, match=reason):
        SLOW_ROADS[road](toy, file)


def test_the_config_in_a_checkpoint_is_not_executed(toy, marker):
    once = dict(by_epoch=True, max_epochs=1)
    train(toy('run', loop=once))
    checkpoint = read_weights('run/epoch_1.pth')
    checkpoint['meta']['config'] = f'open({str(marker)!r}, "w").write("executed")'
    torch.save(checkpoint, 'changed.pth')
    train(toy('run', loop=dict(once, max_epochs=2)), resume='changed.pth')
    assert Path('run/epoch_2.pth').is_file() and not marker.exists()


@pytest.mark.parametrize('place', ['meta', 'runtime_info'])
def test_an_inferencer_does_not_execute_the_config_in_a_checkpoint(tmp_path, marker, place):
    from mmdet.apis import DetInferencer

    runtime_info = {}
    checkpoint = dict(state_dict={}, meta={}, message_hub=dict(runtime_info=runtime_info))
    saved = checkpoint['meta'] if place == 'meta' else runtime_info
    saved['cfg'] = f'open({str(marker)!r}, "w").write("executed")'
    torch.save(checkpoint, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='Cannot find the config in the checkpoint'):
        DetInferencer(weights=str(tmp_path / 'x.pth'), device='cpu')


def test_looking_for_the_newest_checkpoint_runs_no_code(tmp_path, marker):
    file, _ = write_payload('zip.pth', tmp_path, marker)
    shutil.copy(file, tmp_path / 'epoch_1.pth')
    shutil.copy(file, tmp_path / 'epoch_2.pth')
    assert not is_readable(file)
    assert newest_checkpoint(tmp_path, before=tmp_path / 'epoch_2.pth') is None


def test_a_file_of_a_sharded_training_runs_no_code(tmp_path, marker):
    from mmtrtvit.engine import sharded  # noqa: F401  allows what such files hold

    (tmp_path / 'epoch_1.pth').mkdir()
    file, reason = write_payload('zip.pth', tmp_path / 'epoch_1.pth', marker)
    with pytest.raises(UserError, match=reason):
        _load_checkpoint(str(file.rename(file.with_name('rank0.pth'))))


def test_getattr_of_a_file_reaches_no_other_class(tmp_path):
    class Reach:
        def __reduce__(self):
            return getattr, (Path, 'write_text')

    torch.save(dict(state_dict={'w': torch.ones(1)}, meta=Reach()), tmp_path / 'x.pth')
    with pytest.raises(UserError, match='holds more than weights'):
        read_weights(tmp_path / 'x.pth')


def test_weights_of_timm_run_no_code(tmp_path, marker, monkeypatch):
    pytest.importorskip('timm')
    file, reason = write_payload('bare.safetensors', tmp_path, marker)
    monkeypatch.setattr(hub, 'hub_file', lambda address: file)
    with pytest.raises(UserError, match=reason):
        _load_checkpoint('timm://efficientvit_m0.r224_in1k')


@pytest.mark.parametrize('name', ['end2end.onnx', 'end2end.engine'])
def test_a_pickle_in_the_place_of_a_graph_runs_no_code(tmp_path, marker, name):
    file = tmp_path / name
    write_pickle(dict(meta=Payload(marker)), file)
    readers = [load_onnx, open_session] if name.endswith('onnx') else [load_onnx]
    for read in readers:
        with pytest.raises(UserError, match=name):
            read(file)


def test_every_loader_of_mmengine_is_replaced():
    theirs = [
        (prefix, loader.__module__)
        for prefix, loader in CheckpointLoader._schemes.items()
        if not loader.__module__.startswith('mmtrtvit.')
    ]
    assert not theirs


def test_an_unknown_kind_of_address():
    with pytest.raises(UserError, match='ftp://x/y.pth: of addresses, only .* https://, .* s3://'):
        _load_checkpoint('ftp://x/y.pth')


# Over a network


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A web server and an empty folder of torch.hub."""
    folder = tmp_path / 'site'
    folder.mkdir()
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv('no_proxy', '*')
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'torch_hub'))
    url = f'http://127.0.0.1:{server.server_port}'
    yield SimpleNamespace(folder=folder, url=url, asked=asked, server=server)
    server.shutdown()
    server.server_close()


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def publish(site, name='weights.pth'):
    """Plain weights on the site; the file and its address."""
    torch.save(dict(state_dict={'w': torch.full((2,), 3.0)}), site.folder / name)
    return site.folder / name, f'{site.url}/{name}'


HTTP_ROADS = MMENGINE_ROADS | {
    'load': lambda _, url: load(DETECTOR, url),
    'infer': lambda _, url: infer(read_config(DETECTOR), url, inputs=[ROOT], out_dir='out'),
    'convert': lambda _, url: convert_weights(url, 'converted.pth'),
    'push': lambda _, url: push(url, 'published', license='mit'),
    'analyze': lambda _, url: analyse(url),
    'benchmark': lambda _, url: open_checkpoint(DETECTOR, url),
}


@pytest.mark.parametrize('road', HTTP_ROADS)
def test_no_road_takes_an_address_without_a_hash(toy, site, marker, road):
    write_payload('zip.pth', site.folder, marker)
    with pytest.raises(UserError, match=r'no hash\. Append it: http.*zip\.pth#sha256=<64 digits>'):
        HTTP_ROADS[road](toy, f'{site.url}/zip.pth')
    assert not site.asked


@pytest.mark.parametrize('road', HTTP_ROADS)
def test_no_road_runs_code_from_an_address_with_a_hash(toy, site, marker, road):
    file, reason = write_payload('zip.pth', site.folder, marker)
    with pytest.raises(UserError, match=reason):
        HTTP_ROADS[road](toy, f'{site.url}/zip.pth#sha256={sha256(file)}')
    assert site.asked


@pytest.mark.parametrize('kind', KINDS)
def test_no_kind_of_file_runs_code_from_an_address(site, marker, kind):
    file, reason = write_payload(kind, site.folder, marker)
    with pytest.raises(UserError, match=reason):
        _load_checkpoint(f'{site.url}/{kind}#sha256={sha256(file)}')


@pytest.fixture
def huggingface(tmp_path, monkeypatch):
    """A stand-in for the Hub: the files of its only repository are those of a folder."""
    package = pytest.importorskip('huggingface_hub')
    folder = tmp_path / 'repository'
    folder.mkdir()
    monkeypatch.setattr(
        package, 'hf_hub_download', lambda repository, file, revision: folder / file
    )
    return folder


@pytest.mark.parametrize('road', HTTP_ROADS)
def test_no_road_runs_code_from_the_hub(toy, huggingface, marker, road):
    file, reason = write_payload('zip.pth', huggingface, marker)
    with pytest.raises(UserError, match=f'{file.name} {reason}'):
        HTTP_ROADS[road](toy, 'hf://me/models/zip.pth')


@pytest.mark.parametrize('kind', KINDS)
def test_no_kind_of_file_runs_code_from_the_hub(huggingface, marker, kind):
    file, reason = write_payload(kind, huggingface, marker)
    with pytest.raises(UserError, match=reason):
        _load_checkpoint(f'hf://me/models/{kind}')
    with pytest.raises(UserError, match='hash belongs to|is not the file'):
        _load_checkpoint(f'hf://me/models/{kind}#sha256={64 * "0"}')


@pytest.mark.parametrize('named', [False, True])
def test_weights_come_once_and_are_checked_at_each_use(site, named):
    file, url = publish(site)
    digest = sha256(file)
    if named:
        renamed = file.rename(file.with_name(f'weights-{digest[:8]}.pth'))
        url = f'{site.url}/{renamed.name}'
    else:
        url = f'{url}#sha256={digest}'
    cached = Path(torch.hub.get_dir(), f'checkpoints/weights-{digest[:8]}.pth')
    for _ in range(2):
        assert _load_checkpoint(url)['state_dict']['w'].tolist() == [3.0, 3.0]
        assert (len(site.asked), sha256(cached)) == (1, digest)
    cached.write_bytes(b'damaged')
    assert _load_checkpoint(url)['state_dict']['w'].tolist() == [3.0, 3.0]
    assert (len(site.asked), sha256(cached)) == (2, digest)


@pytest.mark.parametrize('end', ['.pth#sha256=' + 64 * '0', '-00000000.pth'])
def test_another_file_than_the_hash_says(site, end):
    file, _ = publish(site, 'published.pth')
    name = f'weights{end}'
    shutil.copy(file, site.folder / name.partition('#')[0])
    with pytest.raises(UserError, match='is not the file that its hash belongs to') as caught:
        _load_checkpoint(f'{site.url}/{name}')
    assert sha256(file) in str(caught.value)
    assert not list(Path(torch.hub.get_dir(), 'checkpoints').iterdir())


def test_a_hash_of_the_wrong_length(site):
    with pytest.raises(UserError, match='x.pth#sha256=12ab: expected #sha256= and 64 digits'):
        _load_checkpoint(f'{site.url}/x.pth#sha256=12ab')


@pytest.mark.parametrize('reason', ['HTTP Error 404', 'refused'])
def test_what_cannot_be_downloaded(site, reason):
    if reason == 'refused':
        site.server.shutdown()
        site.server.server_close()
    with pytest.raises(UserError, match=reason) as caught:
        _load_checkpoint(f'{site.url}/x-01234567.pth')
    assert 'x-01234567.pth cannot be downloaded' in str(caught.value)
    where = Path(torch.hub.get_dir(), 'checkpoints/x-01234567.pth')
    assert str(caught.value).endswith(f'bring the file here as {where}')


MODEL_LISTS = {
    'torchvision://': 'get_torchvision_models',
    'modelzoo://': 'get_torchvision_models',
    'openmmlab://': 'get_external_models',
    'open-mmlab://': 'get_external_models',
    'mmcls://': 'get_mmcls_models',
}


@pytest.mark.parametrize('prefix', MODEL_LISTS)
def test_weights_by_name(site, marker, monkeypatch, prefix):
    good = site.folder / 'good.pth'
    torch.save(dict(state_dict={'backbone.w': torch.ones(2), 'head.w': torch.ones(2)}), good)
    bad, reason = write_payload('zip.pth', site.folder, marker)
    models = {
        file.stem: f'{site.url}/{file.name}#sha256={sha256(file)}' for file in (good, bad)
    } | {'bare': f'{site.url}/good.pth'}
    monkeypatch.setattr(mmengine_checkpoint, MODEL_LISTS[prefix], lambda: dict(models))
    weights = _load_checkpoint(f'{prefix}good')['state_dict']
    assert set(weights) == ({'w'} if prefix == 'mmcls://' else {'backbone.w', 'head.w'})
    for name, message in (('zip', reason), ('bare', 'has no hash'), ('goood', 'mean good?')):
        with pytest.raises(UserError, match=message):
            _load_checkpoint(f'{prefix}{name}')


def test_weights_of_openmmlab_that_are_files(tmp_path, marker, monkeypatch):
    _, reason = write_payload('zip.pth', tmp_path, marker)
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path))
    mmengine.dump(dict(mine='zip.pth'), tmp_path / 'open_mmlab.json')
    with pytest.raises(UserError, match=reason):
        _load_checkpoint('openmmlab://mine')


def test_deprecated_names_of_openmmlab(tmp_path, monkeypatch):
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path))
    torch.save({'w': torch.ones(2)}, tmp_path / 'new.pth')
    mmengine.dump(dict(new='new.pth'), tmp_path / 'open_mmlab.json')
    monkeypatch.setattr(
        mmengine_checkpoint, 'get_deprecated_model_names', lambda: dict(old='new', older='gone')
    )
    assert _load_checkpoint('openmmlab://old')['w'].tolist() == [1, 1]
    with pytest.raises(UserError, match='no weights have that name'):
        _load_checkpoint('openmmlab://older')


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A stand-in for Petrel's client and for PAVI's: addresses are files of a folder."""
    folder = tmp_path / 'bucket'
    folder.mkdir()

    class Bucket(LocalBackend):
        @contextmanager
        def get_local_path(self, path):
            yield folder / path.rpartition('/')[2]

    register_backend('petrel', Bucket, force=True)

    def get(name):
        return SimpleNamespace(
            name=name, download=lambda target: shutil.copy(folder / name, target)
        )

    pavi = SimpleNamespace(modelcloud=SimpleNamespace(get=get))
    monkeypatch.setitem(sys.modules, 'pavi', pavi)
    yield folder
    from mmengine.fileio import PetrelBackend

    register_backend('petrel', PetrelBackend, force=True, prefixes=['petrel', 's3'])


@pytest.mark.parametrize('prefix', ['s3://x/', 'petrel://x/', 'name:s3://x/', 'pavi://'])
def test_buckets(bucket, marker, prefix):
    torch.save({'w': torch.ones(2)}, bucket / 'good.pth')
    digest = sha256(bucket / 'good.pth')
    for name in ('good.pth', f'good.pth#sha256={digest}'):
        assert _load_checkpoint(prefix + name)['w'].tolist() == [1, 1]
    _, reason = write_payload('zip.pth', bucket, marker)
    for name, message in (('zip.pth', reason), (f'zip.pth#sha256={digest}', 'hash belongs to')):
        with pytest.raises(UserError, match=message):
            _load_checkpoint(prefix + name)


def test_without_pavi(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pavi', None)
    with pytest.raises(UserError, match='needs the package pavi'):
        _load_checkpoint('pavi://x.pth')


# YAML

TAGS = {
    'apply': '!!python/object/apply:{module}.mkdir [{marker}]',
    'new': '!!python/object/new:{module}.mkdir [{marker}]',
    'name': '!!python/name:{module}.mkdir',
    'module': '!!python/module:{module}',
}
YAML_ROADS = {
    'our config': lambda folder: read_config(folder / 'x.yaml'),
    'our _base_': lambda folder: read_config(folder / 'child.py'),
    'our _base_ in YAML': lambda folder: read_config(folder / 'child.yml'),
    'config': lambda folder: Config.fromfile(folder / 'x.yaml'),
    'string': lambda folder: Config.fromstring((folder / 'x.yaml').read_text(), '.yaml'),
    'data': lambda folder: mmengine.load(folder / 'x.yaml'),
}


@pytest.mark.parametrize('tag', TAGS)
@pytest.mark.parametrize('road', YAML_ROADS)
def test_yaml_runs_no_python(tmp_path, marker, road, tag):
    value = TAGS[tag].format(module=os.mkdir.__module__, marker=marker)
    (tmp_path / 'x.yaml').write_text(f'model:\n  type: TRTViT\nx: {value}\n')
    (tmp_path / 'child.py').write_text("_base_ = 'x.yaml'\n")
    (tmp_path / 'child.yml').write_text('_base_: x.yaml\n')
    with pytest.raises(UserError, match='line 3: the tag !!python/.* would run Python') as caught:
        YAML_ROADS[road](tmp_path)
    if road.startswith('our'):
        assert f'{tmp_path}/x.yaml' in str(caught.value)


BOMB = '\n'.join(
    ['a0: &a0 [1, 1]', *(f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]' for i in range(1, 10))]
)
MERGED = '\n'.join(
    [
        'a0: &a0 {x: 1}',
        *(f'a{i}: &a{i}\n  <<: [{", ".join([f"*a{i - 1}"] * 9)}]' for i in range(1, 10)),
    ]
)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (BOMB, 'line 7: .* more than 1,000,000 values'),
        (MERGED, 'more than 1,000,000 values'),
        ('model: &m [1, *m]', 'line 1: .* an alias within its own value'),
        ('model: &m {a: {b: *m}}', 'line 1: .* an alias within its own value'),
        (f'model: {"[" * 200}{"]" * 200}', 'line 1: .* more than 100 deep'),
    ],
)
@pytest.mark.parametrize('road', YAML_ROADS)
def test_yaml_has_limits(tmp_path, road, text, message):
    (tmp_path / 'x.yaml').write_text(text)
    (tmp_path / 'child.py').write_text("_base_ = 'x.yaml'\n")
    (tmp_path / 'child.yml').write_text('_base_: x.yaml\n')
    with pytest.raises(UserError, match=message):
        YAML_ROADS[road](tmp_path)


def test_aliases_stay(tmp_path):
    (tmp_path / 'x.yaml').write_text('a: &a [1, 2]\nb: *a\nc: {d: &d {e: 1}}\nf: {<<: *d, g: 2}')
    config = Config.fromfile(tmp_path / 'x.yaml')
    assert config.b == [1, 2] and config.f == dict(e=1, g=2)


def test_a_yaml_config_that_mmengine_wrote_is_read(tmp_path):
    config = Config(dict(model=dict(sizes=(1, 2), names=['a'], rate=0.5)))
    config.dump(tmp_path / 'x.yaml')
    assert '!!python/tuple' in (tmp_path / 'x.yaml').read_text()
    assert read_config(tmp_path / 'x.yaml').model == config.model


# In processes of their own


def call(folder, *command):
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_tools_of_the_hosts_run_no_code(tmp_path, marker):
    file, reason = write_payload('zip.pth', tmp_path, marker)
    make_shapes(tmp_path / 'data/shapes', 1, val=1, size=(64, 96))
    config = tmp_path / 'config.py'
    config.write_text(
        f"_base_ = '{DETECTOR}'\n"
        f"model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='{file}')))\n"
    )
    import mmdet

    tool = Path(mmdet.__file__).parent / '.mim/tools/train.py'
    done = call(tmp_path, tool, config, '--work-dir', tmp_path / 'run')
    assert done.returncode and f'UserError: {file} {reason}' in done.stderr


def test_a_trusted_file_is_converted_in_another_process(tmp_path):
    from mmtrtvit.weights.trusted import convert_trusted

    marker, source, out = (tmp_path / name for name in ('run', 'bare.pkl', 'out.pth'))
    content = dict(
        model={'a.w': torch.ones(2), 'b': torch.zeros(1).numpy(), 'c': 5}, meta=Payload(marker)
    )
    write_pickle(content, source)
    weights = convert_trusted(source, out)
    assert int(marker.read_text()) != os.getpid()
    written = read_weights(out)['state_dict']
    assert weights.keys() == written.keys() == {'a.w', 'b'}
    assert written['a.w'].tolist() == [1, 1]


def test_a_trusted_program_is_converted(tmp_path):
    from mmtrtvit.weights.trusted import convert_trusted

    torch.jit.script(nn.Linear(2, 1)).save(str(tmp_path / 'script.pt'))
    with pytest.raises(UserError, match='is a TorchScript archive'):
        read_weights(tmp_path / 'script.pt')
    convert_trusted(tmp_path / 'script.pt', tmp_path / 'out.pth')
    assert read_weights(tmp_path / 'out.pth')['state_dict'].keys() == {'weight', 'bias'}


def test_what_a_trusted_file_may_lack(tmp_path):
    from mmtrtvit.weights.trusted import convert_trusted

    out = tmp_path / 'out.pth'
    with pytest.raises(UserError, match='no file .*none.pth'):
        convert_trusted(tmp_path / 'none.pth', out)
    (tmp_path / 'x.pth').write_text('no pickle')
    with pytest.raises(UserError, match='x.pth gave no weights: .*Error'):
        convert_trusted(tmp_path / 'x.pth', out)
    with pytest.raises(UserError, match='is a folder'):
        convert_trusted(tmp_path / 'x.pth', tmp_path)
    assert not out.exists()
