"""TRT-ViT in timm: what timm's own tests ask of a model, and the way of its weights to ours."""

import argparse
from pathlib import Path

import pytest
import timm
import torch
from timm.models import (
    FeatureInfo,
    get_notrace_functions,
    get_notrace_modules,
    group_parameters,
)
from timm.optim import create_optimizer_v2, param_groups_layer_decay
from timm.scheduler import CosineLRScheduler
from timm.utils import CheckpointSaver, dispatch_clip_grad
from torch.testing import assert_close
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

import mmtrtvit.timm_models  # noqa: F401
from mmtrtvit.models import TRTViT

NAMES = [f'trt_vit_{arch}' for arch in TRTViT.arch_settings]
TINY = dict(depths=(1, 2, 1, 1), channels=(32, 48, 64, 96))
CHANNELS, REDUCTIONS = list(TINY['channels']), [4, 8, 16, 32]


def create(**options):
    torch.manual_seed(0)
    return timm.create_model('trt_vit_b', **dict(dict(arch=TINY), **options))


@pytest.fixture(scope='module')
def images():
    return torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('name', NAMES)
def test_each_variant_is_registered_with_its_size(name):
    model = timm.create_model(name, device='meta')
    with torch.device('meta'):
        backbone = TRTViT(name[-1])
    classifier = 1000 * (backbone.out_channels[-1] + 1)
    sizes = [sum(each.numel() for each in part.parameters()) for part in (model, backbone)]
    assert sizes[0] == sizes[1] + classifier
    config = model.pretrained_cfg
    assert config['architecture'] == name and not config['url'] and not config.get('hf_hub_id')
    assert not timm.list_pretrained(name)
    with pytest.raises(RuntimeError, match=f'No pretrained weights exist for {name}'):
        timm.create_model(name, pretrained=True, arch=TINY)


def test_models_of_timm_stay_what_they_are():
    assert timm.list_models('trt_vit*') == NAMES
    assert timm.list_models(module='timm_models') == NAMES
    for name in timm.list_models('efficientvit_m*'):
        assert timm.model_entrypoint(name).__module__ == 'timm.models.efficientvit_msra'


def test_forward_with_and_without_checkpointing(images):
    model = create().eval()
    outputs = model(images)
    assert outputs.shape == (2, 1000) and outputs.isfinite().all()
    model.set_grad_checkpointing()
    assert_close(model(images.clone().requires_grad_()), outputs)


@pytest.mark.parametrize('checkpointing', [False, True])
def test_every_parameter_gets_a_gradient_and_statistics_move_once(images, checkpointing):
    model = create(num_classes=42, drop_path_rate=0.1, drop_rate=0.1)
    model.set_grad_checkpointing(checkpointing)
    outputs = model(images)
    outputs.mean().backward()
    assert outputs.shape == (2, 42)
    assert not [name for name, value in model.named_parameters() if value.grad is None]
    state = model.state_dict()
    counters = [name for name in state if name.endswith('num_batches_tracked')]
    assert counters and all(state[name] == 1 for name in counters)


def test_the_default_config_is_true():
    model = create().eval()
    config, state = model.default_cfg, model.state_dict()
    for layer in (config['first_conv'], config['classifier']):
        assert f'{layer}.weight' in state
    x = torch.randn(1, *config['input_size'])
    features = model.forward_features(x)
    assert features.shape == (1, model.num_features, *config['pool_size'])
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (1, model.head_hidden_size)
    assert model.get_classifier() is model.head.fc
    model.reset_classifier(0)
    assert model.num_classes == 0
    assert_close(model(x), pooled)
    model.reset_classifier(0, '')
    assert_close(model(x), features)
    model.reset_classifier(5, 'catavgmax')
    assert model.head_hidden_size == 2 * model.num_features
    assert model(x).shape == (1, 5)
    bare = create(num_classes=0, global_pool='').eval()
    assert bare(x).shape == features.shape


@pytest.mark.parametrize('kind', ['list', 'getter', 'hook', 'dict'])
@pytest.mark.parametrize('chosen', [None, (1, 3), (-3, -2)])
def test_features_only(images, kind, chosen):
    options = dict(out_indices=chosen) if chosen else {}
    model = create(features_only=True, feature_cls=kind, **options).eval()
    stages = [index % 4 for index in chosen or range(4)]
    assert model.feature_info.channels() == [CHANNELS[index] for index in stages]
    assert model.feature_info.reduction() == [REDUCTIONS[index] for index in stages]
    outputs = model(images)
    outputs = list(outputs.values()) if kind == 'dict' else outputs
    wanted = create().eval().forward_intermediates(images, intermediates_only=True)
    assert_close(list(outputs), [wanted[index] for index in stages])


