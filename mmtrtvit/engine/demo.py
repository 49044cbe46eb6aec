"""A demo from data to images: the tools one after the other, each in a process of its own."""

import shlex
import subprocess
import sys
from pathlib import Path

from mmengine.config import Config

from ..errors import UserError
from ..paths import config_path
from .config import read_config

# The backbone that gains by mixed precision on a CPU at the size of the demos' images.
FASTER_IN_BF16 = 'TRTViT'
CLASSIFIERS = 'mmpretrain'  # scope of the configs whose data are folders of images


def run_demo(name: str, *, work_dir: Path, data_root: Path | None = None) -> None:
    """Generates data, trains the demo's model, evaluates it and draws curves and predictions.

    Args:
        name: Name of a config in ``configs/demo``, without its suffix.
        work_dir: Folder that gets the folder ``name`` with all results.
        data_root: Folder for the generated data, by default that of the config; complete data in it
            are kept.

    Raises:
        SystemExit: If a step fails, with its exit code.
    """
    path = _short(Path(config_path(f'demo/{name}.py')))
    config = read_config(path)
    root = data_root or Path(config.data_root)
    run, images = work_dir / name, work_dir / name / 'images'
    options = _data_options(config, root)
    _step('make-shapes', root, *(['--folders'] if config.default_scope == CLASSIFIERS else []))
    amp = ['--amp'] if config.model.backbone.type == FASTER_IN_BF16 else []
    _step('train', path, '--work-dir', run, *amp, *options)
    _step('test', path, run, '--work-dir', run / 'test', '--show-dir', images, *options)
    _step('analyze', 'curves', run)
    _step('analyze', 'sheet', images)
    print(f"""
Done. Look at
  {run}/report.html   curves, classes, confusion, errors and images on one page
  {run}/images.png    ground truth and predictions side by side
  {run}/images/       the same for every validation image
  {run}/curves.png    loss and metric over the training
The checkpoint, the config and the log are in {run}.
Next: your own images (docs/own_data.md), or a larger model of configs/""")


def _step(*arguments: str | Path) -> None:
    words = list(map(str, arguments))
    print(f'\n$ mmtrtvit {shlex.join(words)}', flush=True)
    done = subprocess.run([sys.executable, '-m', 'mmtrtvit', *words], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def _short(path: Path) -> Path:
    """The path from the current folder, where it lies below that."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _data_options(config: Config, data_root: Path) -> list[str]:
    """What a tool is told to read the data in another folder than the config says."""
    if Path(config.data_root) == data_root:
        return []
    if set(', ') & set(str(data_root)):
        raise UserError(f'--data-root {data_root}: a folder without spaces and commas is needed.')
    splits = 'train', 'val', 'test'
    options = [f'{split}_dataloader.dataset.data_root={data_root}' for split in splits]
    for key in ('val_evaluator', 'test_evaluator'):
        if 'ann_file' in config[key]:
            file = Path(config[key].ann_file).relative_to(config.data_root)
            options.append(f'{key}.ann_file={data_root / file}')
    return ['--cfg-options', *options]
