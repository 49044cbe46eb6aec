from copy import deepcopy

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, TRANSFORMS
from mmengine.runner import Runner
from torch import nn

from mmtrtvit.engine.hosts import import_host
from mmtrtvit.engine.mistakes import explaining
from mmtrtvit.errors import UserError

import_host('mmdet')
DETECTOR = dict(
    type='RetinaNet',
    backbone=dict(type='TRTViT', arch='b', out_indices=(1, 2, 3)),
    neck=dict(type='FPN', in_channels=[512, 1024, 1280], out_channels=8, num_outs=4),
    bbox_head=None,
)
OPTIMIZER = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))


def explanation(build, config):
    with pytest.raises(UserError) as caught, explaining(Config(deepcopy(config))):
        build(deepcopy(config))
    return str(caught.value)


def model_with(part, **changes):
    model = deepcopy(DETECTOR)
    model[part].update(changes)
    return dict(model=model)


def build_model(config):
    return MODELS.build(dict(config['model'], _scope_='mmdet'))


@pytest.mark.parametrize('name', ['TRTVit', 'mmdet.TRTVit'])
def test_a_type_that_is_not_registered(name):
    text = explanation(build_model, model_with('backbone', type=name))
    assert text.startswith(f'model.backbone.type: there is no model {name}. Did you mean TRTViT')
    assert 'custom_imports' in text


def test_types_in_lists_and_of_another_kind():
    config = dict(data=[dict(type='CocoDataset'), dict(type='CocoDatasett')])
    text = explanation(
        lambda config: DATASETS.build(dict(config['data'][1], _scope_='mmdet')), config
    )
    assert text.startswith(
        'data.1.type: there is no dataset CocoDatasett. Did you mean CocoDataset or '
    )


def test_only_types_of_the_same_kind_are_proposed():
    text = explanation(
        lambda config: DATASETS.build(config['dataset']), dict(dataset=dict(type='TRTVit'))
    )
    assert text.startswith('dataset.type: there is no dataset TRTVit. Classes of your own')


def test_an_optimizer_that_is_not_registered():
    config = dict(optim_wrapper=deepcopy(OPTIMIZER))
    config['optim_wrapper']['optimizer']['type'] = 'Adamm'
    text = explanation(
        lambda config: build_optim_wrapper(nn.Linear(1, 1), config['optim_wrapper']), config
    )
    assert text.startswith('optim_wrapper.optimizer.type: there is no optimizer Adamm. Did you')


def test_an_argument_that_a_type_does_not_have():
    text = explanation(build_model, model_with('backbone', archh='b'))
    assert text.startswith(
        'model.backbone.archh: TRTViT has no such argument. Did you mean arch? It has arch, '
    )


def test_an_argument_that_the_parent_of_a_type_does_not_have():
    config = dict(
        pipeline=[
            dict(type='LoadImageFromNDArray'),
            dict(type='mmdet.LoadImageFromNDArray', to_float=True),
        ]
    )
    text = explanation(lambda config: TRANSFORMS.build(config['pipeline'][1]), config)
    assert text.startswith(
        'pipeline.1.to_float: LoadImageFromNDArray has no such argument. Did you mean to_float32?'
    )


def test_an_argument_of_a_data_loader():
    config = dict(
        val_dataloader=None,
        train_dataloader=dict(dataset=[], sampler=dict(type='DefaultSampler'), batchsize=2),
    )
    text = explanation(lambda config: Runner.build_dataloader(config['train_dataloader']), config)
    assert text.startswith(
        'train_dataloader.batchsize: DataLoader has no such argument. Did you mean batch_size'
    )


def test_an_argument_that_a_type_needs():
    config = model_with('neck')
    del config['model']['neck']['out_channels'], config['model']['neck']['num_outs']
    text = explanation(build_model, config)
    assert text == 'model.neck: FPN needs out_channels, num_outs.'


@pytest.mark.parametrize(
    'error',
    [
        KeyError('x'),
        TypeError('x'),
        TypeError("f() got an unexpected keyword argument 'arch'"),
        TypeError("Elsewhere.__init__() got an unexpected keyword argument 'arch'"),
        TypeError("FPN.__init__() missing 1 required positional argument: 'in_channels'"),
        KeyError('Elsewhere is not in the mmdet::model registry. Please check'),
        TypeError('None is not a callable object'),
        ValueError('need at least one array to concatenate'),
    ],
)
@pytest.mark.parametrize('config', [dict(model=DETECTOR, optim_wrapper=OPTIMIZER), {}])
def test_what_the_config_does_not_explain_stays(error, config):
    with pytest.raises(type(error)) as caught, explaining(Config(config)):
        raise error
    assert caught.value is error


def test_a_data_set_without_a_image(tmp_path):
    (tmp_path / 'empty.json').write_text(
        '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}'
    )
    config = dict(
        train_dataloader=dict(
            dataset=dict(
                type='CocoDataset',
                ann_file=str(tmp_path / 'empty.json'),
                metainfo=dict(classes=('a',)),
            )
        )
    )
    text = explanation(
        lambda config: DATASETS.build(dict(config['train_dataloader']['dataset'], _scope_='mmdet')),
        config,
    )
    assert text.startswith('train_dataloader.dataset has no image left')
