"""mmcv.ops on top of mmtrtvit's stand-in for mmcv._ext."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mmtrtvit import _mmcv_ext as EXT
from mmtrtvit import mmcv_ops

mmcv_ops.install()

import mmcv.ops  # noqa: E402

SERVED = {
    'nms',
    'roi_align_forward',
    'roi_align_backward',
    'sigmoid_focal_loss_forward',
    'sigmoid_focal_loss_backward',
    'get_compiler_version',
    'get_compiling_cuda_version',
}


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    """Has mmcv.ops use the stand-in even where mmcv is compiled."""
    for name in ('nms', 'roi_align', 'focal_loss', 'info', 'deform_conv'):
        module = sys.modules[f'mmcv.ops.{name}']
        if hasattr(module, 'ext_module'):
            monkeypatch.setattr(module, 'ext_module', EXT)
    torch.manual_seed(0)


def greedy_nms(boxes, scores, threshold, offset=0):
    """Indices kept, by descending score and then by index, in Python floats."""
    boxes, scores = boxes.tolist(), scores.tolist()
    threshold = float(np.float32(threshold))
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        x1, y1, x2, y2 = boxes[i]
        for k in kept:
            u1, v1, u2, v2 = boxes[k]
            inter = max(0, min(x2, u2) - max(x1, u1) + offset) * max(
                0, min(y2, v2) - max(y1, v1) + offset
            )
            union = (
                (x2 - x1 + offset) * (y2 - y1 + offset)
                + (u2 - u1 + offset) * (v2 - v1 + offset)
                - inter
            )
            if union and inter / union > threshold:
                break
        else:
            kept.append(i)
    return kept


def random_boxes(n, integer=False):
    xy, wh = torch.rand(n, 2) * 40, torch.rand(n, 2) * 20
    boxes = torch.cat([xy, xy + wh], dim=1)
    return boxes.round() if integer else boxes


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.1, 0.6])
@pytest.mark.parametrize('integer', [False, True])
def test_nms_is_greedy(offset, threshold, integer):
    boxes, scores = random_boxes(120, integer=integer), torch.rand(120)
    dets, keep = mmcv.ops.nms(boxes, scores, threshold, offset=offset)
    expected = greedy_nms(boxes, scores, threshold, offset)
    assert keep.tolist() == expected
    assert 1 < len(expected) < 120
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], dim=1)[expected])


def test_nms_keeps_a_box_whose_iou_is_the_threshold():
    # IoU 3 / 5, in float32 above the double 0.6 and equal to the float32 that mmcv compares with.
    boxes = torch.tensor([[0.0, 0.0, 5.0, 1.0], [0.0, 0.0, 3.0, 1.0]])
    assert mmcv.ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.6)[1].tolist() == [0, 1]
    assert mmcv.ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.59)[1].tolist() == [0]


def test_nms_breaks_ties_by_index():
    boxes = random_boxes(200, integer=True)
    scores = torch.randint(0, 4, (200,)) / 4
    assert mmcv.ops.nms(boxes, scores, 0.3)[1].tolist() == greedy_nms(boxes, scores, 0.3)


def test_nms_of_degenerate_boxes_and_of_none():
    boxes = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 4.0, 4.0]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert mmcv.ops.nms(boxes, scores, 0.5)[1].tolist() == [0, 1, 2]
    assert mmcv.ops.nms(boxes, scores, 0.5, offset=1)[1].tolist() == [0, 2]
    dets, keep = mmcv.ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5, offset=1)
    assert dets.shape == (0, 5)
    assert keep.shape == (0,) and keep.dtype == torch.int64


def test_nms_score_threshold_and_max_num():
    boxes, scores = random_boxes(80), torch.rand(80)
    valid = (scores > 0.4).nonzero().flatten()
    expected = valid[greedy_nms(boxes[valid], scores[valid], 0.3)][:5].tolist()
    dets, keep = mmcv.ops.nms(boxes, scores, 0.3, score_threshold=0.4, max_num=5)
    assert keep.tolist() == expected
    assert torch.equal(dets[:, 4], scores[expected])


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16, torch.float64])
@pytest.mark.parametrize('score_dtype', [None, torch.float32])
def test_nms_dtypes(dtype, score_dtype):
    boxes, scores = random_boxes(60).to(dtype), torch.rand(60).to(score_dtype or dtype)
    keep = EXT.nms(boxes, scores, iou_threshold=0.3, offset=1)
    assert keep.tolist() == greedy_nms(boxes.double(), scores.double(), 0.3, 1)


@pytest.mark.parametrize(
    'cfg',
    [{}, {'split_thr': 10}, {'split_thr': 10, 'max_num': 7}, {'class_agnostic': True}],
    ids=str,
)
def test_batched_nms(cfg):
    boxes, scores, labels = random_boxes(90), torch.rand(90), torch.randint(0, 4, (90,))
    if cfg.get('class_agnostic'):
        expected = greedy_nms(boxes, scores, 0.3)
    else:
        groups = [(labels == c).nonzero().flatten() for c in range(4)]
        kept = torch.cat([g[greedy_nms(boxes[g], scores[g], 0.3)] for g in groups])
        expected = kept[scores[kept].argsort(descending=True)].tolist()
    nms_cfg = {'type': 'nms', 'iou_threshold': 0.3, **cfg}
    dets, keep = mmcv.ops.batched_nms(boxes, scores, labels, nms_cfg)
    assert keep.tolist() == expected[: cfg.get('max_num')]
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], dim=1)[keep])


def bilinear(plane, y, x):
    """Value of an (H, W) array at a point: 0 beyond one pixel outside, else the edge repeated."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    rows = np.maximum(0.0, 1 - abs(y - np.arange(height)))
    cols = np.maximum(0.0, 1 - abs(x - np.arange(width)))
    return rows @ plane @ cols


