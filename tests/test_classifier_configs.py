"""The configs of classifiers: they build, learn, and hold the papers' recipes."""

import importlib
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmtrtvit.analysis.cost import cost_of
from mmtrtvit.analysis.networks import build_network
from mmtrtvit.engine.hosts import import_host
from mmtrtvit.models import EfficientViT, TRTViT

pytest.importorskip('mmpretrain')

CONFIGS = Path(__file__).parents[1] / 'configs'
PATHS = sorted([*CONFIGS.glob('classification/*.py'), *CONFIGS.glob('demo/classifier_*.py')])
IMAGENET = [path for path in PATHS if path.stem.endswith('_imagenet')]
# Millions of parameters with 1000 classes, see docs/models.md.
PARAMETERS = {
    'trtvit_a': 22.05,
    'trtvit_b': 40.39,
    'trtvit_c': 67.29,
    'trtvit_d': 102.98,
    'efficientvit_m0': 2.349,
    'efficientvit_m1': 2.981,
    'efficientvit_m2': 4.188,
    'efficientvit_m3': 6.901,
    'efficientvit_m4': 8.804,
    'efficientvit_m5': 12.474,
}


def read(path):
    config = Config.fromfile(path)
    import_host(config.default_scope)
    return config


def build(config, device='cpu'):
    with DefaultScope.overwrite_default_scope('mmpretrain'), torch.device(device):
        return MODELS.build(config.model)


# Of ablations: millions of parameters with 1000 classes, and billions of multiply-adds at 224 x 224
# with the products of attention. Where the paper is not known, these are numbers of our choices.
ABLATIONS = {
    'mixnet_v': (82.733, 7.264),
    'refined_mixnet_v': (128.488, 8.936),
    'mixnet_a': (46.012, 5.454),
    'mixnet_b': (46.012, 5.454),
    'mixnet_c': (46.012, 5.454),
    'trtvit_c_ccmm': (86.988, 9.969),
    'trtvit_c_cmmm': (89.949, 13.225),
    'trtvit_c_mmmm': (90.445, 19.802),
    'trtvit_c_r25': (56.404, 5.377),
    'trtvit_c_r75': (102.146, 7.635),
    'efficientvit_m4_without_cascade': (8.804, 0.299),
    'efficientvit_m4_without_interaction': (8.754, 0.298),
    'efficientvit_m4_without_reallocation': (14.999, 0.490),
    'efficientvit_m4_without_sandwich': (9.618, 0.327),
    'resnet50': (25.557, 4.089),
    'pvt_v2_b3': (45.239, 6.897),
}
BACKBONES_OF_TIMM = {'resnet50', 'pvt_v2_b3'}


def test_every_variant_has_its_config():
    names = [
        f'{family}_{arch}_imagenet'
        for family, kind in (('trtvit', TRTViT), ('efficientvit', EfficientViT))
        for arch in kind.arch_settings
    ]
    assert sorted(names) == [path.stem for path in IMAGENET]


@pytest.mark.parametrize('path', IMAGENET, ids=lambda path: path.stem)
def test_a_variant_differs_by_few_lines_and_has_the_published_size(path):
    config = read(path)
    name = path.stem.removesuffix('_imagenet')
    family, arch = name.split('_')
    assert config.model.backbone.arch == arch
    assert config.model.backbone.type.lower() == family
    if arch not in ('b', 'm4'):
        assert len(path.read_text().splitlines()) <= 5
    count = sum(parameter.numel() for parameter in build(config, 'meta').parameters())
    assert count / 1e6 == pytest.approx(PARAMETERS[name], rel=3e-4)


@pytest.mark.parametrize('name', ABLATIONS)
def test_an_ablation_is_a_few_lines_and_has_its_size(name):
    if name in BACKBONES_OF_TIMM:
        pytest.importorskip('timm')
    path = CONFIGS / f'ablations/{name}.py'
    model, (height, width), run = build_network(str(path))
    x = torch.empty(1, 3, height, width, device='meta')
    total = cost_of(model, lambda: run(x), [x]).total
    assert (round(total.parameters / 1e6, 3), round(total.macs / 1e9, 3)) == ABLATIONS[name]
    assert len(path.read_text().splitlines()) <= 15
    backbone = Config.fromfile(path).model.backbone
    assert (backbone.get('model_name') == name) is (name in BACKBONES_OF_TIMM)


def test_every_ablation_is_known():
    assert sorted(ABLATIONS) == sorted(path.stem for path in CONFIGS.glob('ablations/*.py'))


def test_an_ablation_trains_as_its_family():
    """All else being equal: nothing but the backbone, and what it gives the head."""
    for name in ABLATIONS:
        family = 'efficientvit_m4' if name.startswith('efficientvit') else 'trtvit_c'
        one, other = (
            Config.fromfile(CONFIGS / f'{path}.py')
            for path in (f'ablations/{name}', f'classification/{family}_imagenet')
        )
        for config in (one, other):
            config.model.pop('backbone')
            config.model.head.pop('in_channels')
        assert one.to_dict() == other.to_dict()


