"""Endurance: thousands of images with bad ones among them, and a training that is killed often.

The training is that of a small RetinaNet on generated data. At random moments it gets SIGKILL or
SIGTERM and goes on with --resume; its last checkpoint has to equal that of a training which nobody
interrupted, bit for bit. The trained model is exported, and the runtime looks at copies of the
validation images, one in twenty of them spoilt. Each good image needs a result, the same for each
of its copies; each bad one has to be named. Ends with exit code 1 if anything else happens.

Examples:
  python benchmarks/endurance.py                          # 10,000 images, 50 kills
  python benchmarks/endurance.py --images 200 --kills 3   # a quick look
  python benchmarks/endurance.py --hours 8                # as long as this, images again and again
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm import tqdm

from mmtrtvit.arguments import positive
from mmtrtvit.engine.command_line import new_parser, run_tool
from mmtrtvit.errors import UserError
from mmtrtvit.tables import format_table
from mmtrtvit.weights.checkpoints import newest_checkpoint, read_weights

ROOT = Path(__file__).parents[1]
BAD_SHARE = 20  # one image in so many is spoilt
LARGE_PNG = (  # the header of a PNG of 60000 x 60000 pixels
    b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xea\x60\0\0\xea\x60\x08\x02\0\0\0\xd5\xc1\x8c\x99'
)
CONFIG = f"""
_base_ = '{ROOT}/configs/demo/retinanet_trtvit_b.py'
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, depths=(1, 1, 1, 1), channels=(32, 32, 64, 64))),
    neck=dict(in_channels=[32, 64, 64], out_channels=64),
    bbox_head=dict(in_channels=64, feat_channels=64, stacked_convs=1),
    test_cfg=dict(max_per_img=10))
