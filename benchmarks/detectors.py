"""Times of whole detectors and their parts, beside MMDetection's own with ResNet-50.

Models are our configs and MMDetection's `retinanet_r50_fpn_1x_coco` and `mask-rcnn_r50_fpn_1x_coco`
(here `retinanet_r50` and `mask_rcnn_r50`), none with weights:
  inference  milliseconds in backbone, neck, heads (RoIAlign included) and post-processing
             (anchors, decoding, NMS, masks), each model as its fused copy. With another --dtype
             than fp32 our backbones are converted to it, all else is autocast. Without weights
             the number of candidates is not realistic: with a --score-threshold of 0 there are
             more of them than ever, with 0.05 hardly any.
  training   milliseconds of a loss and its gradients, with 8 random boxes in each image, and
             images per second.
With --compile, the backbone alone goes through torch.compile.

Examples:
  python benchmarks/detectors.py inference --models retinanet_efficientvit_m4 retinanet_r50
  python benchmarks/detectors.py training --channels-last --dtype bf16 --batches 2
"""

import argparse
import copy
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import numpy as np
import torch
from common import DTYPES, Conditions, conditions, make_parser, save, table
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmtrtvit import config_path
from mmtrtvit.analysis.timing import threads, time_side_by_side
from mmtrtvit.engine.command_line import run_tool
from mmtrtvit.engine.hosts import import_host
from mmtrtvit.errors import UserError
from mmtrtvit.models import EfficientViT, TRTViT, fuse, layers