def reference_roi_align(features, rois, size, scale, ratio, aligned):
    features, rois = features.double().numpy(), rois.double().numpy()
    out = np.zeros((len(rois), features.shape[1], *size))
    for n, (image, *box) in enumerate(rois):
        x1, y1, x2, y2 = (v * scale - (0.5 if aligned else 0) for v in box)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        rows = ratio or math.ceil(height / size[0])
        cols = ratio or math.ceil(width / size[1])
        for c, i, j in np.ndindex(out.shape[1:]):
            samples = [
                bilinear(
                    features[int(image), c],
                    y1 + (i + (r + 0.5) / rows) * height / size[0],
                    x1 + (j + (s + 0.5) / cols) * width / size[1],
                )
                for r in range(rows)
                for s in range(cols)
            ]
            out[n, c, i, j] = sum(samples) / max(len(samples), 1)
    return torch.from_numpy(out)


FEATURES = (2, 2, 6, 7)
ROIS = torch.tensor(
    [
        [0, 2.2, 3.1, 17.3, 14.9],
        [1, -9.0, -7.0, 12.4, 11.0],  # partly outside, more than a pixel
        [1, 15.5, 12.25, 40.0, 33.0],
        [0, 60.0, 60.0, 70.0, 70.0],  # outside
        [0, 5.3, 6.1, 5.3, 6.1],  # without area
        [1, 5.3, 6.1, 6.2, 20.0],
    ]
)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('scale', [0.25, 1 / 3])
def test_roi_align(aligned, ratio, scale):
    features = torch.randn(FEATURES)
    out = mmcv.ops.RoIAlign((3, 2), scale, ratio, 'avg', aligned)(features, ROIS)
    expected = reference_roi_align(features, ROIS, (3, 2), scale, ratio, aligned)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), expected, rtol=1e-4, atol=1e-5)
    assert out[[0, 1, 2, 5]].abs().amax(dim=(1, 2, 3)).min() > 0.01


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_align_gradient(aligned, ratio):
    features = torch.randn(FEATURES, dtype=torch.float64, requires_grad=True)

    def pool(x):
        return mmcv.ops.roi_align(x, ROIS.double(), (2, 3), 0.25, ratio, 'avg', aligned)

    assert torch.autograd.gradcheck(pool, features)


@pytest.mark.parametrize('images', [0, 2])
def test_roi_align_of_no_rois(images):
    features = torch.randn(images, 3, 5, 5, requires_grad=True)
    out = mmcv.ops.roi_align(features, torch.zeros(0, 5), 7, 0.25, 0, 'avg', True)
    assert out.shape == (0, 3, 7, 7)
    out.sum().backward()
    assert torch.equal(features.grad, torch.zeros_like(features))


@pytest.mark.parametrize(
    ('dtype', 'roi_dtype'),
    [
        (torch.half, torch.half),
        (torch.bfloat16, torch.bfloat16),
        (torch.half, torch.float32),
        (torch.float32, torch.half),
        (torch.float32, torch.float64),
        (torch.float64, torch.float32),
    ],
)
def test_roi_align_dtypes(dtype, roi_dtype):
    rois, features = ROIS[:3].to(roi_dtype), torch.randn(FEATURES).to(dtype)
    # Exactly the rounded float32 result, that is, nothing was accumulated in the narrow type.
    wide = torch.promote_types(dtype, torch.float32)
    results = []
    for x, boxes in ((features, rois), (features.to(wide), rois.to(wide))):
        x.requires_grad_()
        out = mmcv.ops.roi_align(x, boxes, (2, 2), 0.25, 2, 'avg', True)
        results.append((out, *torch.autograd.grad(out.sum(), x)))
    for narrow, exact in zip(*results):
        assert narrow.dtype == dtype
        assert torch.equal(narrow, exact.to(dtype))