def test_intermediates(images):
    model = create().eval()
    assert FeatureInfo(model.feature_info, 4).channels() == CHANNELS
    last, outputs = model.forward_intermediates(images)
    assert [x.shape[1] for x in outputs] == CHANNELS
    assert [96 // x.shape[2] for x in outputs] == [64 // x.shape[3] for x in outputs] == REDUCTIONS
    assert_close(last, model.forward_features(images))
    assert_close(last, outputs[-1])
    # as other projects call it
    options = dict(output_fmt='NCHW', intermediates_only=True, norm=True)
    assert_close(model.forward_intermediates(images, indices=1, **options), outputs[-1:])
    stopped, first = model.forward_intermediates(images, indices=[0], stop_early=True)
    assert_close(stopped, first[0])
    model.set_grad_checkpointing()
    assert_close(model.forward_intermediates(images)[0], last)
    with pytest.raises(ValueError, match="output_fmt='NLC'"):
        model.forward_intermediates(images, output_fmt='NLC')


def test_what_intermediates_do_not_need_can_be_removed(images):
    model = create().eval()
    wanted = model.forward_intermediates(images, indices=[1], intermediates_only=True)
    assert model.prune_intermediate_layers([1]) == [1] and len(model.stages) == 2
    assert (model.num_features, model.head_hidden_size, model.num_classes) == (48, 48, 0)
    assert_close(model(images), wanted[0])


def test_torchscript(images):
    with timm.set_scriptable(True):
        model = create().eval()
        features = create(features_only=True).eval()
    assert_close(torch.jit.script(model)(images), model(images))
    assert_close(torch.jit.script(features)(images), features(images))


def test_fx(images):
    model = create().eval()
    options = dict(
        leaf_modules=get_notrace_modules(),
        autowrap_functions=get_notrace_functions(),
        param_shapes_constant=True,
    )
    train, evaluation = get_graph_node_names(model, tracer_kwargs=options)
    traced = create_feature_extractor(
        model,
        train_return_nodes=[train[-1]],
        eval_return_nodes=[evaluation[-1]],
        tracer_kwargs=options,
    )
    assert torch.equal(*traced(images).values(), model(images))
    torch.cat(list(traced.train()(images).values())).mean().backward()
    assert all(each.grad is not None for each in traced.parameters())


def test_export(images):
    model = create().eval()
    assert_close(torch.export.export(model, (images,)).module()(images), model(images))


def test_other_channels_and_types():
    model = create(in_chans=1, dtype=torch.float64).eval()
    assert model(torch.randn(1, 1, 32, 32).double()).dtype == torch.float64


def test_layers_have_their_own_rates():
    model = create()
    groups = param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.5)
    assert not model.no_weight_decay()
    scales = sorted({group['lr_scale'] for group in groups})
    layers = sum(len(stage) for stage in model.stages) - 3  # the poolings have no weights
    assert scales == [0.5**exponent for exponent in range(layers + 1, -1, -1)]
    coarse = group_parameters(model, model.group_matcher(coarse=True))
    assert len(coarse) == 6  # the stem, four stages, the head


def train_a_step(model, images):
    """What timm's train.py does with a model, LAMB and adaptive clipping."""
    optimizer = create_optimizer_v2(model, opt='lamb', lr=0.01, weight_decay=0.02, layer_decay=0.8)
    scheduler = CosineLRScheduler(optimizer, t_initial=4, warmup_t=1, warmup_lr_init=1e-3)
    for epoch in range(2):
        scheduler.step(epoch)
        loss = torch.nn.functional.cross_entropy(model(images), torch.tensor([0, 1]))
        optimizer.zero_grad()
        loss.backward()
        dispatch_clip_grad(model.parameters(), 0.02, mode='agc')
        optimizer.step()
    return optimizer


def test_weights_of_timms_training_become_those_of_our_backbone(images, tmp_path):
    model = create(num_classes=2)
    before = model.stages[3][2].reduce.conv.weight.clone()
    optimizer = train_a_step(model, images)
    assert not torch.equal(model.stages[3][2].reduce.conv.weight, before)
    saver = CheckpointSaver(
        model, optimizer, args=argparse.Namespace(model='x'), checkpoint_dir=str(tmp_path)
    )
    saver.save_checkpoint(0, metric=1.0)
    checkpoint = str(tmp_path / 'checkpoint-0.pth.tar')
    backbone = TRTViT(TINY, init_cfg=dict(type='Pretrained', checkpoint=checkpoint))
    backbone.init_weights()
    wanted = model.eval().forward_intermediates(images, intermediates_only=True)
    assert_close(list(backbone.eval()(images)), wanted)


def test_the_python_of_the_docs_runs():
    page = (Path(__file__).parents[1] / 'docs/timm.md').read_text()
    code, _ = page.split('```python\n')[1].split('```', 1)
    names = {}
    with torch.device('meta'):
        exec(code, names)
    assert names['model'].num_classes == 10
    assert names['features'].feature_info.reduction() == [8, 16, 32]
