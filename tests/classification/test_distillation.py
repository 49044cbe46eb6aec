"""A classifier learns from a teacher: the losses, what a checkpoint holds, and bad teachers."""

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from safetensors.torch import save_file
from torch.nn.functional import kl_div, log_softmax, mse_loss

pytest.importorskip('mmpretrain')

from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mmtrtvit.classification import teacher as teacher_module
from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.runner import train
from mmtrtvit.errors import UserError
from mmtrtvit.models.conversion import convert_weights
from mmtrtvit.weights.checkpoints import read_weights

ROOT = Path(__file__).parents[2]
TEACHER = 'timm://test_resnet.r160_in1k'
TINY = dict(depths=(1, 1, 1, 1), channels=(32, 32, 64, 64))
BASE = dict(
    type='DistilledClassifier',
    teacher=TEACHER,
    data_preprocessor=dict(
        type='ClsDataPreprocessor',
        num_classes=1000,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
    backbone=dict(type='TRTViT', arch=TINY, out_indices=(3,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=1000, in_channels=64),
)


CONFIG = f"""
_base_ = '{ROOT}/configs/classification/distill_trtvit_b.py'
model = dict(
    teacher='{TEACHER}', teacher_options=None, teacher_dtype='float32',
    backbone=dict(arch=dict(_delete_=True, **{TINY})), head=dict(in_channels=64))
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(data_root='images'))
train_cfg = dict(_delete_=True, type='StreamLoop', max_iters=2)
param_scheduler = None
default_hooks = dict(checkpoint=dict(interval=1))
"""


@pytest.fixture(autouse=True)
def published(tmp_path, monkeypatch):
    """The teacher's weights, as the Hub would give them."""
    torch.manual_seed(0)
    model = timm.create_model('test_resnet').eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
    save_file(model.state_dict(), tmp_path / 'model.safetensors')
    asked = []

    def hub_file(address):
        asked.append(address)
        return tmp_path / 'model.safetensors'

    monkeypatch.setattr(teacher_module, 'hub_file', hub_file)
    model.asked = asked
    return model


def build(**options):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(copy.deepcopy({**BASE, **options})).train()


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def labelled():
    return [DataSample().set_gt_label(label) for label in (3, 7)]


@pytest.mark.parametrize('dtype, tolerance', [('float32', 1e-5), ('bfloat16', 0.05)])
def test_losses_are_what_timm_defines(published, images, dtype, tolerance):
    model = build(
        label_weight=0.5, logit_weight=2.0, feature_weight=3.0, temperature=2.0, teacher_dtype=dtype
    )
    losses = model.loss(images, labelled())
    assert losses.keys() == {'loss', 'loss_logits', 'loss_features'}
    config = published.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ('mean', 'std'))
    ours = [torch.tensor(BASE['data_preprocessor'][key]) / 255 for key in ('mean', 'std')]
    ours = [value.view(3, 1, 1) for value in ours]
    seen = (images * ours[1] + ours[0] - mean) / std
    with torch.no_grad():
        maps = published.forward_features(seen)
        wanted = published.forward_head(maps), published.forward_head(maps, pre_logits=True)
    pooled = model.extract_feat(images)
    pairs = [log_softmax(each / 2.0, -1) for each in (model.head(pooled), wanted[0])]
    by_logits = kl_div(*pairs, reduction='batchmean', log_target=True) * 4
    by_features = mse_loss(model.projection(pooled[-1]), wanted[1])
    close = dict(rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(losses['loss_logits'], 2 * by_logits, **close)
    torch.testing.assert_close(losses['loss_features'], 3 * by_features, **close)
    by_labels = model.head.loss(pooled, labelled())['loss']
    torch.testing.assert_close(losses['loss'], 0.5 * by_labels)


def test_images_without_labels_train_everything_but_the_teacher(published, images):
    model = build(label_weight=0.0)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    history = []
    for _ in range(4):
        losses = model.loss(images, [DataSample(), DataSample()])
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        assert all(each.grad is not None for each in model.parameters())
        optimizer.step()
        history.append(total.item())
    assert history[-1] < history[0]
    taught = model.teacher._loaded(images.device)
    assert not taught.training and not any(each.requires_grad for each in taught.parameters())
    for name, value in taught.state_dict().items():
        torch.testing.assert_close(value, published.state_dict()[name])
    assert published.asked == [TEACHER]


def test_a_checkpoint_has_no_teacher_and_gives_its_backbone(images, tmp_path):
    model = build()
    model.loss(images, labelled())
    kept = {name.partition('.')[0] for name in model.state_dict()}
    assert kept == {'backbone', 'head', 'projection'}
    assert not any('teacher' in name for name, _ in model.named_modules())
    assert copy.deepcopy(model).teacher is model.teacher
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'x.pth')
    done = convert_weights(tmp_path / 'x.pth', tmp_path / 'y.safetensors')
    assert done.left_out == ['head', 'projection'] and not done.report.missing


def test_predictions_load_no_teacher(published, images):
    model = build().eval()
    assert len(model.predict(images)) == 2 and not published.asked


def test_a_teacher_may_have_weights_of_its_own(published, tmp_path, images):
    model = build(teacher_checkpoint=str(tmp_path / 'model.safetensors'), label_weight=0.0)
    model.loss(images, [])
    assert not published.asked


BAD = [
    (dict(teacher='resnet50'), "teacher='resnet50': expected timm:// and a name of timm"),
    (
        dict(teacher='timm://test_resnett.r160_in1k'),
        r'test_resnett.r160_in1k: timm .* has no weights of that name. Did you mean test_resnet',
    ),
    (
        dict(teacher='timm://test_resnett', teacher_checkpoint='x.pth'),
        'has no test_resnett. Did you mean test_resnet',
    ),
    (dict(teacher_dtype='half'), "teacher_dtype='half': expected one of float32, float16"),
    (dict(feature_weight=0.0), 'the teacher teaches nothing: set logit_weight or feature_weight'),
    (
        dict(logit_weight=1.0, head=dict(BASE['head'], num_classes=10)),
        'tells 1000 classes apart, the head 10: logits cannot be compared',
    ),
    (
        dict(logit_weight=1.0, teacher='timm://vit_small_patch14_dinov2.lvd142m'),
        'tells no classes apart',
    ),
    (dict(teacher_options=dict(size=3)), r"timm cannot make test_resnet.*'size': 3.*unexpected"),
]


@pytest.mark.parametrize('options, message', BAD, ids=[each[1][:25] for each in BAD])
def test_a_bad_teacher_is_told_before_the_training(options, message):
    with pytest.raises(UserError, match=message):
        build(**options)


@pytest.mark.parametrize('case', ['size', 'features', 'weights'])
def test_a_teacher_that_does_not_fit_is_told_at_the_first_batch(
    images, tmp_path, monkeypatch, case
):
    options, message = {}, r'gives features of the shape \(2, \d+\), not \(2, 3\)'
    if case != 'features':
        save_file(timm.create_model('test_vit').state_dict(), tmp_path / 'model.safetensors')
        message = 'timm cannot make test_resnet.r160_in1k'
    if case == 'size':
        options = dict(teacher='timm://test_vit.r160_in1k')
        options['teacher_options'] = dict(dynamic_img_size=False)
        message = r'cannot take images of 64 x 64: .* Say their size: teacher_options'
    model = build(label_weight=0.0, **options)
    if case == 'features':
        monkeypatch.setattr(model.teacher, 'width', 3)
    with pytest.raises(UserError, match=message):
        model.loss(images, [])


def test_weights_fit_a_teacher_wholly_or_not_at_all(published, tmp_path, images):
    own, foreign = tmp_path / 'model.safetensors', tmp_path / 'foreign.safetensors'
    features = dict(teacher_options=dict(num_classes=0), label_weight=0.0)
    model = build(teacher_checkpoint=str(own), **features)
    model.loss(images, [])  # the classifier's weights are left out
    taught = model.teacher._loaded(images.device).state_dict()
    assert all(torch.equal(value, published.state_dict()[name]) for name, value in taught.items())
    save_file({f'x.{name}': value for name, value in published.state_dict().items()}, foreign)
    other = dict(features, teacher_options=dict(num_classes=10))
    for path, options in ((foreign, features), (own, other)):
        with pytest.raises(UserError, match=f'timm cannot make test_resnet.* from {path}: Error'):
            build(teacher_checkpoint=str(path), **options).loss(images, [])


def test_a_training_on_a_plain_folder_and_its_resumption(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0)
    (tmp_path / 'images/deep').mkdir(parents=True)
    for name in ('a.png', 'b.png', 'deep/c.png', 'deep/d.png'):
        cv2.imwrite(f'images/{name}', noise.integers(0, 256, (80, 70, 3), dtype=np.uint8))
    (tmp_path / 'tiny.py').write_text(CONFIG)
    config = read_config(tmp_path / 'tiny.py')
    first = read_weights(train(config).checkpoint)
    assert not [name for name in first['state_dict'] if 'teacher' in name]
    config = read_config(tmp_path / 'tiny.py', dict(train_cfg=dict(max_iters=3)))
    again = read_weights(train(config, resume='auto').checkpoint)
    assert (first['meta']['iter'], again['meta']['iter']) == (2, 3)


def test_the_recipe_names_a_teacher_with_a_free_licence():
    config = Config.fromfile(ROOT / 'configs/classification/distill_trtvit_b.py')
    name = config.model.teacher.removeprefix('timm://')
    cfg = timm.get_pretrained_cfg(name)
    assert cfg.license == 'apache-2.0' and cfg.hf_hub_id
    with DefaultScope.overwrite_default_scope('mmpretrain'), torch.device('meta'):
        model = MODELS.build(config.model)
    assert model.projection.out_features == 768
    assert not config.train_dataloader.dataset.with_label and config.val_dataloader is None
