"""What pre-training gives, beside training from scratch, on data of your own.

A backbone learns to tell formulas of contours apart (mmtrtvit.datasets.make_contours), as a
classifier. Then the same recipe trains on your data for each seed: from scratch, and from that
backbone. With --teacher also from one that was distilled: from your training images without their
labels it has learnt the features of TRT-ViT-A, which has learnt contours. The validation after the
last epoch counts, and of the seeds the median. What was trained before is not trained again.

Examples:
  python benchmarks/transfer.py --folders data/digits            # train/CLASS, val/CLASS
  python benchmarks/transfer.py --folders data/digits --model trtvit_a --amp
  python benchmarks/transfer.py --coco data/bccd --epochs 20     # train.json, val.json
  python benchmarks/transfer.py --coco data/bccd --teacher trtvit_a.pth
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from common import Conditions, save, table
from tqdm import tqdm
from transfer_configs import MODELS, classifier, detector, distilled, image_folder

from mmtrtvit.arguments import positive
from mmtrtvit.datasets import make_contours
from mmtrtvit.engine.amp import use_amp
from mmtrtvit.engine.command_line import new_parser, run_tool
from mmtrtvit.engine.config import read_config
from mmtrtvit.engine.runner import train as train_model
from mmtrtvit.errors import UserError
from mmtrtvit.files import write_whole
from mmtrtvit.models.conversion import convert_weights

SCRATCH, CONTOURS, DISTILLED = 'scratch', 'contours', 'distilled'
METRICS = {'accuracy/top1': 'top-1', 'coco/bbox_mAP': 'AP'}
PRETRAIN_BATCH = 32
RUN = 'run'  # folder of a training in its work dir


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    add = parser.add_argument
    add('--folders', type=Path, metavar='DIR', help='data for a classifier: train/ and val/CLASS')
    add('--coco', type=Path, metavar='DIR', help='data for a detector, as convert-data writes them')
    add('--model', choices=MODELS, default='efficientvit_m2', help='(default: %(default)s)')
    add('--seeds', type=int, nargs='+', default=[0, 1, 2], metavar='N')
    add('--epochs', type=positive, default=20, help='(default: %(default)s)')
    add('--batch', type=positive, default=16, help='(default: %(default)s)')
    add('--size', type=positive, default=96, help='side of images (default: %(default)s)')
    add('--amp', action='store_true', help='mixed precision, where the device has it')
    add('--formulas', type=positive, default=200, help='of contours (default: %(default)s)')
    add('--images', type=positive, default=30, help='of each formula (default: %(default)s)')
    add('--pretrain-epochs', type=positive, default=10, help='(default: %(default)s)')
    add('--pretrain-size', type=positive, help='side of contours (default: as --size)')
    add('--teacher', type=Path, metavar='FILE', help='a backbone of TRT-ViT-A, which teaches')
    add('--teach-epochs', type=positive, default=30, help='(default: %(default)s)')
    add('--work-dir', type=Path, default=Path('work_dirs/transfer'), help='(default: %(default)s)')
    add(
        '--out',
        type=Path,
        metavar='FILE.csv',
        help='(default: benchmarks/results/transfer_<device>_<versions>_<date>.csv)',
    )
    args = parser.parse_args()
    if bool(args.folders) == bool(args.coco):
        parser.error('name data: either --folders or --coco')
    return args


def main(args: argparse.Namespace) -> None:
    args.work_dir = args.work_dir.absolute()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    args.data = (args.folders or args.coco).absolute()
    for name in ('train', 'val') if args.folders else ('train.json', 'val.json'):
        if not (args.data / name).exists():
            raise UserError(f'{args.data} has no {name}. --help says what is expected there.')
    backbones = {SCRATCH: None, CONTOURS: pretrain(args)}
    if args.teacher:
        backbones[DISTILLED] = distil(args)
    values: dict[str, dict[int, float]] = {start: {} for start in backbones}
    bar = tqdm([(seed, start) for seed in args.seeds for start in backbones], 'runs')
    for seed, start in bar:
        metric, values[start][seed] = fine_tune(args, seed, start, backbones[start])
        bar.set_postfix_str(f'{start} {values[start][seed]:.4g}')
    labels = dict(data=args.data.name, model=args.model, metric=METRICS[metric])
    labels |= dict(height=args.size, width=args.size, batch=args.batch, epochs=args.epochs)
    rows = summary(values, labels)
    settings = Conditions(
        threads=torch.get_num_threads(),
        dtype='bf16' if args.amp else 'fp32',
        rounds=len(args.seeds),
    )
    path = save(rows, 'transfer', settings, ('timm', 'onedl-mmpretrain'), args.out)
    print(table(rows, [*rows[0]]))
    print(path)


def summary(values: dict[str, dict[int, float]], labels: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each start, in percent: of each seed, their median and range, and what is gained.

    Args:
        values: By start and seed.
        labels: Columns that all rows share.
    """
    rows = []
    base = statistics.median(values[SCRATCH].values())
    for start, by_seed in values.items():
        median = statistics.median(by_seed.values())
        row = labels | dict(start=start)
        row |= {f'seed_{seed}': f'{value:.1f}' for seed, value in by_seed.items()}
        row |= dict(
            median=f'{median:.1f}',
            spread=f'{max(by_seed.values()) - min(by_seed.values()):.1f}',
            gain='' if start == SCRATCH else f'{median - base:+.1f}',
        )
        rows.append(row)
    return rows


