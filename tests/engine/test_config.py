import pytest

from mmtrtvit.engine.config import read_config
from mmtrtvit.errors import UserError

BASE = """
model = dict(backbone=dict(type='TRTViT', drop_path_rate=0.1), heads=[dict(num_classes=4)])
optim_wrapper = dict(optimizer=dict(lr=0.1), clip_grad=None)
train_dataloader = dict(batch_size=2)
load_from = None
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'base.py').write_text(BASE)
    (tmp_path / 'retinanet_b.py').write_text("_base_ = 'base.py'\n")
    return tmp_path


def error_of(*args, **kwargs):
    with pytest.raises(UserError) as caught:
        read_config(*args, **kwargs)
    return str(caught.value)


def test_options_work_dir_and_launcher(folder):
    path = folder / 'retinanet_b.py'
    config = read_config(path, {'train_dataloader.batch_size': 8}, launcher='slurm')
    assert config.train_dataloader.batch_size == 8
    assert (config.work_dir, config.launcher) == ('work_dirs/retinanet_b', 'slurm')
    assert read_config(path, {'work_dir': 'mine'}).work_dir == 'mine'
    assert read_config(path, {'work_dir': 'mine'}, work_dir='yours').work_dir == 'yours'


def test_missing_file_names_path_and_near_matches(folder):
    message = error_of(folder / 'retinanet_d.py')
    assert f'no config file {folder}/retinanet_d.py' in message
    assert 'Did you mean retinanet_b.py?' in message
    assert 'base.py, retinanet_b.py' in error_of(folder / 'zzzzzzzzzzzz.py')


def test_missing_folder_says_how_far_the_path_goes(folder):
    assert str(folder) + '.' in error_of(folder / 'no' / 'such' / 'x.py')


def test_wrong_suffix(folder):
    (folder / 'x.txt').write_text('')
    assert 'does not end with .py' in error_of(folder / 'x.txt')


@pytest.mark.parametrize('where', ['base.py', 'retinanet_b.py'])
def test_syntax_error_names_file_and_line(folder, where):
    text = (folder / where).read_text()
    (folder / where).write_text(f'{text}model = dict(\nneck=1 2)\n')
    line = len(text.splitlines()) + 2
    message = error_of(folder / 'retinanet_b.py')
    assert f'{folder}/{where}' in message
    assert f'line {line}: ' in message and 'neck=1 2' in message


def test_error_in_a_config_names_file_and_line(folder):
    (folder / 'base.py').write_text(BASE + 'epochs = number_of_epochs\n')
    message = error_of(folder / 'retinanet_b.py')
    assert f'{folder}/base.py (a _base_ of {folder}/retinanet_b.py), line 6: NameError' in message


def test_missing_base(folder):
    (folder / 'retinanet_b.py').write_text("_base_ = 'bass.py'\n")
    message = error_of(folder / 'retinanet_b.py')
    assert f'{folder}/retinanet_b.py has a _base_ that does not exist: {folder}/bass.py' in message
    assert 'Did you mean base.py?' in message


def test_keys_that_two_bases_define(folder):
    (folder / 'retinanet_b.py').write_text("_base_ = ['base.py', 'base2.py']\n")
    (folder / 'base2.py').write_text('load_from = None\n')
    message = error_of(folder / 'retinanet_b.py')
    assert f'{folder}/retinanet_b.py' in message and 'load_from' in message


def test_missing_package(folder):
    (folder / 'x.py').write_text("custom_imports = dict(imports=['no_such_package'])\n")
    message = error_of(folder / 'x.py')
    assert 'x.py' in message and 'no_such_package' in message and 'sys.path' not in message


def test_errors_of_imported_code_keep_their_traceback(folder, monkeypatch):
    (folder / 'broken_package.py').write_text('1 / 0\n')
    (folder / 'x.py').write_text("custom_imports = dict(imports=['broken_package'])\n")
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(ZeroDivisionError):
        read_config(folder / 'x.py')


@pytest.mark.parametrize(
    'key, found',
    [
        ('modle.backbone.drop_path_rate', 'Did you mean model.backbone.drop_path_rate?'),
        ('model.bakbone.drop_path_rate', 'model has no bakbone'),
        ('model.heads.1.num_classes', 'model.heads has no 1'),
        ('optimizer.lr', 'Did you mean optim_wrapper.optimizer.lr?'),
        ('train_dataloder.batch_size', 'Did you mean train_dataloader.batch_size?'),
        ('optim_wrapper.optimizer.lr.value', 'Did you mean optim_wrapper.optimizer.lr'),
        ('load_form', 'Did you mean load_from?'),
        ('resum', 'the config has no resum'),
    ],
)
def test_options_that_would_make_a_new_branch(folder, key, found):
    message = error_of(folder / 'retinanet_b.py', {key: 1})
    assert message.startswith(f'--cfg-options {key}: ')
    assert found in message


def test_a_new_hook_comes_with_its_type(folder):
    path = folder / 'retinanet_b.py'
    (folder / 'base.py').write_text(BASE + "default_hooks = dict(timer=dict(type='IterTimerHook'))")
    options = {'default_hooks.ema.type': 'EMAHook', 'default_hooks.ema.momentum': 0.1}
    assert read_config(path, options).default_hooks.ema == dict(type='EMAHook', momentum=0.1)
    assert 'default_hooks has no eam' in error_of(path, {'default_hooks.eam.momentum': 0.1})


@pytest.mark.parametrize(
    'key',
    [
        'model.backbone.with_cp',
        'model.heads.0.num_classes',
        'randomness.seed',
        'load_from',
        'resume',
        'my_own_number',
    ],
)
def test_new_leaves_and_arguments_of_the_runner_are_welcome(folder, key):
    config = read_config(folder / 'retinanet_b.py', {key: 1})
    for part in key.split('.'):
        config = config[int(part) if part.isdigit() else part]
    assert config == 1
