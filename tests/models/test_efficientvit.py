import copy
import itertools
import re

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from torch import nn
from torch.nn.functional import pad, unfold
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from mmtrtvit.models import EfficientViT
from mmtrtvit.models.efficientvit import AttentionHead, LocalMixing, SandwichBlock
from mmtrtvit.models.windows import merge_windows, relative_bias_index, split_windows

TINY = dict(channels=(16, 24, 32), depths=(1, 1, 1), heads=(2, 3, 2), kernels=(5, 3, 3))

# Of the classifier, windows 7, 7, 4: million parameters with the head (BatchNorm1d and Linear)
# and without it, million MACs at 224 x 224, head included. Of the backbone, windows 7: billion
# MACs at 512 x 512 and 800 x 1344. MACs are those of convolutions, linear layers and the products
# of attention, with the tokens that fill up windows; BatchNorm and pooling count nothing.
PUBLISHED = {
    'm0': (2.349, 2.156, 79.2, 0.43, 1.62),
    'm1': (2.981, 2.787, 167.1, 0.90, 3.52),
    'm2': (4.188, 3.962, 201.0, 1.08, 4.21),
    'm3': (6.901, 6.579, 262.7, 1.41, 5.42),
    'm4': (8.804, 8.418, 299.3, 1.59, 6.10),
    'm5': (12.474, 12.088, 521.6, 2.80, 10.81),
}

# timm's names and ours, applied in this order.
RENAMES = (
    (r'patch_embed\.conv(\d)', lambda match: f'stem.{int(match[1]) - 1}'),
    (r'stages\.0\.blocks', 'stages.0'),
    (r'stages\.([12])\.blocks\.(\d)', lambda match: f'stages.{match[1]}.{int(match[2]) + 3}'),
    (r'downsample\.patchmerge\.conv1', '1.expand'),
    (r'downsample\.patchmerge\.conv2', '1.reduce'),
    (r'downsample\.patchmerge\.conv3', '1.project'),
    (r'downsample\.patchmerge\.se', '1.squeeze_excite'),
    (r'downsample\.res([12])', lambda match: f'{2 * int(match[1]) - 2}'),
    (r'(?<=\.[02])\.0\.m\.', '.interaction.branch.'),
    (r'(?<=\.[02])\.1\.m\.', '.ffn.branch.'),
    (r'dw0\.m', 'before.interaction.branch'),
    (r'ffn0\.m', 'before.ffn.branch'),
    (r'dw1\.m', 'after.interaction.branch'),
    (r'ffn1\.m', 'after.ffn.branch'),
    (r'\.pw([12])', lambda match: f'.{int(match[1]) - 1}'),
    (r'mixer\.m\.attn', 'attention.branch.attention'),
    (r'attention_biases', 'bias_table'),
    (r'qkvs\.(\d)', r'heads.\1.qkv'),
    (r'dws\.(\d)', r'heads.\1.query_conv'),
    (r'proj\.1', 'proj'),
    (r'\.bn\.', '.norm.'),
)


def from_timm(weights: dict) -> dict:
    """Our names for the weights of timm's backbone."""
    converted = {}
    for name, value in weights.items():
        if not name.startswith('head.'):
            for old, new in RENAMES:
                name = re.sub(old, new, name)
            converted[name] = value
    return converted


@pytest.fixture
def tiny(randomise):
    """A small, randomised model, in eval mode."""
    return randomise(EfficientViT(TINY)).eval()


# The published network


@pytest.mark.parametrize('arch', EfficientViT.arch_settings)
def test_parameters_and_macs_are_the_published_ones(arch, macs):
    backbone = EfficientViT(arch, window_size=(7, 7, 4))
    head = nn.Sequential(
        nn.BatchNorm1d(backbone.out_channels[-1]), nn.Linear(backbone.out_channels[-1], 1000)
    )
    own, classifier = (sum(each.numel() for each in part.parameters()) for part in (backbone, head))

    def products(model, *size):
        by_operator = macs(model, *size)
        return by_operator['conv'] + by_operator['matmul']

    assert PUBLISHED[arch] == (
        round((own + classifier) / 1e6, 3),
        round(own / 1e6, 3),
        round((products(backbone, 224, 224) + head[1].weight.numel()) / 1e6, 1),
        round(products(EfficientViT(arch), 512, 512) / 1e9, 2),
        round(products(EfficientViT(arch), 800, 1344) / 1e9, 2),
    )


