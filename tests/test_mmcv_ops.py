"""mmcv.ops on top of mmtrtvit's stand-in for mmcv._ext."""

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mmtrtvit
from mmtrtvit import mmcv_ops

mmcv_ops.install()

import mmcv.ops  # noqa: E402

SPEC = importlib.util.spec_from_file_location(
    'mmtrtvit_ext_under_test', Path(mmtrtvit.__file__).with_name('_mmcv_ext.py'))
EXT = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(EXT)

SERVED = {
    'nms', 'roi_align_forward', 'roi_align_backward', 'sigmoid_focal_loss_forward',
    'sigmoid_focal_loss_backward', 'get_compiler_version', 'get_compiling_cuda_version'
}


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    """Has mmcv.ops use the stand-in even where mmcv is compiled."""
    for name in ('nms', 'roi_align', 'focal_loss', 'info', 'corner_pool', 'deform_conv', 'roi_pool',
                 'multi_scale_deform_attn'):
        module = sys.modules[f'mmcv.ops.{name}']
        if hasattr(module, 'ext_module'):
            monkeypatch.setattr(module, 'ext_module', EXT)
    torch.manual_seed(0)


# NMS


def greedy_nms(boxes, scores, threshold, offset=0):
    """Indices kept, by descending score and then by index, in Python floats."""
    boxes, scores = boxes.tolist(), scores.tolist()
    threshold = float(np.float32(threshold))
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        x1, y1, x2, y2 = boxes[i]
        for k in kept:
            u1, v1, u2, v2 = boxes[k]
            inter = (max(0, min(x2, u2) - max(x1, u1) + offset) *
                     max(0, min(y2, v2) - max(y1, v1) + offset))
            union = ((x2 - x1 + offset) * (y2 - y1 + offset) +
                     (u2 - u1 + offset) * (v2 - v1 + offset) - inter)
            if union and inter / union > threshold:
                break
        else:
            kept.append(i)
    return kept


def random_boxes(n, size=40, integer=False):
    xy, wh = torch.rand(n, 2) * size, torch.rand(n, 2) * size / 2
    boxes = torch.cat([xy, xy + wh], dim=1)
    return boxes.round() if integer else boxes


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.1, 0.3, 0.6])
@pytest.mark.parametrize('integer', [False, True])
def test_nms_is_greedy(offset, threshold, integer):
    boxes, scores = random_boxes(120, integer=integer), torch.rand(120)
    dets, keep = mmcv.ops.nms(boxes, scores, threshold, offset=offset)
    expected = greedy_nms(boxes, scores, threshold, offset)
    assert keep.tolist() == expected
    assert 1 < len(expected) < 120
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], dim=1)[expected])


def test_nms_offset_counts_the_last_pixel():
    boxes = torch.tensor([[0., 0., 9., 9.], [0., 0., 9., 4.]])
    scores = torch.tensor([.9, .8])
    # 36 / 81 without the offset, 50 / 100 with it.
    assert mmcv.ops.nms(boxes, scores, 0.47, offset=0)[1].tolist() == [0, 1]
    assert mmcv.ops.nms(boxes, scores, 0.47, offset=1)[1].tolist() == [0]
    touching = torch.tensor([[0., 0., 4., 4.], [4., 0., 8., 4.]])  # 0 / 32 and 5 / 45
    assert mmcv.ops.nms(touching, scores, 0.1, offset=0)[1].tolist() == [0, 1]
    assert mmcv.ops.nms(touching, scores, 0.1, offset=1)[1].tolist() == [0]


def test_nms_keeps_a_box_whose_iou_is_the_threshold():
    # IoU exactly 3 / 5, and the float32 next to 0.6 is above 0.6, so in double it would be dropped.
    boxes = torch.tensor([[0., 0., 5., 1.], [0., 0., 3., 1.]])
    assert mmcv.ops.nms(boxes, torch.tensor([.9, .8]), 0.6)[1].tolist() == [0, 1]
    assert mmcv.ops.nms(boxes, torch.tensor([.9, .8]), 0.59)[1].tolist() == [0]


