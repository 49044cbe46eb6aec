"""Checks of a config and its data, before a run is built from it."""

import json
import mmap
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop

from ..errors import UserError, did_you_mean, listed
from ..files import parse_json
from .folders import folder_problems
from .parts import class_counts, leaf_datasets, metrics

SHOWN = 20  # names in a message, at most
BY_NAME_SUFFIX = 'ByName'  # of the types that find classes by name
IGNORED = 255  # what MMSegmentation leaves out unless told otherwise
GENERATED = {'shapes': '', 'shape_folders': ' --folders --size 96'}  # options of make_shapes.py
LOADERS = 'train_dataloader', 'val_dataloader', 'test_dataloader'
NUMBERS = {  # what must be one, of which kind, and how much at least
    **{f'{loader}.batch_size': ('whole number', 1) for loader in LOADERS},
    **{f'{loader}.num_workers': ('whole number', 0) for loader in LOADERS},
    'train_cfg.max_epochs': ('whole number', 0),
    'train_cfg.max_iters': ('whole number', 0),
    'train_cfg.val_interval': ('whole number', 1),
    'default_hooks.logger.interval': ('whole number', 1),
    'optim_wrapper.accumulative_counts': ('whole number', 1),
    'optim_wrapper.optimizer.lr': ('number', 0),
    'optim_wrapper.optimizer.weight_decay': ('number', 0),
}


def check_data(config: Config, splits: Sequence[str] = ('train', 'val')) -> None:
    """Checks that the files of the splits exist and that classes agree with them and the heads.

    Args:
        config: The whole config; the package of its scope must have been imported.
        splits: Which of train, val and test are going to be used, the one for the heads first.

    Raises:
        UserError: If something does not fit; the message has all that was found.
    """
    problems = [problem for split in splits for problem in _missing_files(config, split)]
    if problems:
        raise UserError('\n'.join([*problems, _data_hint(config, splits, problems)]))
    problems = [problem for split in splits for problem in folder_problems(config, split)]
    problems += [problem for split in splits for problem in _prefix_problems(config, split)]
    problems = problems or list(_class_problems(config, splits))
    problems += [problem for split in splits for problem in _mask_problems(config, split)]
    problems += _ignore_problems(config, splits)
    problems = problems or list(_head_problems(config, splits[0]))
    if problems:
        raise UserError('\n'.join(problems))


def _missing_files(config: Config, split: str) -> Iterator[str]:
    for key, dataset in leaf_datasets(config, split):
        root = dataset.get('data_root') or ''
        if '://' in root or (dataset.get('backend_args') or {}).get('backend', 'local') != 'local':
            continue
        if root and not Path(root).is_dir():
            yield f'{key}.data_root: no folder {Path(root).absolute()}'
            continue
        if dataset.get('ann_file'):
            yield from _missing(f'{key}.ann_file', root, dataset['ann_file'])
        prefixes = dataset.get('data_prefix') or {}
        if isinstance(prefixes, str):
            yield from _missing(f'{key}.data_prefix', root, prefixes, folder=True)
        else:
            for name, prefix in prefixes.items():
                yield from _missing(f'{key}.data_prefix.{name}', root, prefix, folder=True)
    for key, metric in metrics(config, split):
        if metric.get('ann_file'):
            yield from _missing(f'{key}.ann_file', '', metric['ann_file'])


def _missing(key: str, root: str, path: Any, folder: bool = False) -> Iterator[str]:
    if not isinstance(path, str) or '://' in path:
        return
    full = Path(root, path).absolute()
    if not (full.is_dir() if folder else full.exists()):
        siblings = full.parent.iterdir() if full.parent.is_dir() else ()
        hint = did_you_mean(full.name, (other.name for other in siblings))
        yield f'{key}: no {"folder" if folder else "file"} {full}{f".{hint}" if hint else ""}'