METHODS = 'retinanet', 'mask_rcnn'
STOCK = dict(
    retinanet_r50='mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
    mask_rcnn_r50='mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
)
OURS = {
    f'{method}_{family.__name__.lower()}_{arch}': f'{method}_{family.__name__.lower()}_{arch}.py'
    for method in METHODS
    for family in (TRTViT, EfficientViT)
    for arch in family.arch_settings
}
CONFIGS = {**OURS, **STOCK}
PARTS = 'backbone', 'neck', 'head'
COLUMNS = dict(
    inference=(
        'model',
        'score_threshold',
        'batch',
        'height',
        'width',
        'milliseconds',
        *PARTS,
        'post_processing',
    ),
    training=('model', 'batch', 'height', 'width', 'milliseconds', 'images_per_second'),
)


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, sizes=[(800, 1344)])
    parser.add_argument('mode', choices=COLUMNS, help='what to measure')
    parser.add_argument(
        '--models',
        nargs='+',
        choices=CONFIGS,
        default=list(CONFIGS),
        metavar='MODEL',
        help='METHOD_BACKBONE, e.g. mask_rcnn_trtvit_c or retinanet_r50 (default: all)',
    )
    parser.add_argument(
        '--score-threshold',
        type=float,
        default=0.0,
        metavar='S',
        help='what a detection needs to be one, in inference (default: 0)',
    )
    parser.add_argument(
        '--channels-last',
        action='store_true',
        help='train in this memory format; fused copies always have it',
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    settings = conditions(args)
    if args.cuda_graphs:
        raise UserError("--cuda-graphs: a detector's post-processing has no fixed shapes")
    import_host('mmdet')
    MMLogger.get_current_instance().setLevel('WARNING')  # or every weight's initialisation is told
    for batch, (height, width) in itertools.product(args.batches, args.sizes):
        labels = dict(mode=args.mode, batch=batch, height=height, width=width)
        inputs = torch.randn(batch, 3, height, width, device=settings.device)
        if args.mode == 'inference':
            found = inference(args.models, inputs, settings, args.score_threshold)
        else:
            found = training(args.models, inputs, settings, args.channels_last)
        for row in found:
            row |= labels
            print(table([row], COLUMNS[args.mode]), flush=True)
            path = save([row], f'detectors-{args.mode}', settings, (), args.out)
    print(path)


def inference(
    names: list[str], inputs: Tensor, settings: Conditions, threshold: float
) -> Iterator[dict[str, Any]]:
    """Measures the parts of models, each model in turn."""
    for name in names:
        model = fuse(build(name, threshold)).to(settings.device)
        if name in OURS:
            model.backbone.to(DTYPES[settings.dtype])
        if settings.compile:
            model.backbone.compile()
        samples = annotations(inputs, with_masks=False)

        def call(model: nn.Module = model, samples: list = samples) -> None:
            with torch.inference_mode(), autocast(settings):
                model.predict(inputs, samples)

        times = []
        with threads(settings.threads), timed_parts(model, settings.device) as parts:
            call()
            for _ in range(settings.rounds):
                parts.clear()
                start = now(settings.device)
                call()
                total = now(settings.device) - start
                times.append(
                    {
                        'milliseconds': total,
                        **{part: parts[part] for part in PARTS},
                        'post_processing': total - sum(parts.values()),
                    }
                )
        yield dict(
            model=name,
            implementation='fused',
            score_threshold=threshold,
            **{key: median(each[key] for each in times) * 1000 for key in times[0]},
        )


def training(
    names: list[str], inputs: Tensor, settings: Conditions, channels_last: bool
) -> Iterator[dict[str, Any]]:
    """Measures the gradients of models side by side."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    prepare = layers.channels_last if channels_last else nn.Identity()
    samples = annotations(inputs, with_masks=True)

    def step(model: nn.Module) -> None:
        model.zero_grad()
        with autocast(settings):
            losses = model.loss(prepare(inputs), copy.deepcopy(samples))
        model.parse_losses(losses)[0].backward()

    functions: dict[str, Callable[[], None]] = {}
    for name in names:
        model = build(name).to(settings.device).to(memory_format=layout).train()
        if settings.compile:
            model.backbone.compile()
        functions[name] = lambda model=model: step(model)
    with threads(settings.threads):
        timings = time_side_by_side(functions, settings.rounds, warmup=1, device=settings.device)
    for name, timing in timings.items():
        yield dict(
            model=name,
            implementation='channels_last' if channels_last else 'contiguous',
            milliseconds=timing.milliseconds,
            fastest=timing.fastest,
            spread=timing.spread,
            images_per_second=len(inputs) / timing.milliseconds * 1000,
        )


def build(name: str, threshold: float = 0.0) -> nn.Module:
    """A detector without weights, in eval mode, with a threshold for its scores."""
    from mmdet.registry import MODELS
    from mmengine.registry import DefaultScope

    config = Config.fromfile(config_path(CONFIGS[name]))
    config.model.backbone.update(init_cfg=None, norm_eval=False)
    thresholds = config.model.test_cfg.get('rcnn', config.model.test_cfg)
    thresholds.score_thr = threshold
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
    model.init_weights()
    return model.eval()


def annotations(inputs: Tensor, with_masks: bool) -> list:
    """Samples with 8 random boxes each, and masks that fill them."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    height, width = inputs.shape[2:]
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(len(inputs)):
        corners = torch.rand(8, 2, 2, generator=generator).sort(dim=1).values
        boxes = (corners * torch.tensor([width - 9.0, height - 9.0])).flatten(1)
        boxes[:, 2:] += 8
        instances = InstanceData(
            bboxes=boxes.to(inputs.device),
            labels=torch.randint(80, (8,), generator=generator).to(inputs.device),
        )
        if with_masks:
            masks = np.zeros((8, height, width), np.uint8)
            for mask, (left, top, right, bottom) in zip(masks, boxes.long().tolist()):
                mask[top:bottom, left:right] = 1
            instances.masks = BitmapMasks(masks, height, width)
        shape = height, width
        sample = DetDataSample(
            metainfo=dict(
                img_shape=shape,
                ori_shape=shape,
                pad_shape=shape,
                batch_input_shape=shape,
                scale_factor=(1.0, 1.0),
            )
        )
        sample.gt_instances = instances
        sample.ignored_instances = InstanceData(bboxes=boxes.new_zeros(0, 4).to(inputs.device))
        samples.append(sample)
    return samples


@contextmanager
def timed_parts(model: nn.Module, device: str) -> Iterator[Counter]:
    """Counts the seconds in the parts of a detector while it computes."""
    modules = dict(backbone=[model.backbone], neck=[model.neck])
    if hasattr(model, 'bbox_head'):
        modules['head'] = [model.bbox_head]
    else:
        roi = model.roi_head
        modules['head'] = [
            model.rpn_head,
            roi.bbox_roi_extractor,
            roi.bbox_head,
            roi.mask_roi_extractor,
            roi.mask_head,
        ]
    seconds, hooks = Counter(), []
    for part, members in modules.items():
        for module in members:

            def start(*_: Any, part: str = part) -> None:
                seconds[part] -= now(device)

            def stop(*_: Any, part: str = part) -> None:
                seconds[part] += now(device)

            hooks += [module.register_forward_pre_hook(start), module.register_forward_hook(stop)]
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()


def autocast(settings: Conditions) -> torch.autocast:
    """Mixed precision, unless it is to be fp32."""
    return torch.autocast(settings.device, DTYPES[settings.dtype], enabled=settings.dtype != 'fp32')


def now(device: str) -> float:
    """Seconds on a clock that waits for a GPU."""
    if device == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == '__main__':
    run_tool(main, parse_args())
