"""Weights of other projects: names, tables of attention biases, direct use and converted files."""

import argparse
import copy
import hashlib
import re
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner.checkpoint import load_checkpoint
from safetensors.torch import save_file
from torch.nn.functional import interpolate

from mmtrtvit.engine.hosts import import_host
from mmtrtvit.errors import UserError
from mmtrtvit.models import EfficientViT
from mmtrtvit.models.conversion import convert_weights
from mmtrtvit.weights.layouts import layout_of, rename
from mmtrtvit.weights.matching import compare_weights

timm = pytest.importorskip('timm', minversion='1.0.31')  # the first that takes any size

ROOT = Path(__file__).parents[2]
ARCHS = list(EfficientViT.arch_settings)
LAYOUTS = ['official', 'timm', 'timm-features']
NAME = 'timm://efficientvit_m0.r224_in1k'

# Parts of MMDetection 2.25, which the authors used, and of its predecessors and successors in 2.x.
HEADS = {
    'retinanet': [
        'bbox_head.retina_cls',
        'bbox_head.retina_reg',
        *(f'bbox_head.{branch}_convs.{i}.conv' for branch in ('cls', 'reg') for i in range(4)),
    ],
    'mask_rcnn': [
        'rpn_head.rpn_conv',
        'rpn_head.rpn_cls',
        'rpn_head.rpn_reg',
        'roi_head.bbox_head.fc_cls',
        'roi_head.bbox_head.fc_reg',
        'roi_head.bbox_head.shared_fcs.0',
        'roi_head.bbox_head.shared_fcs.1',
        *(f'roi_head.mask_head.convs.{i}.conv' for i in range(4)),
        'roi_head.mask_head.upsample',
        'roi_head.mask_head.conv_logits',
    ],
}
NECKS = {'retinanet': (3, 4, 1), 'mask_rcnn': (3, 3, 2)}  # lateral, output, transposed convolutions


def randomise(model):
    """Gives every weight, statistic and bias table a say, without saturating attention."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if value.ndim > 1 and 'attention_biases' not in name:
            value.normal_(std=value[0].numel() ** -0.5, generator=generator)
        elif name.endswith(('bn.weight', 'running_var')):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.is_floating_point():
            value.normal_(std=0.3, generator=generator)
    model.eval()  # returns nothing in timm
    return model


def official_names(weights):
    """Names of the authors for timm's: as microsoft/Cream's classification/model has them."""
    renamed = {}
    for name, value in weights.items():
        name = re.sub(r'^patch_embed\.conv(\d)', lambda m: f'patch_embed.{2 * int(m[1]) - 2}', name)
        name = re.sub(r'^stages\.0\.blocks', 'blocks1', name)
        name = re.sub(
            r'^stages\.(\d)\.blocks\.(\d+)',
            lambda m: f'blocks{int(m[1]) + 1}.{int(m[2]) + 3}',
            name,
        )
        for index, lead in enumerate(('res1', 'patchmerge', 'res2')):
            name = re.sub(
                rf'^stages\.(\d)\.downsample\.{lead}',
                lambda m, index=index: f'blocks{int(m[1]) + 1}.{index}',
                name,
            )
        parts = [{'conv': 'c', 'linear': 'l'}.get(part, part) for part in name.split('.')]
        renamed['.'.join(parts)] = value
        if name.endswith('attention_biases'):
            tokens = value.shape[1]
            renamed[name.replace('biases', 'bias_idxs')] = torch.zeros(tokens, tokens).long()
    return renamed


class Sources:
    """Models of timm and files with their weights in each layout, made when they are needed."""

    def __init__(self, folder):
        self.folder = folder
        self.models = {}

    def model(self, arch, img_size=448, features=False):
        """At 448 the windows are 7, 7, 7 as in detectors, at 224 they are 7, 7, 4."""
        key = arch, img_size, features
        if key not in self.models:
            options = dict(features_only=True) if features else {}
            self.models[key] = randomise(
                timm.create_model(f'efficientvit_{arch}', img_size=img_size, **options)
            )
        return self.models[key]

    def weights(self, arch, layout, img_size=448):
        state = self.model(arch, img_size, layout == 'timm-features').state_dict()
        return official_names(state) if layout == 'official' else state

    def file(self, arch, layout, img_size=448):
        path = self.folder / f'{arch}_{layout}_{img_size}.pth'
        if not path.exists():
            weights = self.weights(arch, layout, img_size)
            if layout == 'official':  # what its main.py saves
                weights = dict(model=weights, epoch=299, args=argparse.Namespace(lr=1e-3))
            torch.save(weights, path)
        return path


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    return Sources(tmp_path_factory.mktemp('sources'))


@pytest.fixture
def alter(sources, tmp_path):
    """Returns a function that writes M0's file in a layout with something changed."""

    def alter(layout, change):
        weights = dict(sources.weights('m0', layout))
        change(weights)
        torch.save(dict(model=weights), tmp_path / 'altered.pth')
        return tmp_path / 'altered.pth'

    return alter