def _data_hint(config: Config, splits: Sequence[str], problems: Sequence[str]) -> str:
    leaves = [leaf for split in splits for leaf in leaf_datasets(config, split)]
    for key, dataset in leaves:
        root = (dataset.get('data_root') or '').rstrip('/')
        extra = GENERATED.get(Path(root).name)
        if extra is not None and any(problem.startswith(key) for problem in problems):
            return f'Generate the shapes with: python tools/make_shapes.py {root}{extra}'
    options = [f'{key}.data_root=FOLDER' for key, _ in leaves] + [
        f'{key}.ann_file=FILE'
        for split in splits
        for key, metric in metrics(config, split)
        if metric.get('ann_file')
    ]
    return f'Put the data there, or say where it is: --cfg-options {" ".join(options)}'


def _classes(config: Config, dataset: dict) -> tuple[Any, bool]:
    """Returns the classes of a data set, and whether its config names them."""
    classes = (dataset.get('metainfo') or {}).get('classes')
    if classes is not None:
        is_file = isinstance(classes, str) and Path(classes).is_file()  # MMEngine takes one, too
        return (Path(classes).read_text().splitlines() if is_file else classes), True
    return (getattr(_kind(config, dataset), 'METAINFO', None) or {}).get('classes'), False


def _kind(config: Config, dataset: dict) -> Any:
    """Returns the class of a data set, None if there is none of that name."""
    kind = dataset.get('type')
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(config.get('default_scope')) as registry:
            kind = registry.get(kind)
    return kind


def _prefix_problems(config: Config, split: str) -> Iterator[str]:
    """Yields the data sets in COCO format that do not say where their images are.

    MMDetection's CocoDataset would stop at a bare ``KeyError: 'img'``.
    """
    for key, dataset in leaf_datasets(config, split):
        parents = getattr(_kind(config, dataset), '__mro__', ())
        prefixes = dataset.get('data_prefix') or {}
        if any(each.__name__ == 'CocoDataset' for each in parents) and (
            not isinstance(prefixes, dict) or not isinstance(prefixes.get('img'), str)
        ):
            yield (
                f'{key}.data_prefix is {prefixes!r}, without the folder of the images, which '
                f"{dataset['type']} needs. Set data_prefix=dict(img='FOLDER/') in the config; "
                "img='' where the file names in the annotations have it already"
            )


def _class_problems(config: Config, splits: Sequence[str]) -> Iterator[str]:
    """Yields what is wrong with the names of the classes in the data sets of all splits."""
    found: list[_Classes] = []
    for split in splits:
        for key, dataset in leaf_datasets(config, split):
            classes, named = _classes(config, dataset)
            if isinstance(classes, str):
                yield (
                    f'{key}.metainfo.classes is the string {classes!r}. It should be a tuple of '
                    f'names, and one of a single name has a comma: ({classes!r},)'
                )
            elif classes:
                file = _json_file(dataset)
                names = tuple(category_names(file)) if file else ()
                by_name = str(dataset.get('type')).endswith(BY_NAME_SUFFIX)
                found.append(
                    _Classes(key, split, tuple(classes), named, file, names, by_name, dataset)
                )
    for each in found:
        if each.names:
            yield from _name_problems(each, found)
    for each in found:
        if each.classes != found[0].classes:
            yield (
                f'{each.key}.metainfo.classes is {each.classes}, but that of {found[0].key} is '
                f'{found[0].classes}: a label would mean another class. Set metainfo once, at the '
                'top of the config, or to the same in each data set'
            )


@dataclass
class _Classes:
    """Classes of a data set, whether its config names them, and the categories of its file."""

    key: str
    split: str
    classes: tuple[str, ...]
    named: bool
    file: Path | None
    names: tuple[str, ...]
    by_name: bool
    dataset: dict


def _json_file(dataset: dict) -> Path | None:
    file = Path(dataset.get('data_root') or '', dataset.get('ann_file') or '')
    return file if file.suffix == '.json' and file.is_file() else None