@pytest.mark.parametrize(
    'dtype, size',
    [
        (torch.float, (448, 448)),
        (torch.float, (224, 224)),
        (torch.float, (512, 512)),
        (torch.float, (640, 480)),
        (torch.float, (801, 1333)),
        (torch.double, (300, 401)),
    ],
    ids=str,
)
@pytest.mark.parametrize('arch', EfficientViT.arch_settings)
@torch.no_grad()
def test_outputs_equal_timm(arch, dtype, size, randomise):
    timm = pytest.importorskip('timm', minversion='1.0.31')  # the first that takes any size
    reference = randomise(timm.create_model(f'efficientvit_{arch}', img_size=448))
    reference.eval()  # returns nothing in timm
    model = EfficientViT(arch).eval()
    model.load_state_dict(from_timm(reference.state_dict()))
    x = torch.randn(1, 3, *size, dtype=dtype)
    expected = reference.to(dtype).forward_intermediates(x, intermediates_only=True)
    tolerance = 1e-5 if dtype is torch.float else 1e-10
    for actual, wanted in zip(model.to(dtype)(x), expected, strict=True):
        assert (actual - wanted).abs().max() < tolerance * wanted.abs().max()


@pytest.mark.parametrize('arch', EfficientViT.arch_settings)
def test_each_head_has_the_query_kernel_of_the_released_weights(arch):
    kernels = (5, 5, 5, 5) if arch in ('m0', 'm3') else (7, 5, 3, 3)
    blocks = [each for each in EfficientViT(arch).modules() if isinstance(each, SandwichBlock)]
    assert len(blocks) == sum(EfficientViT.arch_settings[arch]['depths'])
    for block in blocks:
        heads = block.attention.branch.attention.heads
        assert [head.query_conv.conv.kernel_size[0] for head in heads] == [*kernels[: len(heads)]]


def test_an_untrained_block_is_the_identity():
    x = torch.randn(2, 24, 9, 10)
    assert torch.equal(SandwichBlock(24, (5, 3), 7)(x), x)


# Any size: also where a map is smaller than a window