def reference_focal_loss(logits, target, gamma, alpha, weight=None):
    loss = torch.zeros_like(logits)
    for n, c in np.ndindex(logits.shape):
        p, t = 1 / (1 + torch.exp(-logits[n, c])), int(target[n])
        if c != t:
            p = 1 - p
        factor = (alpha if c == t else 1 - alpha) * (
            1 if weight is None or t == logits.size(1) else weight[t]
        )
        loss[n, c] = -factor * (1 - p) ** gamma * torch.log(p)
    return loss


@pytest.mark.parametrize(('gamma', 'alpha'), [(2.0, 0.25), (0.0, 0.5), (1.5, 0.9)])
@pytest.mark.parametrize('weighted', [False, True])
def test_sigmoid_focal_loss(gamma, alpha, weighted):
    logits = (torch.randn(6, 3, dtype=torch.float64) * 3).requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 3, 1])  # 3 is background
    weight = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64) if weighted else None
    expected = reference_focal_loss(logits, target, gamma, alpha, weight)
    loss = mmcv.ops.sigmoid_focal_loss(logits, target, gamma, alpha, weight, 'none')
    torch.testing.assert_close(loss, expected, rtol=1e-11, atol=1e-11)
    upstream = torch.randn_like(expected)
    grads = [torch.autograd.grad(x, logits, upstream) for x in (loss, expected)]
    torch.testing.assert_close(*grads, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_sigmoid_focal_loss_of_narrow_types(dtype):
    logits = torch.randn(5, 4).to(dtype)
    results = []
    for x in (logits, logits.float()):
        x.requires_grad_()
        loss = mmcv.ops.sigmoid_focal_loss(x, torch.arange(5), 2.0, 0.25, None, 'none')
        results.append((loss, *torch.autograd.grad(loss, x, torch.ones_like(loss))))
    for narrow, exact in zip(*results):
        assert narrow.dtype == dtype
        assert torch.equal(narrow, exact.to(dtype))


def test_sigmoid_focal_loss_of_extreme_logits():
    logits = torch.tensor([[120.0, -120.0], [-120.0, 120.0]], requires_grad=True)
    loss = mmcv.ops.sigmoid_focal_loss(logits, torch.tensor([0, 0]), 0.5, 0.25, None, 'none')
    torch.testing.assert_close(loss, torch.tensor([[0.0, 0.0], [30.0, 90.0]]))
    (grad,) = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(grad, torch.tensor([[0.0, 0.0], [-0.25, 0.75]]))


def test_every_other_op_raises_its_name():
    source = ''.join(p.read_text() for p in Path(mmcv.ops.__file__).parent.glob('*.py'))
    called = {part.split('(')[0] for part in source.split('ext_module.')[1:]}
    others = sorted(name for name in called if name.isidentifier() and name not in SERVED)
    assert {'softnms', 'nms_rotated', 'deform_conv_forward', 'ms_deform_attn_forward'} <= {*others}
    assert called >= SERVED
    for name in others:
        with pytest.raises(RuntimeError, match=rf"^mmcv op '{name}' needs an mmcv .* compiled"):
            getattr(EXT, name)(torch.zeros(1), key=1)
    assert not hasattr(EXT, '__wrapped__')
    assert mmcv.ops.get_compiler_version().startswith('not compiled (torchvision')
    assert mmcv.ops.get_compiling_cuda_version().startswith('not compiled (torchvision')


@pytest.mark.parametrize(
    ('op', 'call'),
    [
        ("mmcv op 'softnms'", lambda: mmcv.ops.soft_nms(torch.zeros(1, 4), torch.zeros(1))),
        (
            "mmcv op 'deform_conv_forward'",
            lambda: mmcv.ops.DeformConv2d(1, 1, 1)(
                torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 4, 4)
            ),
        ),
        (
            "roi_align with pool_mode='max'",
            lambda: mmcv.ops.roi_align(torch.zeros(FEATURES), ROIS, 2, 0.25, 0, 'max', True),
        ),
    ],
)
def test_ops_of_mmcv_raise_their_name(op, call):
    with pytest.raises(RuntimeError, match=f'{op} needs an mmcv'):
        call()


def check(code, *path):
    """Runs code in a fresh interpreter that finds mmtrtvit, and first of all what is in path."""
    places = [*map(str, path), str(Path(EXT.__file__).parents[1])]
    env = dict(
        os.environ, OMP_NUM_THREADS='1', PYTHONWARNINGS='ignore', PYTHONPATH=os.pathsep.join(places)
    )
    result = subprocess.run(
        [sys.executable, '-c', code], env=env, capture_output=True, text=True, timeout=900
    )
    assert result.returncode == 0, result.stderr