train_cfg = dict(max_epochs=4)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=4, by_epoch=True)]
"""


def parse_args() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument(
        '--images', type=positive, default=10_000, metavar='N', help='default: 10000'
    )
    parser.add_argument('--kills', type=positive, default=50, metavar='N', help='default: 50')
    parser.add_argument(
        '--hours', type=float, default=0.0, help='look at the images anew until so many are over'
    )
    parser.add_argument('--seed', type=int, default=0, help='of all that is random (default: 0)')
    parser.add_argument(
        '--work-dir', type=Path, metavar='DIR', help='keep everything here (default: nothing stays)'
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    start = time.monotonic()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix='endurance_') as temporary:
        folder = (args.work_dir or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'small.py').write_text(CONFIG)
        call(['make-shapes', 'data/shapes', '--train', '64', '--val', '40', '--size', '96'], folder)
        rows, problems = kill_trainings(folder, args.kills, rng)
        image = next(folder.glob('data/shapes/images/validation/*'))
        deploy_config = ROOT / 'configs/deploy/onnxruntime.py'
        call(['deploy', deploy_config, 'small.py', 'whole', image, '--work-dir', 'export'], folder)
        again = True
        rounds = 0
        while again:
            rounds += 1
            found, wrong = look_at_images(folder, args.images, rng)
            problems += wrong
            again = time.monotonic() - start < args.hours * 3600 and not wrong
        rows.update(found, **{'rounds over the images': rounds})
    rows['hours'] = f'{(time.monotonic() - start) / 3600:.2f}'
    rows['what went wrong'] = len(problems)
    print(format_table(rows), *problems[:20], sep='\n')
    if problems:
        raise UserError(f'{len(problems)} thing(s) went wrong.')


def command(args: Sequence[object]) -> list[str]:
    return [sys.executable, '-m', 'mmtrtvit', *map(str, args)]


def call(args: Sequence[object], folder: Path) -> str:
    """Runs one of our commands; returns what it prints, or raises it as an error."""
    done = subprocess.run(command(args), cwd=folder, text=True, capture_output=True)
    if done.returncode:
        raise UserError(f'mmtrtvit {args[0]} ended with {done.returncode}:\n{done.stderr[-3000:]}')
    return done.stdout


# Trainings


def kill_trainings(folder: Path, kills: int, rng: random.Random) -> tuple[dict, list[str]]:
    """Kills trainings ``kills`` times; returns rows of the table, and what went wrong."""
    begin = time.monotonic()
    call(['train', 'small.py', '--work-dir', 'whole'], folder)
    seconds = time.monotonic() - begin
    expected = last_state(folder / 'whole')
    counts = dict.fromkeys([signal.SIGKILL, signal.SIGTERM], 0)
    inside, finished, problems = 0, 0, []
    bar = tqdm(total=kills, desc='kills', disable=None)
    while bar.n < kills or finished == 0:
        process = subprocess.Popen(
            command(['train', 'small.py', '--work-dir', 'killed', '--resume']),
            cwd=folder,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        wait = rng.uniform(0.1, 1) * seconds if bar.n < kills else None
        try:
            _, errors = process.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            sign = rng.choice(list(counts))
            process.send_signal(sign)
            process.communicate()
            counts[sign] += 1
            inside += newest_is_inside_epoch(folder / 'killed')
            bar.update()
            continue
        if process.returncode:
            problems.append(f'a training ended with {process.returncode}: {errors[-500:]}')
            break
        finished += 1
        if not equal(last_state(folder / 'killed'), expected):
            problems.append(f'training {finished}: its last checkpoint differs')
        shutil.rmtree(folder / 'killed')
    bar.close()
    return {
        'SIGKILL': counts[signal.SIGKILL],
        'SIGTERM': counts[signal.SIGTERM],
        'checkpoints inside an epoch': inside,
        'trainings that reached their end': finished,
        'of these, equal to the bit': finished - sum('differs' in line for line in problems),
    }, problems


def newest_is_inside_epoch(run: Path) -> bool:
    newest = newest_checkpoint(run) if run.is_dir() else None
    return bool(newest) and newest.name.startswith('iter_')


def last_state(run: Path) -> dict:
    """Returns the weights and the state of the optimiser at the end of a training."""
    checkpoint = read_weights(run / 'epoch_4.pth')
    return dict(weights=checkpoint['state_dict'], optimizer=checkpoint['optimizer']['state'])


def equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return one == other


# Images


def look_at_images(folder: Path, count: int, rng: random.Random) -> tuple[dict, list[str]]:
    """Runs the exported model on ``count`` images; returns rows of the table, and what is wrong."""
    originals, bad = make_images(folder / 'images', folder / 'data/shapes', count, rng)
    shutil.rmtree(folder / 'results', ignore_errors=True)
    begin = time.monotonic()
    log = folder / 'runtime.log'
    with open(log, 'w') as stream:
        process = subprocess.Popen(
            [sys.executable, '-m', 'mmtrtvit.runtime', 'export', 'images', '--out-dir', 'results',
             '--no-images', '--score-thr', '0'],
            cwd=folder, stdout=stream, stderr=subprocess.STDOUT,
        )  # fmt: skip
        with memory_of(process.pid) as memory:
            code = process.wait()
    seconds = time.monotonic() - begin
    printed = log.read_text()
    if code:
        return {}, [f'the runtime ended with {code}: {printed[-500:]}']
    predictions = json.loads((folder / 'results/predictions.json').read_text())
    names = {image['id']: image['file_name'] for image in predictions['images']}
    results: dict[str, list] = {name: [] for name in names.values()}
    for each in predictions['annotations']:
        found = each['category_id'], each['score'], each['bbox']
        results[names[each['image_id']]].append(found)
    kinds: dict[str, set[str]] = defaultdict(set)
    for name, original in originals.items():
        kinds[original].add(json.dumps(results[name]) if name in results else 'none')
    problems = [f'{name}: no result' for name in originals if name not in results]
    problems += [f'{name}: has a result' for name in results if name not in originals]
    problems += [f'{name}: not named' for name in bad if name not in printed]
    problems += [
        f'{len(k)} results for copies of {name}' for name, k in kinds.items() if len(k) > 1
    ]
    early, late = memory(0.1), memory(1.0)
    return {
        'images': count,
        'bad ones among them': len(bad),
        'good ones without a result': sum(name not in results for name in originals),
        'bad ones that are not named': sum(name not in printed for name in bad),
        'images per second': f'{count / seconds:.1f}',
        'memory after a tenth of the time (MB)': early,
        'memory at the end (MB)': late,
    }, problems


def make_images(
    folder: Path, shapes: Path, count: int, rng: random.Random
) -> tuple[dict[str, str], set[str]]:
    """Fills a folder; returns the original of each good image, and the names of the bad ones."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    sources = sorted(shapes.glob('images/validation/*'))
    spoilers: list[Callable[[Path, bytes], object]] = [
        lambda path, content: path.write_bytes(b''),
        lambda path, content: path.write_bytes(content[: len(content) // 3]),
        lambda path, content: path.write_text('not an image'),
        lambda path, content: path.write_bytes(LARGE_PNG),
        lambda path, content: path.symlink_to('nowhere.jpg'),
        lambda path, content: os.mkfifo(path),
    ]
    good, bad = {}, set()
    for number in range(count):
        source = rng.choice(sources)
        path = folder / f'{number:06d}{source.suffix}'
        if number % BAD_SHARE == BAD_SHARE - 1:
            rng.choice(spoilers)(path, source.read_bytes())
            bad.add(path.name)
        else:
            os.link(source, path)
            good[path.name] = source.name
    return good, bad


@contextmanager
def memory_of(pid: int) -> Iterator[Callable[[float], int]]:
    """Yields a function that tells the memory of a process, in MB, at a share of the time."""
    sizes: list[int] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.5):
            try:
                status = Path(f'/proc/{pid}/status').read_text()
            except OSError:
                return
            if found := re.search(r'VmRSS:\s+(\d+)', status):
                sizes.append(int(found[1]) // 1024)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield lambda share: sizes[min(int(share * len(sizes)), len(sizes) - 1)] if sizes else 0
    ended.set()
    thread.join()


if __name__ == '__main__':
    run_tool(main, parse_args())