@pytest.mark.parametrize(
    'size',
    [(32, 32), (33, 47), (224, 224), (256, 256), (300, 401), (320, 320), (384, 384), (448, 449)],
)
@torch.no_grad()
def test_a_map_smaller_than_a_window_is_padded(tiny, size):
    """Equal to the attention of a map that was filled up with zeros beforehand."""
    attention = tiny.stages[2][-1].attention.branch
    x = torch.randn(1, 32, *(-(-side // 64) for side in size))
    padded = pad(x, (0, -x.shape[3] % 7, 0, -x.shape[2] % 7))
    assert_close(attention(x), attention(padded)[:, :, : x.shape[2], : x.shape[3]])
    assert tiny(torch.randn(1, 3, *size))[2].shape == x.shape


# Nothing is cached


def load(model: nn.Module, other: nn.Module) -> None:
    model.load_state_dict(other.state_dict())


def update(model: nn.Module, other: nn.Module) -> None:
    for parameter, target in zip(model.parameters(), other.parameters()):
        parameter.lerp_(target, 0.5)


def update_bias_tables(model: nn.Module, other: nn.Module) -> None:
    for stage, target in zip(model.stages, other.stages):
        table = stage[-1].attention.branch.attention.bias_table
        table.copy_(target[-1].attention.branch.attention.bias_table)


@pytest.mark.parametrize(
    'change',
    [
        load,
        update,
        update_bias_tables,
        lambda model, _: model.double(),
        lambda model, _: model.half(),
        lambda model, _: model.to(torch.bfloat16),
    ],
    ids=['load_state_dict', 'update', 'update of the tables', 'double', 'half', 'bfloat16'],
)
@torch.no_grad()
def test_the_next_forward_in_eval_mode_sees_a_change(tiny, randomise, change):
    x = torch.randn(1, 3, 64, 96)
    before = tiny(x)
    change(tiny, randomise(EfficientViT(TINY)))
    dtype = next(tiny.parameters()).dtype
    fresh = EfficientViT(TINY).eval().to(dtype)
    fresh.load_state_dict(tiny.state_dict())
    after = tiny(x.to(dtype))
    assert_close(after, fresh(x.to(dtype)), rtol=0, atol=0)
    assert not any(torch.equal(old, new) for old, new in zip(before, after))


@torch.no_grad()
def test_a_moving_average_in_eval_mode_sees_every_update(tiny, randomise):
    average = ExponentialMovingAverage(tiny, momentum=0.5, update_buffers=True).eval()
    x = torch.randn(1, 3, 64, 96)
    average(x)
    for _ in range(2):
        average.update_parameters(randomise(tiny))
        fresh = EfficientViT(TINY).eval()
        fresh.load_state_dict(average.module.state_dict())
        assert_close(average(x), fresh(x), rtol=0, atol=0)


def test_bias_tables_get_a_gradient_in_eval_mode(tiny):
    with torch.no_grad():
        tiny(torch.randn(1, 3, 96, 160))
    sum(each.square().sum() for each in tiny(torch.randn(1, 3, 96, 160))).backward()
    tables = [value for name, value in tiny.named_parameters() if name.endswith('bias_table')]
    assert len(tables) == 3 and all(table.grad.abs().sum() > 0 for table in tables)


def test_only_known_names_are_in_the_state_dict(tiny):
    assert {name.rsplit('.', 1)[-1] for name in tiny.state_dict()} == {
        'weight',
        'bias',
        'running_mean',
        'running_var',
        'num_batches_tracked',
        'bias_table',
    }
    copy.deepcopy(tiny).load_state_dict(tiny.state_dict())


# Arguments


@pytest.mark.parametrize('window_size, sides', [(7, (7, 7, 7)), (5, (5, 5, 5)), ((7, 7, 4),) * 2])
def test_window_size_is_one_number_or_one_for_each_stage(window_size, sides):
    stages = EfficientViT(TINY, window_size=window_size).stages
    attentions = [stage[-1].attention.branch for stage in stages]
    assert tuple(each.window_size for each in attentions) == sides
    assert [each.attention.bias_table.shape[1] for each in attentions] == [w * w for w in sides]


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(arch=dict(TINY, channels=(16, 25, 32))), '25 is not a multiple of 3'),
        (dict(arch=dict(TINY, channels=(12, 24, 32))), 'multiple of 8'),
        (dict(arch=dict(TINY, depths=(1, 1))), 'three stages'),
        (dict(arch=dict(TINY, kernels=(5, 3))), 'need 3'),
        (dict(window_size=0), 'window_size=0: expected a number of at least 1, or three'),
        (dict(window_size=(7, 7)), r'window_size=\(7, 7\)'),
        (dict(window_size=(7, 0, 7)), r'window_size=\(7, 0, 7\)'),
        (dict(cascade='no'), "cascade='no': expected True or False"),
        (dict(sandwich=0), 'sandwich=0: expected True or False'),
        (dict(interaction=None), 'interaction=None: expected True or False'),
        (dict(key_channels=0), 'key_channels=0: expected a whole number above 0'),
        (dict(ffn_ratio=2.5), 'ffn_ratio=2.5: expected a whole number above 0'),
        (dict(ffn_ratio=True), 'ffn_ratio=True: expected a whole number above 0'),
    ],
    ids=str,
)
def test_wrong_arguments_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        EfficientViT(**settings)


# What the ablations leave out


def blocks_of(model: nn.Module, kind: type) -> list:
    return [each for each in model.modules() if isinstance(each, kind)]


def test_options_are_on_by_default():
    """The names of the weights stay those of the published network."""
    named = EfficientViT(
        TINY, cascade=True, sandwich=True, interaction=True, key_channels=16, ffn_ratio=2
    )
    shapes = {name: value.shape for name, value in EfficientViT(TINY).state_dict().items()}
    assert {name: value.shape for name, value in named.state_dict().items()} == shapes
    heads = EfficientViT(TINY, cascade=False).state_dict()
    assert {name: value.shape for name, value in heads.items()} == shapes


