import pytest
import torch
from mmengine.registry import MODELS

from mmtrtvit.errors import UserError
from mmtrtvit.models import EfficientViT
from mmtrtvit.models.necks import EfficientViTFPN

WIDTHS = 12, 20, 28
MODES = False, 'on_input', 'on_lateral', 'on_output'


def build(transposed=0, coarser=0, **options):
    options = dict(out_channels=8, num_outs=3 + transposed + coarser) | options
    neck = EfficientViTFPN(WIDTHS, num_extra_trans_convs=transposed, **options)
    neck.init_weights()
    return neck.eval()


def maps(sizes, batch=2):
    return [torch.randn(batch, width, *size) for width, size in zip(WIDTHS, sizes)]


@pytest.mark.parametrize('transposed', [0, 1, 2, 3])
@pytest.mark.parametrize('coarser', [0, 1, 2])
@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize(
    'sizes',
    [
        [(8, 8), (4, 4), (2, 2)],
        [(7, 9), (4, 5), (2, 3)],
        [(1, 3), (1, 2), (1, 1)],
        [(30, 22), (10, 8), (5, 4)],  # strides that are no multiples of two apart
    ],
)
def test_sizes_of_the_maps(transposed, coarser, mode, sizes):
    neck = build(transposed, coarser, add_extra_convs=mode)
    outputs = neck(maps(sizes))
    finer = [tuple(side * 2**i for side in sizes[0]) for i in range(transposed, 0, -1)]
    expected = [*finer, *sizes]
    for _ in range(coarser):
        expected.append(tuple(-(-side // 2) for side in expected[-1]))
    assert [tuple(output.shape) for output in outputs] == [(2, 8, *size) for size in expected]


@pytest.mark.parametrize('coarser', [0, 1, 2])
@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('norm_cfg', [None, dict(type='GN', num_groups=2)])
def test_without_transposed_levels_it_is_the_fpn_of_mmdet(coarser, mode, norm_cfg):
    from mmdet.models.necks import FPN

    ours = build(coarser=coarser, add_extra_convs=mode, norm_cfg=norm_cfg)
    theirs = FPN(list(WIDTHS), 8, 3 + coarser, add_extra_convs=mode, norm_cfg=norm_cfg)
    theirs.load_state_dict(ours.state_dict())
    inputs = maps([(7, 9), (4, 5), (2, 3)])
    for our, their in zip(ours(inputs), theirs(inputs), strict=True):
        torch.testing.assert_close(our, their, rtol=0, atol=0)


def test_transposed_levels_as_published():
    """Written out: chained from the finest lateral, 3x3 convolutions numbered from the finest."""
    neck = build(transposed=2)
    inputs = maps([(6, 6), (3, 3), (2, 2)])
    outputs = neck(inputs)
    laterals = [conv(x) for conv, x in zip(neck.lateral_convs, inputs)]
    upsampled = torch.nn.functional.interpolate
    middle = laterals[1] + upsampled(laterals[2], size=(3, 3))
    finest = laterals[0] + upsampled(middle, size=(6, 6))
    eighth = neck.extra_trans_convs[0](finest)
    quarter = neck.extra_trans_convs[1](eighth)
    torch.testing.assert_close(outputs[0], neck.extra_fpn_convs[0](quarter))
    torch.testing.assert_close(outputs[1], neck.extra_fpn_convs[1](eighth))
    torch.testing.assert_close(outputs[2], neck.fpn_convs[0](finest))


@pytest.mark.parametrize(
    'options, parameters',
    [
        (dict(num_extra_trans_convs=1, add_extra_convs='on_input'), 3_705_088),  # RetinaNet's
        (dict(num_extra_trans_convs=2), 3_672_576),  # Mask R-CNN's
    ],
)
def test_published_keys_and_parameters(options, parameters):
    neck = MODELS.build(
        dict(
            type='EfficientViTFPN',
            in_channels=[128, 256, 384],
            out_channels=256,
            num_outs=5,
            **options,
        )
    )
    assert sum(parameter.numel() for parameter in neck.parameters()) == parameters
    transposed = options['num_extra_trans_convs']
    keys = {
        f'{part}.{index}.conv.{name}'
        for part, count in (
            ('lateral_convs', 3),
            ('fpn_convs', 3 + bool(options.get('add_extra_convs'))),
            ('extra_trans_convs', transposed),
            ('extra_fpn_convs', transposed),
        )
        for index in range(count)
        for name in ('weight', 'bias')
    }
    assert neck.state_dict().keys() == keys


def test_every_parameter_learns():
    neck = build(transposed=2, coarser=2, add_extra_convs='on_input')
    sum(output.square().mean() for output in neck(maps([(8, 8), (4, 4), (2, 2)]))).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in neck.parameters())


def test_behind_the_backbone_at_an_odd_size():
    backbone = EfficientViT('m0').eval()
    neck = EfficientViTFPN(backbone.out_channels, 8, num_outs=6, num_extra_trans_convs=2)
    outputs = neck(backbone(torch.randn(1, 3, 100, 67)))
    sizes = [tuple(output.shape[2:]) for output in outputs]
    assert sizes == [(28, 20), (14, 10), (7, 5), (4, 3), (2, 2), (1, 1)]


@pytest.mark.parametrize(
    'options, part',
    [
        (dict(num_outs=3, transposed=1), 'num_outs=3 must be at least the 3 inputs plus'),
        (dict(num_outs=2), 'num_outs=2'),
        (dict(num_outs=9, transposed=-1), 'num_extra_trans_convs=-1'),
        (
            dict(add_extra_convs='on_neck'),
            "add_extra_convs='on_neck', expected False or one of on_input, on_lateral, on_output",
        ),
    ],
)
def test_wrong_arguments(options, part):
    with pytest.raises(UserError, match=part):
        build(**options)


@pytest.mark.parametrize(
    'inputs', [maps([(8, 8), (4, 4)]), [torch.randn(1, 16, 8, 8) for _ in range(3)]]
)
def test_maps_of_another_backbone(inputs):
    with pytest.raises(UserError, match=r'in_channels=\[12, 20, 28\], but the backbone gives'):
        build()(inputs)
