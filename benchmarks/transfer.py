"""What pre-training on generated contours gives, beside training from scratch, on data of your own.

A backbone learns to tell formulas of contours apart (mmtrtvit.datasets.make_contours), as a
classifier. Then the same recipe trains on your data twice for each seed: from scratch, and from
that backbone. Of each the best validation of the training counts, and of the seeds the median.

Examples:
  python benchmarks/transfer.py --folders data/digits            # train/CLASS, val/CLASS
  python benchmarks/transfer.py --coco data/bccd --epochs 20     # train.json, val.json, images/
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from mmtrtvit.arguments import positive
from mmtrtvit.datasets import make_contours
from mmtrtvit.engine.command_line import new_parser, run_tool
from mmtrtvit.errors import UserError
from mmtrtvit.files import write_whole
from mmtrtvit.tables import format_rows

MODELS = {
    'trtvit_a': dict(type='TRTViT', arch='a', channels=[256, 512, 1024, 1024], last=3),
    'efficientvit_m0': dict(type='EfficientViT', arch='m0', channels=[64, 128, 192], last=2),
    'efficientvit_m2': dict(type='EfficientViT', arch='m2', channels=[128, 192, 224], last=2),
}
SCRATCH, PRETRAINED = 'scratch', 'contours'
RUN = 'run'  # folder of a training in its work dir

CLASSIFIER = """
_base_ = __import__('mmtrtvit').config_path('classification/demo_trtvit_a.py')
metainfo = dict(classes={classes})
model = dict(
    backbone=dict(_delete_=True, type='{type}', arch='{arch}', out_indices=({last},){init}),
    head=dict(in_channels={width}))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale={size}, crop_ratio_range=(0.5, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs')]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=({size}, {size})),
    dict(type='PackInputs')]
train_dataloader = dict(
    batch_size={batch},
    dataset=dict(data_root='{root}', data_prefix='{train}', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=64, dataset=dict(data_root='{root}', data_prefix='{val}', pipeline=test_pipeline))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs={epochs})
randomness = dict(seed={seed})
"""

DETECTOR = """
_base_ = __import__('mmtrtvit').config_path('demo/retinanet_trtvit_b.py')
metainfo = dict(classes={classes})
model = dict(
    backbone=dict(_delete_=True, type='{type}', arch='{arch}', out_indices={indices}{init}),
    neck=dict(in_channels={channels}, out_channels=128),
    bbox_head=dict(
        num_classes={count}, in_channels=128, feat_channels=128, stacked_convs=2,
        anchor_generator=dict(strides={strides})))