@pytest.fixture
def logged(monkeypatch):
    """What is logged when weights are loaded."""
    lines = []
    monkeypatch.setattr(
        'mmtrtvit.weights.pretrained.print_log', lambda message, *_, **__: lines.append(message)
    )
    return lines


def pretrained(path, arch='m4', window_size=7, **options):
    """A backbone as a config makes it."""
    backbone = MODELS.build(
        dict(
            type='EfficientViT',
            arch=arch,
            window_size=window_size,
            init_cfg=dict(type='Pretrained', checkpoint=str(path), **options),
        )
    )
    backbone.init_weights()
    return backbone.eval()


def outputs(reference, x):
    if hasattr(reference, 'forward_intermediates'):
        return reference.forward_intermediates(x, intermediates_only=True)
    return reference(x)


def assert_equal_outputs(backbone, reference, *size):
    """In double precision: softmax over random weights makes much of rounding in single."""
    backbone, reference = (copy.deepcopy(model).double() for model in (backbone, reference))
    x = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        for actual, wanted in zip(backbone(x), outputs(reference, x), strict=True):
            assert (actual - wanted).abs().max() < 1e-5 * wanted.abs().max()


def refusal(call, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


# Direct use


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('arch', ARCHS)
def test_a_foreign_file_as_init_cfg_gives_the_outputs_of_timm(sources, arch, layout, logged):
    backbone = pretrained(sources.file(arch, layout), arch)
    reference = sources.model(arch, features=layout == 'timm-features')
    for size in ((448, 448), (301, 397)) if layout == 'official' else ((301, 397),):
        assert_equal_outputs(backbone, reference, *size)
    (report,) = logged
    assert report.startswith(f'Weights of EfficientViT in the layout {layout}:\n')
    assert re.search(r'^all +(\d+) +\1 +0 +0 +0 +0 +100%$', report, re.M)
    assert ('left out, as classifier: head.bn.weight' in report) == (layout != 'timm-features')


@pytest.mark.parametrize('layout', LAYOUTS)
def test_a_file_with_windows_of_4_in_stage_3_gives_the_outputs_of_the_classifier(sources, layout):
    backbone = pretrained(sources.file('m0', layout, 224), 'm0', (7, 7, 4))
    assert_equal_outputs(backbone, sources.model('m0', 224, layout == 'timm-features'), 224, 224)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_tables_of_another_window_are_resized_as_the_authors_do(sources, layout, logged):
    backbone = pretrained(sources.file('m4', layout, 224))
    weights = sources.model('m4', 224).state_dict()
    for index in range(3):
        table = weights[f'stages.2.blocks.{index}.mixer.m.attn.attention_biases']
        assert table.shape == (4, 16)
        square = interpolate(
            table.reshape(1, 4, 4, 4), size=(7, 7), mode='bicubic', align_corners=False
        )
        attention = backbone.stages[2][3 + index].attention.branch.attention
        assert torch.equal(attention.bias_table, square.reshape(4, 49))
    assert re.search(r'^stage 3 +277 +277 +3 +0 +0 +0 +100%$', logged[0], re.M)
    assert re.search(r'^stage 2 +201 +201 +0 +0 +0 +0 +100%$', logged[0], re.M)


def test_every_kind_of_load_takes_foreign_names(sources, tmp_path):
    expected = pretrained(sources.file('m4', 'timm')).state_dict()
    plain = EfficientViT('m4')
    assert not any(plain.load_state_dict(sources.weights('m4', 'official')))
    loaded = EfficientViT('m4')
    load_checkpoint(loaded, str(sources.file('m4', 'official')), strict=True)
    inside = {f'backbone.{name}': value for name, value in sources.weights('m4', 'timm').items()}
    torch.save(dict(state_dict=inside), tmp_path / 'x.pth')
    prefixed = pretrained(tmp_path / 'x.pth', prefix='backbone.')
    for backbone in (plain, loaded, prefixed):
        torch.testing.assert_close(backbone.state_dict(), expected, rtol=0, atol=0)


def test_counters_of_batches_may_be_missing(alter):
    pretrained(
        alter(
            'official',
            lambda weights: [
                weights.pop(name) for name in list(weights) if name.endswith('num_batches_tracked')
            ],
        ),
        'm0',
    )


def test_a_head_of_distillation_is_a_classifier_too(alter, logged):
    pretrained(
        alter(
            'official',
            lambda weights: weights.update(
                {
                    name.replace('head', 'head_dist'): weights.pop(name)
                    for name in list(weights)
                    if name.startswith('head.')
                }
            ),
        ),
        'm0',
    )
    assert 'left out, as classifier: head_dist.bn.weight' in logged[0]


def spoil(weights, name):
    weights[name] = weights[name][:-1]


CHANGES = [
    (
        'official',
        lambda weights: weights.pop('blocks2.1.conv2.c.weight'),
        '1 not in the file: stages.1.1.reduce.conv.weight',
    ),
    ('timm', lambda weights: weights.update(extra=torch.ones(2)), '1 not in the model: extra'),
    (
        'timm',
        lambda weights: weights.update({'stages.2.blocks.3.x': torch.ones(2)}),
        '1 not in the model: stages.2.blocks.3.x',
    ),
    (
        'official',
        lambda weights: spoil(weights, 'blocks3.3.mixer.m.attn.attention_biases'),
        '1 of another shape: stages.2.3.attention.branch.attention.bias_table (4, 49), not (3, 49)',
    ),
    (
        'official',
        lambda weights: spoil(weights, 'patch_embed.6.bn.running_var'),
        '1 of another shape: stem.3.norm.running_var (64,), not (63,)',
    ),
]


@pytest.mark.parametrize('layout, change, found', CHANGES, ids=[each[2][:30] for each in CHANGES])
def test_what_does_not_fit_is_refused_in_direct_use_and_by_the_converter(
    alter, tmp_path, layout, change, found
):
    path = alter(layout, change)
    messages = [refusal(pretrained, path, 'm0'), refusal(convert_weights, path, tmp_path / 'o.pth')]
    assert all(str(path) in message for message in messages)
    messages.append(refusal(EfficientViT('m0').load_state_dict, torch.load(path)['model']))
    for message in messages:
        assert found in message and message.count('\n  1 ') == 1
        assert '--allow-partial' in message
    assert not (tmp_path / 'o.pth').exists()


def test_another_variant_is_refused(sources, tmp_path):
    path = sources.file('m4', 'timm')
    assert 'of another shape: stages.1.1.project.conv.weight (192, 512, 1, 1), not (256,' in (
        refusal(pretrained, path, 'm2')
    )
    message = refusal(convert_weights, path, tmp_path / 'o.pth', arch='m2')
    assert f'{path} does not fit EfficientViT-m2. The shapes are those of m4.' in message
    converted = tmp_path / 'm4.pth'
    convert_weights(path, converted)
    assert 'of another shape: stages.1.1.project' in refusal(pretrained, converted, 'm2')


@pytest.mark.parametrize('name', ['resnet18', 'efficientvit_b0', 'swin_tiny_patch4_window7_224'])
def test_weights_of_another_network_are_refused(tmp_path, name):
    path = tmp_path / f'{name}.pth'
    torch.save(timm.create_model(name).state_dict(), path)
    for message in (
        refusal(pretrained, path),
        refusal(convert_weights, path, tmp_path / 'o.pth', allow_partial=True),
    ):
        assert 'none of the weights is one of EfficientViT' in message and str(path) in message


def test_weights_of_a_whole_model_need_a_prefix(tmp_path):
    weights = {f'backbone.{name}': value for name, value in EfficientViT('m0').state_dict().items()}
    torch.save(dict(state_dict=weights), tmp_path / 'x.pth')
    assert "add prefix='backbone.' to init_cfg" in refusal(pretrained, tmp_path / 'x.pth', 'm0')
    pretrained(tmp_path / 'x.pth', 'm0', prefix='backbone.')


def test_a_missing_file_is_named(tmp_path):
    assert f'no checkpoint {tmp_path}/x.pth' in refusal(pretrained, tmp_path / 'x.pth', 'm0')


def test_names_of_ours_are_left_alone():
    state = EfficientViT('m5').state_dict()
    assert layout_of(state) == 'mmtrtvit'
    assert rename(state, state) == (state, [])


# Detectors


@pytest.fixture(scope='module', params=['retinanet', 'mask_rcnn'])
def detector(request, sources):
    """A detector of ours, and weights for it by the names of the authors and of MMDetection 2."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        import_host('mmdet')
        config = Config.fromfile(ROOT / f'configs/{request.param}_efficientvit_m4.py')
        model = MODELS.build(config.model)
    lateral, output, transposed = NECKS[request.param]
    necks = {
        'lateral_convs': lateral,
        'fpn_convs': output,
        'extra_trans_convs': transposed,
        'extra_fpn_convs': transposed,
    }
    parts = [f'neck.{name}.{index}.conv' for name, count in necks.items() for index in range(count)]
    names = [
        f'{part}.{leaf}' for part in parts + HEADS[request.param] for leaf in ('weight', 'bias')
    ]
    state = model.state_dict()
    weights = {
        f'backbone.{name}': value
        for name, value in sources.weights('m4', 'official').items()
        if not name.startswith('head.')
    }
    return model, weights | {name: torch.randn_like(state[name]) for name in names}


def test_a_detector_of_the_authors_is_loaded_whole(detector, sources, tmp_path, logged):
    model, weights = detector
    report = compare_weights(model.state_dict(), weights)
    assert str(report) == '' and report.share == 1 and not report.resized
    table = report.table()
    assert re.search(r'^neck +\d+ +\d+ +0 +0 +0 +0 +100%$', table, re.M)
    assert re.search(r'^heads +\d+ +\d+ +0 +0 +0 +0 +100%$', table, re.M)
    torch.save(dict(state_dict=weights, meta=dict(CLASSES=('person',))), tmp_path / 'x.pth')
    load_checkpoint(model, str(tmp_path / 'x.pth'), strict=True)  # as a Runner and the hosts do
    assert_equal_outputs(model.backbone.eval(), sources.model('m4'), 301, 397)
    state = model.state_dict()
    assert all(
        torch.equal(state[name], value)
        for name, value in weights.items()
        if not name.startswith('backbone.')
    )
    assert len(logged) == 1


def test_a_detector_of_the_authors_is_converted(detector, tmp_path):
    model, weights = detector
    torch.save(dict(state_dict=weights), tmp_path / 'x.pth')
    done = convert_weights(tmp_path / 'x.pth', tmp_path / 'ours.pth', whole=True)
    assert (done.layout, done.arch, done.whole) == ('official', 'm4', True)
    converted = torch.load(tmp_path / 'ours.pth', weights_only=True)
    assert converted['state_dict'].keys() == model.state_dict().keys()
    done = convert_weights(tmp_path / 'ours.pth', tmp_path / 'timm.pth', to='timm')
    heads = {name.split('.')[0] for name in weights} - {'backbone', 'neck'}
    assert done.left_out == sorted({'neck', *heads}) and not done.whole
    timm.create_model(
        'efficientvit_m4', num_classes=0, img_size=448, checkpoint_path=str(tmp_path / 'timm.pth')
    )
    stray = weights | {'ema.decay': torch.ones(1)}
    torch.save(dict(state_dict=stray), tmp_path / 'x.pth')
    message = refusal(convert_weights, tmp_path / 'x.pth', tmp_path / 'y.pth', whole=True)
    assert '1 not in the model: ema.decay' in message
    done = convert_weights(tmp_path / 'x.pth', tmp_path / 'y.pth')
    assert 'ema' in done.left_out and not done.report.missing


def test_an_incomplete_backbone_in_a_detector_is_refused(detector):
    model, weights = detector
    weights = {name: value for name, value in weights.items() if 'blocks2.0' not in name}
    assert '15 not in the file' in refusal(model.load_state_dict, weights, strict=False)


# Converted files


@pytest.mark.parametrize('arch', ARCHS)
def test_there_and_back_again_every_bit_is_the_same(sources, tmp_path, arch):
    ours, back = tmp_path / 'ours.pth', tmp_path / 'back.pth'
    for layout in ('timm', 'timm-features'):
        done = convert_weights(sources.file(arch, layout, 224), ours)
        assert (done.layout, done.arch, done.window_size) == (layout, arch, (7, 7, 4))
        state = torch.load(ours, weights_only=True)['state_dict']
        assert EfficientViT(arch, (7, 7, 4)).state_dict().keys() == state.keys()
        done = convert_weights(ours, back, to=layout)
        assert done.layout == 'mmtrtvit' and str(done.report) == ''
        wanted = {
            name: value
            for name, value in sources.weights(arch, layout, 224).items()
            if not name.startswith('head.')
        }
        written = torch.load(back, weights_only=True)
        assert written['state_dict'].keys() == wanted.keys()
        assert all(torch.equal(written['state_dict'][name], wanted[name]) for name in wanted)
        assert written['meta'] == dict(
            arch=arch, window_size=(7, 7, 4), layout=layout, source=str(ours)
        )


def test_a_converted_file_is_used_like_the_source(sources, tmp_path):
    ours = tmp_path / 'ours.pth'
    convert_weights(sources.file('m4', 'official', 224), ours)
    expected = pretrained(sources.file('m4', 'official', 224)).state_dict()
    torch.testing.assert_close(pretrained(ours).state_dict(), expected, rtol=0, atol=0)
    done = convert_weights(ours, ours, window_size=7)
    assert done.window_size == (7, 7, 7) and len(done.report.resized) == 3
    assert torch.load(ours, weights_only=True)['state_dict'].keys() == expected.keys()
    torch.testing.assert_close(pretrained(ours).state_dict(), expected, rtol=0, atol=0)


def test_timm_loads_what_was_written_for_it(sources, tmp_path):
    ours = randomise(EfficientViT('m1'))
    torch.save(ours.state_dict(), tmp_path / 'ours.pth')
    for to, options in (('timm', dict(num_classes=0)), ('timm-features', dict(features_only=True))):
        convert_weights(tmp_path / 'ours.pth', tmp_path / 'theirs.pth', to=to)
        model = timm.create_model(
            'efficientvit_m1', img_size=448, checkpoint_path=str(tmp_path / 'theirs.pth'), **options
        )
        model.eval()
        assert_equal_outputs(ours, model, 301, 397)


@pytest.mark.parametrize('layout, change, found', CHANGES, ids=[each[2][:30] for each in CHANGES])
def test_allow_partial_writes_what_fits(alter, tmp_path, layout, change, found, logged):
    path, out = alter(layout, change), tmp_path / 'o.pth'
    done = convert_weights(path, out, allow_partial=True)
    assert found in str(done.report)
    missing = {*done.report.missing, *done.report.reshaped}
    state = EfficientViT('m0').state_dict()
    written = torch.load(out, weights_only=True)['state_dict']
    assert written.keys() == state.keys() - missing
    pretrained(out, 'm0')
    warnings = [line for line in logged if line.startswith('EfficientViT starts in part untrained')]
    assert len(warnings) == bool(missing)
    assert all(name in warning for name in missing for warning in warnings)


def test_a_truncated_feature_extractor_is_partial(tmp_path, logged):
    model = timm.create_model('efficientvit_m0', features_only=True, out_indices=(0, 1))
    torch.save(model.state_dict(), tmp_path / 'x.pth')
    message = refusal(convert_weights, tmp_path / 'x.pth', tmp_path / 'o.pth')
    assert re.search(r'^stage 3 +277 +0 +0 +277 +0 +0 +0.0%$', message, re.M)
    convert_weights(tmp_path / 'x.pth', tmp_path / 'o.pth', allow_partial=True)
    backbone = pretrained(tmp_path / 'o.pth', 'm0')
    assert torch.equal(
        backbone.stages[0][0].before.interaction.branch.conv.weight,
        model.state_dict()['stages_0.blocks.0.dw0.m.conv.weight'],
    )


@pytest.mark.parametrize(
    'options, found',
    [
        (dict(to='official'), "cannot write the layout 'official', only one of mmtrtvit, timm"),
        (dict(arch='m9'), "arch='m9' is unknown, expected one of m0, m1"),
        (dict(window_size=(7, 7)), 'expected a number of at least 1, or three of them'),
    ],
    ids=str,
)
def test_wrong_arguments(sources, tmp_path, options, found):
    out = tmp_path / 'o.pth'
    assert found in refusal(convert_weights, sources.file('m4', 'timm'), out, **options)
    assert not out.exists()


def test_wrong_paths(sources, tmp_path):
    source = sources.file('m4', 'timm')
    assert 'is a folder' in refusal(convert_weights, source, tmp_path)
    assert 'has no hash' in refusal(convert_weights, 'https://x.org/m4.pth', tmp_path / 'o')
    assert 'Did you mean m4_timm_448.pth' in refusal(
        convert_weights, source.with_name('m4_tim_448.pth'), tmp_path / 'o.pth'
    )
    cut = tmp_path / 'cut.pth'
    cut.write_bytes(source.read_bytes()[:1000000])
    assert 'is cut off or damaged' in refusal(convert_weights, cut, tmp_path / 'o.pth')
    assert not (tmp_path / 'o.pth').exists()


# Weights by name


@pytest.fixture
def hub(sources, tmp_path, monkeypatch):
    """The cache of the Hugging Face Hub with M0 in it, without a connection; gives the file."""
    path = tmp_path / 'm0.safetensors'
    save_file(sources.weights('m0', 'timm', 224), path)
    content = path.read_bytes()
    folder = tmp_path / 'hub/models--timm--efficientvit_m0.r224_in1k'
    blob = folder / 'blobs' / hashlib.sha256(content).hexdigest()
    commit = '1' * 40
    link = folder / 'snapshots' / commit / 'model.safetensors'
    for each in (blob, link, folder / 'refs/main'):
        each.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link.symlink_to(blob)
    (folder / 'refs/main').write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    return blob


@pytest.mark.parametrize('name', [NAME, NAME.rpartition('.')[0]])
def test_weights_by_name_come_from_the_cache(hub, sources, tmp_path, name):
    expected = pretrained(sources.file('m0', 'timm', 224), 'm0').state_dict()
    torch.testing.assert_close(pretrained(name, 'm0').state_dict(), expected, rtol=0, atol=0)
    done = convert_weights(name, tmp_path / 'o.pth', window_size=7)
    assert (done.layout, done.arch) == ('timm', 'm0')
    torch.testing.assert_close(
        torch.load(tmp_path / 'o.pth', weights_only=True)['state_dict'],
        dict(expected),
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize('config', ['retinanet_efficientvit_m0', 'fpn_efficientvit_m0'])
def test_a_config_starts_from_its_weights(hub, config):
    options = Config.fromfile(ROOT / f'configs/{config}.py').model.backbone
    model = MODELS.build(options)
    model.init_weights()
    expected = pretrained(NAME, 'm0').state_dict()
    torch.testing.assert_close(model.state_dict(), expected, rtol=0, atol=0)


def test_statistics_that_stay_need_weights(monkeypatch):
    lines = []
    monkeypatch.setattr('mmtrtvit.models.backbone.print_log', lambda *args: lines.append(args[0]))
    for norm_eval in (False, True):
        EfficientViT('m0', norm_eval=norm_eval).init_weights()
    assert len(lines) == 1 and 'norm_eval=True without init_cfg' in lines[0]


def test_a_damaged_file_in_the_cache_is_refused(hub):
    content = bytearray(hub.read_bytes())
    content[-1] ^= 1
    hub.write_bytes(content)
    assert f'{hub} is damaged: its SHA-256 is not its name' in refusal(pretrained, NAME, 'm0')


def test_weights_that_are_not_in_the_cache(hub, tmp_path):
    name = NAME.replace('m0', 'm5')
    message = refusal(pretrained, name)
    assert f'{name} is not in the cache {tmp_path}/hub, and HF_HUB_OFFLINE forbids' in message
    assert 'hf download timm/efficientvit_m5.r224_in1k model.safetensors' in message
    assert message.endswith(
        'Or start without weights: --cfg-options model.backbone.init_cfg=None '
        'model.backbone.norm_eval=False model.backbone.frozen_stages=-1'
    )


@pytest.mark.parametrize('name', ['efficientvit_m0.in21k', 'efficientvit_m6.r224_in1k', 'm4'])
def test_a_name_that_timm_has_not(hub, name):
    message = refusal(pretrained, f'timm://{name}')
    assert f'timm://{name}: timm {timm.__version__} has no weights of that name' in message
    assert ('Did you mean efficientvit_m' in message) == (len(name) > 2)


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    assert 'which is not installed: pip install timm' in refusal(pretrained, NAME, 'm0')


def test_a_file_of_the_hub_is_converted(sources, tmp_path):
    save_file(sources.weights('m2', 'timm'), tmp_path / 'model.safetensors')
    done = convert_weights(tmp_path / 'model.safetensors', tmp_path / 'o.pth')
    assert (done.layout, done.arch) == ('timm', 'm2')
    (tmp_path / 'model.safetensors').write_bytes(b'1234')
    assert 'is cut off or damaged' in refusal(
        convert_weights, tmp_path / 'model.safetensors', tmp_path / 'o.pth'
    )
