"""What a TRT-ViT is built with, told from its weights, and converted files of it."""

import pytest
import torch

from mmtrtvit.errors import UserError
from mmtrtvit.models import TRTViT
from mmtrtvit.models.conversion import convert_weights
from mmtrtvit.models.structure import is_trt_vit, trt_vit_options

TINY = dict(depths=(1, 2, 1, 1), channels=(32, 64, 64, 96))
OPTIONS = [
    *(dict(arch=arch) for arch in TRTViT.arch_settings),
    dict(arch='a', pattern='C-C-M-M', mix_ratio=0.25),
    dict(arch='b', mlp_ratio=2.0),
    dict(arch=dict(TINY, channels=(64, 64, 64, 96)), pattern='C-C-T-M'),
    dict(arch=TINY, pattern='C-C-MB-MB', mix_ratio=0.25, head_dim=8, mlp_ratio=1.3),
    dict(arch=TINY, pattern='C-C-C-C'),
    dict(arch=TINY, head_dim=48),
]


def state_of(**options):
    with torch.device('meta'):
        return TRTViT(**options).state_dict()


def shapes(state):
    return {name: value.shape for name, value in state.items()}


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_weights_tell_what_builds_their_model(options):
    state = state_of(**options)
    assert is_trt_vit(state)
    told = trt_vit_options(state)
    assert told['arch'] == options['arch']
    assert told.get('pattern', 'C-C-C-M') == options.get('pattern', 'C-C-C-M')
    assert shapes(state_of(**told)) == shapes(state)


def test_a_stage_without_a_block():
    state = {name: value for name, value in state_of(arch=TINY).items() if 'stages.2.2' not in name}
    with pytest.raises(UserError, match='stage 3 has no block'):
        trt_vit_options(state)


def test_the_wrong_variant_and_a_gap_are_told(tmp_path):
    weights = TRTViT(TINY).state_dict()
    source, out = tmp_path / 'x.pth', tmp_path / 'y.pth'
    torch.save(weights, source)
    with pytest.raises(UserError, match='does not fit TRTViT-a. The shapes are those of arch='):
        convert_weights(source, out, arch='a')
    with pytest.raises(UserError, match='leave out --window-size'):
        convert_weights(source, out, window_size=7)
    del weights['stages.1.2.branch.1.conv.weight']
    torch.save(weights, source)
    with pytest.raises(UserError, match=r'1 not in the file: stages\.1\.2\.branch\.1\.conv\.wei'):
        convert_weights(source, out)
    assert not out.exists()


@pytest.mark.parametrize('to', ['timm', 'timm-features'])
def test_timm_loads_what_was_written_for_it(tmp_path, to):
    timm = pytest.importorskip('timm')
    import mmtrtvit.timm_models  # noqa: F401

    backbone = TRTViT(TINY).eval()
    torch.save(backbone.state_dict(), tmp_path / 'x.pth')
    convert_weights(tmp_path / 'x.pth', tmp_path / 'y.safetensors', to=to)
    options = dict(features_only=True) if to == 'timm-features' else dict(num_classes=0)
    path = str(tmp_path / 'y.safetensors')
    model = timm.create_model('trt_vit_b', arch=TINY, checkpoint_path=path, **options).eval()
    x = torch.randn(1, 3, 64, 64)
    found = model(x)[-1] if to == 'timm-features' else model.forward_features(x)
    torch.testing.assert_close(found, backbone(x)[-1])