scale = ({size}, {size})
train_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=scale, keep_ratio=True), dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')]
test_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
root = '{root}/'
train_dataloader = dict(batch_size={batch}, dataset=dict(
    data_root=root, ann_file='train.json', data_prefix=dict(img='images/'),
    pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(
    data_root=root, ann_file='val.json', data_prefix=dict(img='images/'), pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=root + 'val.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs={epochs})
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', T_max={epochs}, eta_min_ratio=0.01, by_epoch=True,
         convert_to_iter_based=True)]
randomness = dict(seed={seed})
"""


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument(
        '--folders', type=Path, metavar='DIR', help='data for a classifier: train/CLASS, val/CLASS'
    )
    parser.add_argument(
        '--coco', type=Path, metavar='DIR', help='data for a detector: train.json, val.json, images'
    )
    parser.add_argument(
        '--model', choices=MODELS, default='efficientvit_m2', help='(default: %(default)s)'
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], metavar='N')
    parser.add_argument('--epochs', type=positive, default=20, help='(default: %(default)s)')
    parser.add_argument('--batch', type=positive, default=16, help='(default: %(default)s)')
    parser.add_argument(
        '--size', type=positive, default=96, help='side of images (default: %(default)s)'
    )
    parser.add_argument('--formulas', type=positive, default=200, help='(default: %(default)s)')
    parser.add_argument(
        '--images', type=positive, default=30, help='of each formula (default: %(default)s)'
    )
    parser.add_argument(
        '--pretrain-epochs', type=positive, default=10, help='(default: %(default)s)'
    )
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/transfer'), help='(default: %(default)s)'
    )
    parser.add_argument('--csv', type=Path, metavar='FILE', help='write every run to this file')
    args = parser.parse_args()
    if bool(args.folders) == bool(args.coco):
        parser.error('name data: either --folders or --coco')
    return args


def main(args: argparse.Namespace) -> None:
    args.work_dir = args.work_dir.absolute()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    begun = pretrain(args)
    rows = []
    bar = tqdm([(seed, start) for seed in args.seeds for start in (SCRATCH, PRETRAINED)], 'runs')
    for seed, start in bar:
        backbone = begun if start == PRETRAINED else None
        metric, value = fine_tune(args, seed, start, backbone)
        rows.append(dict(model=args.model, start=start, seed=seed, metric=metric, value=value))
        bar.set_postfix_str(f'{start} {value:.4g}')
    if args.csv:
        lines = [','.join(rows[0]), *(','.join(map(str, row.values())) for row in rows)]
        write_whole(args.csv, '\n'.join(lines) + '\n')
    print(format_rows([*table(rows)]))


def table(rows: Sequence[dict]) -> list[list[str]]:
    """The values of all seeds and their median, a line for each start."""
    seeds = sorted({row['seed'] for row in rows})
    lines = [[rows[0]['metric'], *(f'seed {seed}' for seed in seeds), 'median']]
    for start in (SCRATCH, PRETRAINED):
        values = [row['value'] for row in rows if row['start'] == start]
        lines.append([start, *(f'{value:.4g}' for value in [*values, statistics.median(values)])])
    return lines


def pretrain(args: argparse.Namespace) -> Path:
    """Trains the backbone on contours, unless that was done; returns the checkpoint."""
    amount = f'{args.formulas}x{args.images}_{args.size}px'
    root = args.work_dir / f'contours_{amount}'
    with tqdm(total=args.formulas * (args.images + 1), desc='contours', leave=False) as bar:
        make_contours(root, args.formulas, train=args.images, size=args.size, progress=bar.update)
    work_dir = args.work_dir / f'{args.model}_{amount}_{args.pretrain_epochs}'
    checkpoint = work_dir / 'backbone.pth'
    if not checkpoint.exists():
        classes = tuple(sorted(path.name for path in (root / 'training').iterdir()))
        config = classifier(
            args, root, classes, epochs=args.pretrain_epochs, train='training', val='validation'
        )
        top1 = train(config, work_dir)[1]
        tqdm.write(f'contours: {top1:.4g} % top-1 of {args.formulas} formulas')
        call(['convert-weights', work_dir / RUN, checkpoint])
    return checkpoint


def fine_tune(
    args: argparse.Namespace, seed: int, start: str, backbone: Path | None
) -> tuple[str, float]:
    """Trains on the data of the user; returns the name of the metric and its best value."""
    data = (args.folders or args.coco).absolute()
    work_dir = args.work_dir / f'{data.name}_{args.model}_{start}_{args.epochs}_{seed}'
    if args.folders:
        classes = tuple(sorted(path.name for path in (data / 'train').iterdir() if path.is_dir()))
        config = classifier(args, data, classes, epochs=args.epochs, seed=seed, backbone=backbone)
    else:
        config = detector(args, data, seed, backbone)
    return train(config, work_dir)


def classifier(
    args: argparse.Namespace,
    root: Path,
    classes: tuple[str, ...],
    *,
    epochs: int,
    seed: int = 0,
    backbone: Path | None = None,
    train: str = 'train',
    val: str = 'val',
) -> str:
    """The config of a classifier of images in folders."""
    model = MODELS[args.model]
    return CLASSIFIER.format(
        **model, classes=classes, width=model['channels'][-1], root=root, epochs=epochs, seed=seed,
        train=train, val=val, batch=args.batch, size=args.size, init=init(backbone),
    )  # fmt: skip


def detector(args: argparse.Namespace, root: Path, seed: int, backbone: Path | None) -> str:
    """The config of a detector of what COCO annotations say."""
    model = MODELS[args.model]
    classes = tuple(
        category['name'] for category in json.loads((root / 'train.json').read_text())['categories']
    )
    ours = model['type'] == 'TRTViT'
    return DETECTOR.format(
        **model | dict(channels=model['channels'][-3:]), classes=classes, count=len(classes),
        root=root, epochs=args.epochs, seed=seed, batch=args.batch, size=args.size,
        init=init(backbone), indices=(1, 2, 3) if ours else (0, 1, 2),
        strides=[8, 16, 32, 64, 128] if ours else [16, 32, 64, 128, 256],
    )  # fmt: skip


def init(backbone: Path | None) -> str:
    return f", init_cfg=dict(type='Pretrained', checkpoint='{backbone}')" if backbone else ''


def train(config: str, work_dir: Path) -> tuple[str, float]:
    """Trains, unless that was done; returns the name of the metric and its best value."""
    done = work_dir / 'best.json'
    if not done.exists():
        work_dir.mkdir(parents=True, exist_ok=True)
        path = work_dir / 'config.py'
        path.write_text(config)
        call(['train', path, '--work-dir', work_dir / RUN, '--resume'])
        write_whole(done, json.dumps(best(work_dir / RUN)))
    metric, value = json.loads(done.read_text())
    return metric, value


def best(work_dir: Path) -> tuple[str, float]:
    """The highest of the validations that a work dir's logs have."""
    found = []
    for log in work_dir.glob('*/vis_data/scalars.json'):
        for line in log.read_text().splitlines():
            found += [
                (name, value)
                for name, value in json.loads(line).items()
                if name in ('accuracy/top1', 'coco/bbox_mAP')
            ]
    if not found:
        raise UserError(f'{work_dir} has no validation in its logs.')
    return max(found, key=lambda each: each[1])


def call(args: Sequence[object]) -> None:
    """Runs one of our commands."""
    command = [sys.executable, '-m', 'mmtrtvit', *map(str, args)]
    done = subprocess.run(command, text=True, capture_output=True)
    if done.returncode:
        raise UserError(f'mmtrtvit {args[0]} ended with {done.returncode}:\n{done.stderr[-3000:]}')


if __name__ == '__main__':
    run_tool(main, parse_args())