def _name_problems(each: _Classes, found: Sequence[_Classes]) -> Iterator[str]:
    elsewhere = {name for other in found if other.split == 'train' for name in other.names}
    allowed = elsewhere if each.by_name and each.split != 'train' else set()
    missing = [name for name in each.classes if name not in each.names]
    if not each.named and missing:
        yield (
            f'{each.key}.metainfo is not set, which means the {len(each.classes)} classes of '
            f'{each.dataset["type"]}, and {each.file} lacks {len(missing)} of them. '
            f'Set metainfo=dict(classes={tuple(dict.fromkeys(each.names))}) in the config'
        )
    elif wrong := [name for name in missing if name not in allowed]:
        yield (
            f'{each.key}.metainfo.classes has names that are not in {each.file}: '
            f'{listed(wrong, SHOWN)}. '
            f'The categories there are: {listed(each.names, SHOWN)}'
        )
    elif not each.by_name:
        ordered = [name for name in each.names if name in each.classes]
        if list(each.classes) != ordered:  # MMDetection numbers labels as the file does
            yield (
                f'{each.key}: {each.dataset.get("type")} numbers the classes as {each.file} lists '
                f'its categories: {listed(each.names, SHOWN)}. That is not the order of '
                f'metainfo.classes, {listed(each.classes, SHOWN)}, which would swap names. '
                f'{_order_advice(ordered, found)}'
            )


def _order_advice(ordered: Sequence[str], found: Sequence[_Classes]) -> str:
    """Returns what to do about an order of classes, which must be right for all files."""
    orders = {tuple(name for name in each.names if name in each.classes) for each in found}
    by_name = "type='CocoDataset' finds classes by name"
    if len(orders - {()}) == 1 and len({*ordered}) == len(ordered):
        return f'Set metainfo=dict(classes={tuple(ordered)}); {by_name}, in any order'
    return f'No order fits the files of all splits, but {by_name}'


def _mask_problems(config: Config, split: str) -> Iterator[str]:
    for key, dataset in leaf_datasets(config, split):
        file = _json_file(dataset)
        wanted = any(
            step.get('type') == 'LoadAnnotations' and step.get('with_mask')
            for step in dataset.get('pipeline') or ()
        )
        if wanted and file and not has_masks(file):
            yield (
                f'{key}.ann_file: {file} has boxes but no masks ("segmentation" of its '
                f'annotations), which {config.model.type} needs. Take a file with masks, or a '
                'detector that learns from boxes, such as RetinaNet'
            )


def has_masks(file: Path) -> bool:
    """Returns whether any annotation of a file in COCO format has a mask, sound or not."""
    with _mapped(file) as data:
        return re.search(rb'"segmentation"\s*:\s*(\[[\s\[]*[^\s\[\]]|\{\s*")', data) is not None


@contextmanager
def _mapped(file: Path) -> Iterator[mmap.mmap | bytes]:
    """Maps a JSON file; one that is not in UTF-8 is read and converted."""
    with open(file, 'rb') as stream:
        encoding = json.detect_encoding(stream.read(4))
        if not encoding.startswith('utf-8'):
            yield file.read_bytes().decode(encoding, errors='replace').encode()
        elif file.stat().st_size == 0:  # cannot be mapped
            yield b''
        else:
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                yield data