@pytest.mark.parametrize('name', ['trtvit_a_imagenet', 'demo_efficientvit_m2'])
def test_a_classifier_learns_and_predicts(name):
    from mmpretrain.structures import DataSample

    torch.manual_seed(0)
    model = build(read(CONFIGS / f'classification/{name}.py'))
    data = dict(
        inputs=torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8),
        data_samples=[DataSample().set_gt_label(label) for label in (0, 2)],
    )
    losses = model(**model.data_preprocessor(data, training=True), mode='loss')
    losses['loss'].backward()
    assert torch.isfinite(losses['loss'])
    assert not [name for name, value in model.named_parameters() if value.grad is None]
    model.eval()
    with torch.no_grad():
        first, _ = model(**model.data_preprocessor(data), mode='predict')
    assert first.pred_score.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_pipelines_and_head_are_built_from_known_steps(path):
    config = read(path)
    host = importlib.import_module('mmpretrain.registry')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        loaders = (config[f'{split}_dataloader'] for split in ('train', 'val', 'test'))
        for loader in filter(None, loaders):  # images without labels have no val and test
            for step in loader.dataset.pipeline:
                host.TRANSFORMS.build(step)
        for measure in filter(None, (config.val_evaluator, config.test_evaluator)):
            host.METRICS.build(measure)
    build(config, 'meta')


def step(config, kind, loader='train_dataloader'):
    (found,) = (each for each in config[loader].dataset.pipeline if each['type'] == kind)
    return found


def assert_common(config):
    """What both papers share."""
    assert config.train_cfg.to_dict() == dict(type='StreamLoop', max_epochs=300, val_interval=1)
    kinds = [(each.type, each.alpha) for each in config.model.train_cfg.augments]
    assert kinds == [('Mixup', 0.8), ('CutMix', 1.0)]
    assert config.optim_wrapper.optimizer.type == 'AdamW'
    assert step(config, 'RandomErasing')['erase_prob'] == 0.25
    augment = step(config, 'RandAugment')
    assert (augment['magnitude_level'], augment['magnitude_std'], augment['num_policies']) == (
        9,
        0.5,
        2,
    )
    resize, crop = (step(config, kind, 'test_dataloader') for kind in ('ResizeEdge', 'CenterCrop'))
    assert (resize['scale'], resize['edge'], resize['interpolation']) == (256, 'short', 'bicubic')
    assert crop['crop_size'] == 224 and step(config, 'RandomResizedCrop')['scale'] == 224
    assert config.val_evaluator.topk == (1, 5)


def test_the_recipe_of_trt_vit():
    config = read(CONFIGS / 'classification/trtvit_c_imagenet.py')
    assert_common(config)
    assert config.auto_scale_lr.base_batch_size == 8 * config.train_dataloader.batch_size == 1024
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay) == (1e-3, 0.05)
    assert config.optim_wrapper.clip_grad.max_norm == 1
    warm_up, cosine = config.param_scheduler
    assert (warm_up.type, warm_up.end, cosine.type, cosine.begin) == (
        'LinearLR',
        20,
        'CosineAnnealingLR',
        20,
    )
    assert config.model.backbone.drop_path_rate == 0.1
    assert 'EMAHook' not in [hook.type for hook in config.custom_hooks]


def test_the_recipe_of_efficientvit():
    config = read(CONFIGS / 'classification/efficientvit_m5_imagenet.py')
    assert_common(config)
    batch = 8 * config.train_dataloader.batch_size
    assert config.auto_scale_lr.base_batch_size == batch == 2048
    optimizer = config.optim_wrapper.optimizer
    assert optimizer.lr == pytest.approx(1e-3 * batch / 512)
    assert optimizer.weight_decay == 0.025
    assert 'clip_grad' not in config.optim_wrapper
    assert config.optim_wrapper.type == 'OptimWrapper'  # single precision
    warm_up, cosine = config.param_scheduler
    assert warm_up.end == cosine.begin == 5 and cosine.eta_min == 1e-5
    assert warm_up.start_factor * optimizer.lr == pytest.approx(1e-6)
    hooks = {hook.type: hook for hook in config.custom_hooks}
    assert hooks['AGCHook'].clip_factor == 0.02
    assert 1 - hooks['EMAHook'].momentum == pytest.approx(0.99996)
    assert step(config, 'RandAugment')['policies'] == 'timm_increasing'
    assert config.train_dataloader.sampler.repeats == 3
    assert config.model.head.loss.label_smooth_val == 0.1
    assert config.model.backbone.window_size == (7, 7, 4)
    model = build(config, 'meta')
    (left_out,) = hooks['AGCHook'].exclude
    assert model.get_submodule(left_out).out_features == 1000


@pytest.mark.parametrize('name', ['efficientvit_m4', 'trtvit_b', 'efficientvit_m5_384'])
def test_the_recipe_for_other_data(name):
    config = read(CONFIGS / f'classification/finetune_{name}.py')
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1e-3, 1e-8)
    assert config.train_dataloader.batch_size == config.auto_scale_lr.base_batch_size == 256
    assert config.train_cfg.max_epochs == 300
    side = 384 if name.endswith('384') else 224
    assert step(config, 'RandomResizedCrop')['scale'] == side
    assert step(config, 'CenterCrop', 'test_dataloader')['crop_size'] == side