def test_nms_breaks_ties_by_index():
    boxes = random_boxes(200, integer=True)
    scores = torch.randint(0, 4, (200,)) / 4
    assert mmcv.ops.nms(boxes, scores, 0.3)[1].tolist() == greedy_nms(boxes, scores, 0.3)


def test_nms_of_degenerate_boxes():
    boxes = torch.tensor([[1., 1., 1., 1.], [1., 1., 1., 1.], [0., 0., 4., 4.], [5., 5., 3., 3.]])
    scores = torch.tensor([.9, .8, .7, .6])
    assert mmcv.ops.nms(boxes, scores, 0.5)[1].tolist() == [0, 1, 2, 3]
    assert mmcv.ops.nms(boxes, scores, 0.5, offset=1)[1].tolist()[:2] == [0, 2]


def test_nms_score_threshold_and_max_num():
    boxes, scores = random_boxes(80), torch.rand(80)
    valid = (scores > 0.4).nonzero().flatten()
    expected = valid[greedy_nms(boxes[valid], scores[valid], 0.3)][:5].tolist()
    dets, keep = mmcv.ops.nms(boxes, scores, 0.3, score_threshold=0.4, max_num=5)
    assert keep.tolist() == expected
    assert torch.equal(dets[:, 4], scores[expected])


def test_nms_of_nothing():
    dets, keep = mmcv.ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5, offset=1)
    assert dets.shape == (0, 5)
    assert keep.shape == (0,) and keep.dtype == torch.int64


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16, torch.float64])
@pytest.mark.parametrize('score_dtype', [None, torch.float32])
def test_nms_dtypes(dtype, score_dtype):
    boxes, scores = random_boxes(60).to(dtype), torch.rand(60).to(score_dtype or dtype)
    keep = EXT.nms(boxes, scores, iou_threshold=0.3, offset=1)
    assert keep.tolist() == greedy_nms(boxes.double(), scores.double(), 0.3, 1)


def test_nms_takes_numpy():
    boxes, scores = random_boxes(30), torch.rand(30)
    dets, keep = mmcv.ops.nms(boxes.numpy(), scores.numpy(), 0.3)
    assert isinstance(dets, np.ndarray)
    assert keep.tolist() == greedy_nms(boxes, scores, 0.3)


@pytest.mark.parametrize('cfg', [{}, {'split_thr': 10}, {'split_thr': 10, 'max_num': 7},
                                 {'class_agnostic': True}], ids=str)
def test_batched_nms(cfg):
    boxes, scores, labels = random_boxes(90), torch.rand(90), torch.randint(0, 4, (90,))
    if cfg.get('class_agnostic'):
        expected = greedy_nms(boxes, scores, 0.3)
    else:
        groups = [(labels == c).nonzero().flatten() for c in range(4)]
        kept = torch.cat([g[greedy_nms(boxes[g], scores[g], 0.3)] for g in groups])
        expected = kept[scores[kept].argsort(descending=True)].tolist()
    dets, keep = mmcv.ops.batched_nms(boxes, scores, labels,
                                      {'type': 'nms', 'iou_threshold': 0.3, **cfg})
    assert keep.tolist() == expected[:cfg.get('max_num')]
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], dim=1)[keep])


# RoIAlign