@torch.no_grad()
def test_without_the_cascade_no_head_sees_another(randomise):
    for cascade in (True, False):
        model = randomise(EfficientViT(TINY, cascade=cascade)).eval()
        attention = model.stages[1][-1].attention.branch.attention
        attention.proj = nn.Identity()
        x = torch.randn(2, 24, 7, 7)
        before = attention(x)
        x[:, :8] += 1  # the first head's group
        changed = [
            not torch.equal(*pair) for pair in zip(before.split(8, 1), attention(x).split(8, 1))
        ]
        assert changed == [True, cascade, cascade]


def test_without_the_sandwich_every_ffn_follows_an_attention():
    model = EfficientViT(TINY, sandwich=False)
    for stage in model.stages:
        kinds = [type(getattr(part, 'branch', part)).__name__ for part in stage[-1]]
        assert kinds == ['WindowAttention', 'LocalMixing'] * 2


def test_without_interaction_no_map_has_a_depthwise_convolution():
    model = EfficientViT(TINY, interaction=False)
    assert all(len(block) == 1 for block in blocks_of(model, LocalMixing))
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels
    ]
    assert names and all('query_conv' in name or 'reduce' in name for name in names)


def test_equal_widths_of_query_key_and_value():
    model = EfficientViT(TINY, key_channels=None, ffn_ratio=4)
    assert [head.widths for head in blocks_of(model, AttentionHead)] == [
        *[(8, 8, 8)] * 5,
        *[(16, 16, 16)] * 2,
    ]
    for block in blocks_of(model, LocalMixing):
        assert block.ffn.branch[0].conv.out_channels == 4 * block.ffn.branch[0].conv.in_channels


@pytest.mark.parametrize(
    'settings',
    [
        dict(cascade=False),
        dict(sandwich=False),
        dict(interaction=False),
        dict(key_channels=None, ffn_ratio=4),
    ],
    ids=str,
)
def test_ablations_take_odd_sizes_and_train(settings, randomise):
    model = randomise(EfficientViT(TINY, **settings)).train()
    maps = model(torch.randn(2, 3, 75, 101))
    assert [each.shape[1:] for each in maps] == [(16, 5, 7), (24, 3, 4), (32, 2, 2)]
    sum(each.square().sum() for each in maps).backward()
    assert all(each.grad.abs().sum() > 0 for each in model.parameters())


# Windows


@pytest.mark.parametrize('size', [(7, 7), (1, 1), (5, 9), (14, 20), (8, 7)], ids=str)
def test_windows_equal_unfold_and_merge_again(size):
    x = torch.randn(2, 3, *size)
    padded = pad(x, (0, -size[1] % 7, 0, -size[0] % 7))
    expected = unfold(padded, 7, stride=7).transpose(1, 2).reshape(-1, 3, 7, 7)
    windows = split_windows(x, 7)
    assert torch.equal(windows, expected)
    assert torch.equal(merge_windows(windows, *size), x)


@pytest.mark.parametrize('window_size', [1, 4, 7])
def test_bias_index_is_the_absolute_offset(window_size):
    tokens = list(itertools.product(range(window_size), repeat=2))
    assert relative_bias_index(window_size).tolist() == [
        [abs(y - other_y) * window_size + abs(x - other_x) for other_y, other_x in tokens]
        for y, x in tokens
    ]


class GradientsOfNorms(TorchDispatchMode):
    """Counts the gradients that reach BatchNorms, and those in the memory format of their maps."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if 'batch_norm_backward' in str(func):
            gradient = args[0]
            self.all += 1
            self.last += gradient.is_contiguous(memory_format=torch.channels_last)
        return func(*args, **(kwargs or {}))

    def __enter__(self):
        self.all = self.last = 0
        return super().__enter__()


def test_a_training_in_channels_last_stays_in_it():
    model = EfficientViT('m0').to(memory_format=torch.channels_last).train()
    maps = model(torch.randn(2, 3, 128, 160))
    with GradientsOfNorms() as seen:
        torch.autograd.backward(maps, [each.detach() for each in maps])
    assert seen.all == sum(isinstance(each, nn.BatchNorm2d) for each in model.modules())
    assert seen.last == seen.all
