"""tools/convert_weights.py: what it prints and how it ends."""

import io
import runpy
import sys
from pathlib import Path

import pytest
import torch

from mmtrtvit.models import EfficientViT, TRTViT
from mmtrtvit.weights.layouts import official_name

TOOL = Path(__file__).parents[2] / 'tools/convert_weights.py'

TINY = dict(depths=(1, 1, 1, 1), channels=(32, 32, 64, 64))
PRINTED = """\
theirs.pth: EfficientViT-m0 in the layout official

part     tensors  loaded  resized  missing  other shape  unexpected  parameters
stem          20      20        0        0            0           0        100%
stage 1       76      76        0        0            0           0        100%
stage 2      201     201        0        0            0           0        100%
stage 3      277     277        3        0            0           0        100%
all          574     574        3        0            0           0        100%
left out, as classifier: head.l.weight, head.l.bias

written: ours.pth, in the layout mmtrtvit, with windows of 7, 7, 7: 0 missing
To start a training from it: model.backbone.init_cfg=dict(type='Pretrained', checkpoint='ours.pth')
"""


@pytest.fixture
def call(tmp_path, monkeypatch, capfd):
    """Runs the tool in this process, where a file of the authors lies, and returns what it says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    weights = {
        official_name(name): value
        for name, value in EfficientViT('m0', (7, 7, 4)).state_dict().items()
    }
    weights |= {'head.l.weight': torch.ones(1000, 192), 'head.l.bias': torch.ones(1000)}
    torch.save(dict(model=weights), 'theirs.pth')

    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['convert_weights.py', *args])
        message = None
        try:
            runpy.run_path(str(TOOL), run_name='__main__')
        except SystemExit as error:
            message = error.code
        return message, capfd.readouterr().out

    return call


def test_says_what_was_read_and_written_and_how_to_use_it(call):
    assert call('theirs.pth', 'ours.pth', '--window-size', '7') == (None, PRINTED)
    assert [path.name for path in sorted(Path().iterdir())] == ['ours.pth', 'theirs.pth']


def write_model(path, family, arch):
    """A checkpoint of a model with a neck and a head."""
    state = {f'backbone.{name}': value for name, value in family(arch).state_dict().items()}
    others = {'neck.w': torch.ones(2), 'bbox_head.w': torch.ones(2), 'scale': torch.ones(1)}
    torch.save(dict(state_dict={**state, **others}, optimizer=dict(state={})), path)


@pytest.mark.parametrize('out', ['cut.pth', 'cut.safetensors'])
@pytest.mark.parametrize('family, arch', [(EfficientViT, 'm0'), (TRTViT, TINY)], ids=['m0', 'trt'])
def test_the_backbone_is_cut_out_of_a_model(call, family, arch, out):
    Path('run').mkdir()
    write_model('run/epoch_1.pth', family, arch)
    message, printed = call('run', out)
    first, second, *_ = printed.splitlines()
    assert message is None and first.startswith(f'checkpoint: {Path("run/epoch_1.pth").resolve()}')
    assert second.startswith(f'run: {family.__name__}-')
    assert 'left out: bbox_head, neck, scale\n' in printed and ': 0 missing\n' in printed
    start = f"model.backbone.init_cfg=dict(type='Pretrained', checkpoint='{out}')"
    assert printed.endswith(f'To start a training from it: {start}\n')
    backbone = family(arch, init_cfg=dict(type='Pretrained', checkpoint=out))
    backbone.init_weights()
    whole = torch.load('run/epoch_1.pth')['state_dict']
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, whole[f'backbone.{name}'])


def test_neck_and_heads_are_kept_on_demand(call):
    write_model('model.pth', EfficientViT, 'm0')
    weights = torch.load('model.pth')['state_dict']
    del weights['scale']
    torch.save(dict(state_dict=weights), 'model.pth')
    message, printed = call('model.pth', 'ours.pth', '--whole')
    assert message is None and "To start a training from it: load_from='ours.pth'" in printed
    assert torch.load('ours.pth')['state_dict'].keys() == weights.keys()
    message, _ = call('model.pth', 'timm.pth', '--to', 'timm', '--whole')
    assert 'the layout timm has no names for necks and heads' in message
    options = ['--to', 'timm', '--window-size', '7', '7', '4']
    message, printed = call('model.pth', 'timm.pth', *options)
    assert message is None and 'left out: bbox_head, neck\n' in printed
    assert 'written: timm.pth, in the layout timm, with windows of 7, 7, 4' in printed
    assert 'To start' not in printed


def test_a_partial_file_is_written_only_on_demand(call):
    weights = torch.load('theirs.pth')['model']
    del weights['blocks1.0.dw0.m.c.weight']
    torch.save(dict(model=weights), 'theirs.pth')
    message, printed = call('theirs.pth', 'ours.pth')
    assert message.startswith('error: theirs.pth does not fit EfficientViT-m0.\npart ')
    assert not printed and not Path('ours.pth').exists()
    message, printed = call('theirs.pth', 'ours.pth', '--allow-partial')
    assert message is None and Path('ours.pth').exists()
    assert (
        'not loaded:\n  1 not in the file: stages.0.0.before.interaction.branch.conv.weight\n'
        in printed
    )


@pytest.mark.parametrize(
    'args, found',
    [
        (('theirs.pth', 'ours.pth', '--arch', 'm3'), 'The shapes are those of m0.'),
        (('their.pth', 'ours.pth'), 'Did you mean theirs.pth?'),
    ],
)
def test_errors_end_it_without_a_traceback(call, args, found):
    message, printed = call(*args)
    assert message.startswith('error: ') and found in message and not printed


def test_a_file_that_is_refused_is_converted_only_if_trusted(call, monkeypatch):
    torch.save({'w': torch.ones(2)}, 'old.pth', _use_new_zipfile_serialization=False)
    message, printed = call('old.pth', 'ours.pth')
    assert f'--trust {Path("old.pth").absolute()} OUT' in message and not printed
    said = io.StringIO()
    monkeypatch.setattr(sys, 'stderr', said)
    message, printed = call('--trust', 'old.pth', 'ours.pth')
    assert 'WARNING: running the code in old.pth, with all your rights' in said.getvalue()
    assert printed == 'written: ours.pth, 1 tensors by the names that they had\n'
    assert torch.load('ours.pth', weights_only=True)['state_dict']['w'].tolist() == [1, 1]
    assert call('--trust', 'old.pth', 'timm.pth', '--to', 'timm')[0] == 2
    assert '--trust takes no other option' in said.getvalue()