# install() without the rest of the package and what that imports.
INSTALL = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location('mmcv_ops', {mmcv_ops.__file__!r})
mmcv_ops = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mmcv_ops)
mmcv_ops.install()
"""


def test_install_is_cheap_and_idempotent():
    check(
        INSTALL + 'mmcv_ops.install()\n'
        'assert sys.meta_path.count(mmcv_ops._ExtFinder) == 1\n'
        'assert sys.meta_path[-1] is mmcv_ops._ExtFinder\n'
        'assert not {"mmcv", "mmdet", "mmseg", "torch", "torchvision"} & set(sys.modules)'
    )


@pytest.fixture
def bare_mmcv(tmp_path):
    """A folder with an mmcv package that has nothing in it."""
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv/__init__.py').write_text('')
    return tmp_path


def test_find_spec(bare_mmcv):
    check(
        INSTALL + 'find_spec = importlib.util.find_spec\n'
        f'assert find_spec("mmcv._ext").origin == {EXT.__file__!r}\n'
        'assert find_spec("mmcv._other") is None\n'
        'assert "torch" not in sys.modules',
        bare_mmcv,
    )


@pytest.mark.parametrize(
    ('source', 'outcome'),
    [
        ('nms = "compiled"\n', 'compiled'),
        ('raise ImportError("undefined symbol: _ZN2at4")\n', 'undefined symbol: _ZN2at4'),
    ],
)
def test_compiled_ext_is_left_alone(bare_mmcv, source, outcome):
    (bare_mmcv / 'mmcv/_ext.py').write_text(source)
    check(
        INSTALL + 'try:\n    from mmcv._ext import nms\nexcept ImportError as e:\n'
        f'    nms = str(e)\nassert nms == {outcome!r}, nms',
        bare_mmcv,
    )


# Run where mmdet and mmseg are complete: no placeholder of an op that is served is left, and
# nothing of theirs that merely has the name of an op was replaced.
COMPLETE = """
import mmtrtvit
import sys
import mmdet.models, mmdet.apis, mmdet.utils.large_image, mmseg.models, mmcv.ops, numpy as np, torch
from mmdet.models.dense_heads.clr_head import clr_head
from mmdet.models.detectors import dino
from mmdet.models.layers import multiclass_nms
from mmdet.models.losses import focal_loss
from mmdet.registry import MODELS
from mmdet.structures.mask import BitmapMasks, structures
from mmseg.models.decode_heads import cc_head, point_head
from mmseg.models.losses import focal_loss as mmseg_focal_loss
from mmseg.utils import mask_classification
left = set()
for name, module in list(sys.modules.items()):
    for key, obj in list(vars(module).items()) if name.startswith(('mmdet.', 'mmseg.')) else ():
        body = obj.__init__ if isinstance(obj, type) else obj
        consts = getattr(getattr(body, '__code__', None), 'co_consts', ())
        if any('mmcv to be compiled with' in str(const) for const in consts):
            left.add(key.lstrip('_'))
assert not left & {'batched_nms', 'nms', 'roi_align', 'sigmoid_focal_loss', 'point_sample',
                   'rel_roi_point_to_rel_img_point', 'MultiScaleDeformableAttention'}, left
assert structures.roi_align == mmcv.ops.roi_align
assert mmdet.utils.large_image.batched_nms is mmcv.ops.batched_nms
for module in (focal_loss, mmseg_focal_loss):
    assert module._sigmoid_focal_loss == mmcv.ops.sigmoid_focal_loss
    assert module.sigmoid_focal_loss.__module__ == module.__name__
assert dino.MultiScaleDeformableAttention is mmcv.ops.MultiScaleDeformableAttention
assert clr_head.nms is not mmcv.ops.nms
assert cc_head.CrissCrossAttention is mmcv.ops.CrissCrossAttention
assert point_head.point_sample is mask_classification.point_sample is mmcv.ops.point_sample
assert MODELS.get('MaskRCNN') and MODELS.get('SingleRoIExtractor')
box = torch.tensor([[0., 0., 4., 4.]])
cfg = {'type': 'nms', 'iou_threshold': 0.5}
assert len(multiclass_nms(box.repeat(2, 1), torch.tensor([[.9, 0.], [.8, 0.]]), .1, cfg)[0]) == 1
masks = BitmapMasks([np.ones((8, 8), 'uint8')], 8, 8)
assert masks.crop_and_resize(box.numpy(), (2, 2), np.zeros(1, int), 'cpu').masks.all()
"""
BEFORE = {
    'mmtrtvit first': '',
    'after what works without ops': (
        'import mmdet.utils.large_image, mmdet.evaluation, mmseg.apis, mmseg.models\n'
    ),
    'after an import that failed': 'try:\n    import mmdet.models\nexcept ImportError:\n    pass\n',
}


@pytest.mark.parametrize('before', BEFORE.values(), ids=BEFORE)
def test_import_order(before):
    check(before + COMPLETE)