def _ignore_problems(config: Config, splits: Sequence[str]) -> Iterator[str]:
    """Yields a segmentor's values for pixels to be left out if they are not all the same."""
    model = config.get('model')
    heads = [
        part
        for name in ('decode_head', 'auxiliary_head')
        for part in _numbered(f'model.{name}', model.get(name) if isinstance(model, dict) else None)
    ]
    if config.get('default_scope') != 'mmseg' or not heads:
        return
    values = {f'{key}.ignore_index': head.get('ignore_index', IGNORED) for key, head in heads}
    preprocessor = model.get('data_preprocessor') or {}
    values['model.data_preprocessor.seg_pad_val'] = preprocessor.get('seg_pad_val', IGNORED)
    for split in splits:
        for key, dataset in leaf_datasets(config, split):
            values[f'{key}.ignore_index'] = dataset.get('ignore_index', IGNORED)
            for index, step in enumerate(dataset.get('pipeline') or ()):
                values.update(_padding(f'{key}.pipeline.{index}', step))
        for key, metric in metrics(config, split):
            if metric.get('type') == 'IoUMetric':
                values[f'{key}.ignore_index'] = metric.get('ignore_index', IGNORED)
    if len({*values.values()}) > 1:
        chosen = next(
            (value for key, value in values.items() if '_dataloader.' in key and value != IGNORED),
            IGNORED,
        )
        others = [key for key, value in values.items() if value != chosen]
        told = ', '.join(f'{key} is {value}' for key, value in values.items())
        yield (
            f'pixels to be ignored have more than one value: {told}. A pixel of one of them would '
            'count as a class or stop the training. '
            f'Set --cfg-options {" ".join(f"{key}={chosen}" for key in others)}'
        )


def _padding(key: str, step: dict) -> dict[str, Any]:
    """Returns the value that a transform gives to the label of pixels beyond the image, by key."""
    if step.get('type') in ('RandomRotate', 'RandomMosaic'):
        return {f'{key}.seg_pad_val': step.get('seg_pad_val', IGNORED)}
    padding = step.get('pad_val')
    return (
        {f'{key}.pad_val.seg': padding['seg']}
        if isinstance(padding, dict) and 'seg' in padding
        else {}
    )


def category_names(file: Path) -> list[str]:
    """Returns the names of the categories in a file in COCO format, none for another format.

    Only their list is decoded: all of COCO takes many seconds.

    Raises:
        UserError: If the file is not JSON.
    """
    with _mapped(file) as data:
        for match in re.finditer(rb'"categories"\s*:\s*(?=\[)', data):
            found = _list_at(data, match.end())
            if found and all(
                isinstance(category, dict) and isinstance(category.get('name'), str)
                for category in found
            ):
                return [category['name'] for category in found]
        try:
            parse_json(data[:], file)
        except ValueError as error:
            raise UserError(f'{file} {error}') from error
    return []


def _list_at(data: mmap.mmap | bytes, start: int) -> Any:
    size = 1 << 16
    while True:
        text = data[start : start + size].decode(errors='ignore')
        try:
            return json.JSONDecoder().raw_decode(text)[0]
        except ValueError:
            if start + size >= len(data):
                return None
        size *= 4


def _head_problems(config: Config, split: str) -> Iterator[str]:
    for key, dataset in leaf_datasets(config, split):
        classes, _ = _classes(config, dataset)
        wrong = [
            (head, count)
            for head, count in class_counts(config.get('model'))
            if classes and count != len(classes)
        ]
        if wrong:
            values = ', '.join(f'{head} is {count}' for head, count in wrong)
            options = ' '.join(f'{head}={len(classes)}' for head, _ in wrong)
            yield (
                f'{values}, but {key} has {len(classes)} classes: {listed(classes, SHOWN)}. '
                f'Set --cfg-options {options}'
            )
            return


def check_numbers(config: Config, keys: Sequence[str]) -> None:
    """Refuses settings of a run that are non-numeric or too small where a number is expected.

    Args:
        config: The whole config.
        keys: What of it is going to be used, e.g. ``['test_dataloader']``.

    Raises:
        UserError: For the first such key of ``NUMBERS``; a key that the config leaves out is right.
    """
    settings = {key: config[key] for key in keys if key in config}
    for key, (kind, least) in NUMBERS.items():
        value = settings
        for part in key.split('.'):
            value = value.get(part) if isinstance(value, dict) else None
        numbers = (int, float) if kind == 'number' else int
        if value is not None and not (isinstance(value, numbers) and value >= least):
            raise UserError(f'{key} is {value!r}: expected a {kind} of {least} or more.')