def bilinear(plane, y, x):
    """Value of an (H, W) list at a point: 0 beyond one pixel outside, else the edge repeated."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.
    y, x = min(max(y, 0.), height - 1.), min(max(x, 0.), width - 1.)
    total = 0.
    for row in range(height):
        for col in range(width):
            total += max(0., 1 - abs(y - row)) * max(0., 1 - abs(x - col)) * plane[row, col]
    return total


def reference_roi_align(features, rois, size, scale, ratio, aligned):
    features, rois = features.double().numpy(), rois.double().numpy()
    out = np.zeros((len(rois), features.shape[1], *size))
    for n, (image, *box) in enumerate(rois):
        x1, y1, x2, y2 = (v * scale - (0.5 if aligned else 0) for v in box)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.), max(height, 1.)
        rows = ratio or math.ceil(height / size[0])
        cols = ratio or math.ceil(width / size[1])
        for index in np.ndindex(out.shape[1:]):
            c, i, j = index
            samples = [
                bilinear(features[int(image), c], y1 + (i + (r + 0.5) / rows) * height / size[0],
                         x1 + (j + (s + 0.5) / cols) * width / size[1])
                for r in range(rows) for s in range(cols)
            ]
            out[(n, *index)] = sum(samples) / max(len(samples), 1)
    return torch.from_numpy(out)


FEATURES = (2, 2, 6, 7)
ROIS = torch.tensor([
    [0, 2.2, 3.1, 17.3, 14.9],
    [1, -9., -7., 12.4, 11.],  # partly outside, more than a pixel
    [1, 15.5, 12.25, 40., 33.],
    [0, 60., 60., 70., 70.],  # outside
    [0, 5.3, 6.1, 5.3, 6.1],  # without area
    [1, 5.3, 6.1, 6.2, 20.],
])


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('scale', [0.25, 1 / 3])
def test_roi_align(aligned, ratio, scale):
    features = torch.randn(FEATURES)
    out = mmcv.ops.roi_align(features, ROIS, (3, 2), scale, ratio, 'avg', aligned)
    expected = reference_roi_align(features, ROIS, (3, 2), scale, ratio, aligned)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), expected, rtol=1e-4, atol=1e-5)
    assert out[[0, 1, 2, 5]].abs().amax(dim=(1, 2, 3)).min() > 0.01


def test_roi_align_module_is_shift_aware():
    layer = mmcv.ops.RoIAlign(2, spatial_scale=0.5, sampling_ratio=2)
    ramp = torch.arange(8.).repeat(8, 1)[None, None]
    # Bin centres at x = 3 and 5 of the input, which is at 1 and 2 of the map whose pixels centre
    # on .5.
    out = layer(ramp, torch.tensor([[0., 2., 2., 6., 6.]]))
    torch.testing.assert_close(out[0, 0], torch.tensor([[1., 2.], [1., 2.]]))


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_align_gradient(aligned, ratio):
    features = torch.randn(FEATURES, dtype=torch.float64, requires_grad=True)

    def pool(x):
        return mmcv.ops.roi_align(x, ROIS.double(), (2, 3), 0.25, ratio, 'avg', aligned)

    assert torch.autograd.gradcheck(pool, features, fast_mode=False)
    # By the reference: roi_align is linear in its input.
    weight = torch.randn(len(ROIS), 2, 2, 3, dtype=torch.float64)
    grad, = torch.autograd.grad((pool(features) * weight).sum(), features)
    for index in [(0, 0, 2, 1), (1, 1, 0, 0), (1, 0, 5, 6), (0, 1, 3, 3)]:
        unit = torch.zeros(FEATURES)
        unit[index] = 1
        expected = (reference_roi_align(unit, ROIS, (2, 3), 0.25, ratio, aligned) * weight).sum()
        torch.testing.assert_close(grad[index], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('images', [0, 2])
def test_roi_align_of_no_rois(images):
    features = torch.randn(images, 3, 5, 5, requires_grad=True)
    out = mmcv.ops.roi_align(features, torch.zeros(0, 5), 7, 0.25, 0, 'avg', True)
    assert out.shape == (0, 3, 7, 7)
    out.sum().backward()
    assert torch.equal(features.grad, torch.zeros_like(features))


@pytest.mark.parametrize(('dtype', 'roi_dtype'), [
    (torch.half, torch.half), (torch.bfloat16, torch.bfloat16), (torch.half, torch.float32),
    (torch.float32, torch.half), (torch.float32, torch.float64), (torch.float64, torch.float32)])
def test_roi_align_dtypes(dtype, roi_dtype):
    rois = ROIS[:3].to(roi_dtype)
    features = torch.randn(FEATURES).to(dtype).requires_grad_()
    out = mmcv.ops.roi_align(features, rois, (2, 2), 0.25, 2, 'avg', True)
    grad, = torch.autograd.grad(out.sum(), features)
    assert out.dtype == grad.dtype == dtype
    # Exactly the rounded float32 result, that is, nothing was accumulated in the narrow type.
    exact = features.detach().to(torch.promote_types(dtype, torch.float32)).requires_grad_()
    wide = mmcv.ops.roi_align(exact, rois.to(exact.dtype), (2, 2), 0.25, 2, 'avg', True)
    wide_grad, = torch.autograd.grad(wide.sum(), exact)
    assert torch.equal(out, wide.to(dtype))
    assert torch.equal(grad, wide_grad.to(dtype))


def test_roi_align_of_noncontiguous_tensors():
    features = torch.randn(FEATURES).to(memory_format=torch.channels_last).requires_grad_()
    plain = features.detach().contiguous().requires_grad_()
    weight = torch.randn(2, 2, 6, 2).permute(2, 3, 0, 1)  # gradient that is not contiguous
    grads = []
    for x in (features, plain):
        out = mmcv.ops.roi_align(x, ROIS, 2, 0.25, 0, 'avg', True)
        grads += torch.autograd.grad((out * weight).sum(), x)
    assert torch.equal(*grads)


def test_roi_align_max_raises():
    with pytest.raises(RuntimeError, match="roi_align with pool_mode='max' needs an mmcv"):
        mmcv.ops.roi_align(torch.zeros(FEATURES), ROIS, 2, 0.25, 0, 'max', True)


# Sigmoid focal loss


def reference_focal_loss(logits, target, gamma, alpha, weight=None):
    rows = []
    for row, t in zip(logits, target.tolist(), strict=True):
        losses = []
        for c, x in enumerate(row):
            p = 1 / (1 + torch.exp(-x))
            if c == t:
                losses.append(-alpha * (1 - p)**gamma * torch.log(p))
            else:
                losses.append(-(1 - alpha) * p**gamma * torch.log(1 - p))
        rows.append(torch.stack(losses) * (1 if weight is None or t == len(row) else weight[t]))
    return torch.stack(rows)


@pytest.mark.parametrize(('gamma', 'alpha'), [(2., .25), (0., .5), (1.5, .9)])
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
def test_sigmoid_focal_loss(gamma, alpha, weighted, reduction):
    logits = (torch.randn(6, 3, dtype=torch.float64) * 3).requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 3, 1])  # 3 is background
    weight = torch.tensor([.5, 2., 3.], dtype=torch.float64) if weighted else None
    expected = reference_focal_loss(logits, target, gamma, alpha, weight)
    if reduction != 'none':
        expected = expected.sum() / (6 if reduction == 'mean' else 1)
    loss = mmcv.ops.sigmoid_focal_loss(logits, target, gamma, alpha, weight, reduction)
    torch.testing.assert_close(loss, expected)
    upstream = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(loss, logits, upstream),
        torch.autograd.grad(expected, logits, upstream))


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_sigmoid_focal_loss_of_narrow_types(dtype):
    logits = torch.randn(5, 4).to(dtype).requires_grad_()
    wide = logits.detach().float().requires_grad_()
    results = []
    for x in (logits, wide):
        loss = mmcv.ops.sigmoid_focal_loss(x, torch.arange(5), 2., .25, None, 'none')
        results.append((loss, *torch.autograd.grad(loss, x, torch.ones_like(loss))))
    for narrow, exact in zip(*results, strict=True):
        assert narrow.dtype == dtype
        assert torch.equal(narrow, exact.to(dtype))


def test_sigmoid_focal_loss_of_extreme_logits():
    logits = torch.tensor([[80., -80.], [-80., 80.]], requires_grad=True)
    loss = mmcv.ops.sigmoid_focal_loss(logits, torch.tensor([0, 0]), .5, .25, None, 'none')
    torch.testing.assert_close(loss, torch.tensor([[0., 0.], [20., 60.]]))
    grad, = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(grad, torch.tensor([[0., 0.], [-.25, .75]]))


def test_sigmoid_focal_loss_of_nothing():
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = mmcv.ops.sigmoid_focal_loss(logits, torch.zeros(0, dtype=torch.long), 2., .25, None,
                                       'sum')
    loss.backward()
    assert loss == 0 and logits.grad.shape == (0, 4)


# What is not served


def test_every_other_op_raises_its_name():
    source = ''.join(p.read_text() for p in Path(mmcv.ops.__file__).parent.glob('*.py'))
    called = set(part.split('(')[0] for part in source.split('ext_module.')[1:])
    others = sorted(name for name in called if name.isidentifier() and name not in SERVED)
    assert {'softnms', 'nms_rotated', 'deform_conv_forward', 'ms_deform_attn_forward'} <= {*others}
    assert called >= SERVED
    for name in others:
        with pytest.raises(RuntimeError, match=rf"^mmcv op '{name}' needs an mmcv .* compiled"):
            getattr(EXT, name)(torch.zeros(1), key=1)


@pytest.mark.parametrize(('op', 'call'), [
    ('softnms', lambda: mmcv.ops.soft_nms(torch.zeros(1, 4), torch.zeros(1))),
    ('nms_match', lambda: mmcv.ops.nms_match(torch.zeros(1, 5), 0.5)),
    ('roi_pool_forward',
     lambda: mmcv.ops.roi_pool(torch.zeros(1, 1, 4, 4), torch.zeros(1, 5), 2)),
    ('deform_conv_forward',
     lambda: mmcv.ops.DeformConv2d(1, 1, 1)(torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 4, 4)))])
def test_ops_of_mmcv_raise_their_name(op, call):
    with pytest.raises(RuntimeError, match=f"mmcv op '{op}'"):
        call()


def test_private_names_are_missing():
    assert not hasattr(EXT, '__wrapped__')
    with pytest.raises(AttributeError, match='_no_such_name'):
        EXT._no_such_name  # noqa: B018


def test_versions_say_not_compiled():
    assert mmcv.ops.get_compiler_version().startswith('not compiled (torchvision')
    assert mmcv.ops.get_compiling_cuda_version().startswith('not compiled (torchvision')


# Import


def python(code, path=()):
    """Runs code in a fresh interpreter that finds mmtrtvit, and first of all what is in path."""
    package = str(Path(mmtrtvit.__file__).parents[1])
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONWARNINGS='ignore',
               PYTHONPATH=os.pathsep.join([*map(str, path), package]))
    return subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True,
                          timeout=300)


def check(code, path=()):
    result = python(code, path)
    assert result.returncode == 0, result.stderr
    return result.stdout


INSTALL = 'from mmtrtvit.mmcv_ops import install; install()\n'
# The same without the rest of the package, as `mmcv_ops`.
INSTALL_ALONE = f'''
import importlib.util
spec = importlib.util.spec_from_file_location('mmcv_ops', {mmcv_ops.__file__!r})
mmcv_ops = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mmcv_ops)
mmcv_ops.install()
'''


@pytest.fixture
def bare_mmcv(tmp_path):
    """A folder with an mmcv package that has nothing in it."""
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv/__init__.py').write_text('')
    return tmp_path


def test_install_is_cheap_and_idempotent():
    check('import sys\n' + INSTALL_ALONE + 'mmcv_ops.install()\n'
          'assert sys.meta_path.count(mmcv_ops._ExtFinder) == 1\n'
          'assert sys.meta_path[-1] is mmcv_ops._ExtFinder\n'
          'assert not {"mmcv", "mmdet", "mmseg", "torch", "torchvision"} & set(sys.modules)')


def test_find_spec(bare_mmcv):
    out = check(INSTALL_ALONE + 'import sys\nfrom importlib.util import find_spec\n'
                'spec = find_spec("mmcv._ext")\n'
                'assert spec.name == "mmcv._ext" and spec.loader and spec.origin\n'
                'assert find_spec("mmcv._other") is None\n'
                'assert "torchvision" not in sys.modules\n'
                'import mmcv._ext as ext\n'
                'assert ext.__spec__.origin == spec.origin and ext.__name__ == "mmcv._ext"\n'
                'print(ext.__file__)', [bare_mmcv])
    assert Path(out.strip()) == Path(mmtrtvit.__file__).with_name('_mmcv_ext.py')


def test_find_spec_here():
    assert importlib.util.find_spec('mmcv._ext').loader is not None


def test_compiled_ext_is_left_alone(bare_mmcv):
    (bare_mmcv / 'mmcv/_ext.py').write_text('nms = "compiled"\n')
    check(INSTALL_ALONE + 'import mmcv._ext\n'
          'assert mmcv._ext.nms == "compiled" and not hasattr(mmcv._ext, "roi_align_forward")',
          [bare_mmcv])


def test_error_of_a_broken_ext_is_raised(bare_mmcv):
    (bare_mmcv / 'mmcv/_ext.py').write_text('raise ImportError("undefined symbol: _ZN2at4")\n')
    check(INSTALL_ALONE + 'try:\n    import mmcv._ext\nexcept ImportError as e:\n'
          '    assert "undefined symbol" in str(e)\nelse:\n    raise AssertionError', [bare_mmcv])


# Of a process in which mmdet and mmseg are complete: no substitute is left and no function of
# theirs with the name of an op was replaced. Substitutes of mmdet are known by what they raise.
COMPLETE = '''
import sys, types
import mmdet.models, mmdet.apis, mmseg.models
from mmdet.registry import MODELS
left = []
for name, module in list(sys.modules.items()):
    if name.startswith(('mmdet', 'mmseg', 'mmcv.cnn')):
        for key, obj in list(vars(module).items()):
            body = obj.__init__ if isinstance(obj, type) else obj
            consts = getattr(getattr(body, '__code__', None), 'co_consts', ())
            if any('mmcv to be compiled with' in str(c) for c in consts):
                left.append(f'{name}.{key}')
            if obj is None and key in ('CrissCrossAttention', 'PSAMask', 'nms', 'point_sample',
                                       '_sigmoid_focal_loss',
                                       'get_uncertain_point_coords_with_randomness'):
                left.append(f'{name}.{key}')
assert not left, left
import mmcv.ops, torch
import mmdet.structures.mask.structures as structures
import mmdet.utils.large_image as large_image
import mmdet.models.losses.focal_loss as focal_loss
assert structures.roi_align == mmcv.ops.roi_align
assert large_image.batched_nms is mmcv.ops.batched_nms
assert focal_loss._sigmoid_focal_loss == mmcv.ops.sigmoid_focal_loss
assert focal_loss.sigmoid_focal_loss.__module__ == 'mmdet.models.losses.focal_loss'
assert mmdet.structures.bbox.bbox_overlaps.__module__.startswith('mmdet.')
assert mmdet.models.detectors.dino.MultiScaleDeformableAttention is (
    mmcv.ops.MultiScaleDeformableAttention)
assert mmdet.models.dense_heads.clr_head.clr_head.nms is mmcv.ops.line_nms
assert mmseg.models.decode_heads.san_head.point_sample is mmcv.ops.point_sample
assert MODELS.get('MaskRCNN') and MODELS.get('SingleRoIExtractor')
'''
BEFORE = {
    'first': '',
    'after what works without ops':
        'import mmdet.structures, mmdet.utils, mmdet.evaluation, mmseg.apis\n'
        'import mmdet.structures.bbox\n',
    'after an import that failed':
        'try:\n    import mmdet.models, mmdet.models.roi_heads.roi_extractors\n'
        'except ImportError:\n    pass\n',
}


@pytest.mark.parametrize('before', BEFORE.values(), ids=BEFORE)
def test_import_order(before):
    check(before + INSTALL + COMPLETE)


def test_mmdet_is_not_imported_by_install():
    check('import mmcv.cnn, sys\n' + INSTALL_ALONE +
          'assert not any(name.startswith(("mmdet", "mmseg")) for name in sys.modules)\n'
          'import mmcv.cnn.bricks.transformer as t, mmcv.ops\n'
          'assert t.MultiScaleDeformableAttention is mmcv.ops.MultiScaleDeformableAttention')


def test_second_import_of_mmcv_ops():
    check('from importlib.util import find_spec\n'
          'compiled = find_spec("mmcv._ext")\n'
          'try:\n    import mmcv.ops\nexcept ImportError:\n    assert not compiled\n' + INSTALL +
          'import mmcv.ops, torch\n'
          'box = torch.tensor([[0., 0., 2., 2.]])\n'
          'assert mmcv.ops.nms(box, torch.ones(1), 0.5)[1].tolist() == [0]')