def pretrain(args: argparse.Namespace) -> Path:
    """Trains the backbone on contours, unless that was done; returns its weights."""
    size = args.pretrain_size or args.size
    amount = f'{args.formulas}x{args.images}_{size}px'
    root = args.work_dir / f'contours_{amount}'
    with tqdm(total=args.formulas * (args.images + 1), desc='contours', leave=False) as bar:
        make_contours(root, args.formulas, train=args.images, size=size, progress=bar.update)
    classes = sorted(path.name for path in (root / 'training').iterdir())
    config = classifier(
        args.model, root, classes, size=size, batch=PRETRAIN_BATCH, epochs=args.pretrain_epochs,
        train='training', val='validation',
    )  # fmt: skip
    work_dir = args.work_dir / f'{args.model}_{amount}_{args.pretrain_epochs}'
    train(config, work_dir, amp=args.amp)
    tqdm.write(f'contours: {last(work_dir / RUN)[1]:.4g} % top-1 of {args.formulas} formulas')
    return backbone(work_dir)


def distil(args: argparse.Namespace) -> Path:
    """Has the backbone learn from the teacher, unless that was done; returns its weights."""
    size = args.pretrain_size or args.size
    work_dir = args.work_dir / f'{args.data.name}_{args.model}_taught_{size}px_{args.teach_epochs}'
    work_dir.mkdir(parents=True, exist_ok=True)
    images = work_dir / 'images.txt'
    images.write_text('\n'.join(training_images(args)) + '\n')
    config = distilled(
        args.model, args.data, images, args.teacher.absolute(), size=size, batch=PRETRAIN_BATCH,
        epochs=args.teach_epochs,
    )  # fmt: skip
    train(config, work_dir, amp=args.amp)
    return backbone(work_dir)


def training_images(args: argparse.Namespace) -> list[str]:
    """The training images below the folder of the data."""
    if args.coco:
        folder = image_folder(args.data)
        images = json.loads((args.data / 'train.json').read_text())['images']
        return [folder + image['file_name'] for image in images]
    files = (args.data / 'train').rglob('*')
    return sorted(str(path.relative_to(args.data)) for path in files if path.is_file())


def backbone(work_dir: Path) -> Path:
    """Cuts the backbone out of what was trained, unless that was done."""
    weights = work_dir / 'backbone.pth'
    if not weights.exists():
        convert_weights(work_dir / RUN, weights)
    return weights


def fine_tune(
    args: argparse.Namespace, seed: int, start: str, weights: Path | None
) -> tuple[str, float]:
    """Trains on the data of the user; returns the name of the metric and its value in percent."""
    work_dir = args.work_dir / (
        f'{args.data.name}_{args.model}_{start}_{args.size}px_{args.epochs}_{seed}'
    )
    if args.folders:
        make, scale = classifier, 1
        classes = sorted(path.name for path in (args.data / 'train').iterdir() if path.is_dir())
    else:
        make, scale = detector, 100
        categories = json.loads((args.data / 'train.json').read_text())['categories']
        classes = [category['name'] for category in categories]
    config = make(
        args.model, args.data, classes, size=args.size, batch=args.batch, epochs=args.epochs,
        seed=seed, backbone=weights,
    )  # fmt: skip
    train(config, work_dir, amp=args.amp)
    metric, value = last(work_dir / RUN)
    return metric, scale * value


def train(config: str, work_dir: Path, *, amp: bool) -> None:
    """Trains, unless that was done."""
    done = work_dir / 'done'
    if not done.exists():
        work_dir.mkdir(parents=True, exist_ok=True)
        path = work_dir / 'config.py'
        path.write_text(config)
        read = read_config(path, dict(log_level='WARNING'), work_dir=work_dir / RUN)
        if amp and (notice := use_amp(read)):
            tqdm.write(notice)
        train_model(read, resume='auto')
        write_whole(done, '')


def last(work_dir: Path) -> tuple[str, float]:
    """The name and value of the last validation that a work dir's logs have."""
    found = []
    for log in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in log.read_text().splitlines():
            found += [each for each in json.loads(line).items() if each[0] in METRICS]
    if not found:
        raise UserError(f'{work_dir} has no validation in its logs.')
    return found[-1]


if __name__ == '__main__':
    run_tool(main, parse_args())