def check_batch(config: Config, world_size: int = 1) -> None:
    """Refuses a training whose batch of one cannot feed a BatchNorm after pooling to 1x1.

    Raises:
        UserError: If the model pools whole images, as UPerNet does, and the batch is one.
    """
    head = (config.model.get('decode_head') or {}) if isinstance(config.model, dict) else {}
    pools = isinstance(head, dict) and 1 in (head.get('pool_scales') or ())
    if pools and config.train_dataloader.get('batch_size') == 1 and world_size == 1:
        raise UserError(
            f'{head["type"]} pools each image to one value per channel, so that BatchNorm needs '
            'two images at least. Set --cfg-options train_dataloader.batch_size=2'
        )


def check_epoch(loop: BaseLoop) -> None:
    """Refuses a training whose epochs would be empty.

    Raises:
        UserError: If a process has fewer images than a batch, and ``drop_last`` is set, or none.
    """
    if not isinstance(loop, EpochBasedTrainLoop) or len(loop.dataloader):
        return
    batches = loop.dataloader.batch_sampler
    images = len(batches.sampler)
    if not images:
        raise UserError('train_dataloader.dataset has no image')
    raise UserError(
        f'train_dataloader.batch_size={batches.batch_size} is more than the images of a process, '
        f'{images}, and drop_last leaves out incomplete batches. Set --cfg-options '
        f'train_dataloader.batch_size={images}'
    )


def check_widths(config: Config, backbone: Any) -> None:
    """Refuses a neck or heads that expect other feature maps than the backbone returns.

    Args:
        config: The whole config.
        backbone: The backbone; one that does not tell its ``out_channels`` is not checked.

    Raises:
        UserError: If ``in_channels`` or ``in_index`` does not fit.
    """
    widths = getattr(backbone, 'out_channels', None)
    if not isinstance(widths, tuple) or not isinstance(config.model, dict):
        return
    consumers = [('neck', config.model.get('neck'))]
    if not config.model.get('neck'):
        consumers = [(name, config.model.get(name)) for name in ('decode_head', 'auxiliary_head')]
    problems = [
        problem
        for name, part in consumers
        for key, numbered in _numbered(f'model.{name}', part)
        for problem in _width_problems(key, numbered, widths)
    ]
    if problems:
        given = config.model['backbone']
        settings = ', '.join(
            f'{name}={given[name]!r}' for name in ('arch', 'out_indices') if name in given
        )
        raise UserError(
            '\n'.join(
                [
                    *problems,
                    f'model.backbone ({type(backbone).__name__}, {settings}) gives '
                    f'{len(widths)} maps of {list(widths)} channels.',
                ]
            )
        )


def _numbered(key: str, parts: Any) -> Iterator[tuple[str, dict]]:
    """Yields a part of a model, or the first of a neck in parts and each of several heads."""
    if isinstance(parts, dict):
        yield key, parts
    elif isinstance(parts, list | tuple):
        chosen = parts[:1] if key.endswith('neck') else parts
        yield from ((f'{key}.{index}', part) for index, part in enumerate(chosen))


def _width_problems(key: str, settings: dict, widths: tuple[int, ...]) -> Iterator[str]:
    every = list(range(len(widths)))
    index = every if key.startswith('model.neck') else settings.get('in_index', -1)
    try:
        expected = widths[index] if isinstance(index, int) else [widths[each] for each in index]
    except IndexError:
        yield f'{key}.in_index is {index}, but there are only the maps 0 to {len(widths) - 1}.'
        return
    given = settings.get('in_channels')
    given = list(given) if isinstance(given, tuple) else given
    if given is not None and given != expected:
        yield (
            f'{key}.in_channels is {given}, but the maps that it gets have {expected} channels. '
            f'Set --cfg-options {key}.in_channels="{expected}"'
        )
