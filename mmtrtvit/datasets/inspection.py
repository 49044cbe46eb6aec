"""Inspection of the data of a config, before a training."""

import functools
import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
from mmengine.config import Config
from PIL import Image

from ..engine.checks import check_data
from ..engine.hosts import import_host
from ..engine.parts import leaf_datasets
from ..errors import UserError, listed
from .annotations import AnnotatedImage, DataSet, Use, read_annotations
from .images import whole_size
from .problems import Problem

SPLITS = ('train', 'val', 'test')
# Options of a data set that do not change what its files say.
USE_OPTIONS = {'filter_cfg', 'indices', 'pipeline', 'serialize_data', 'test_mode'}
Track = Callable[..., Iterable]


@dataclass
class Split:
    """What a split holds.

    Attributes:
        name: train, val or test.
        data: Its data sets, without those that could not be read.
        same_as: An earlier split of the same data sets, or None.
    """

    name: str
    data: list[DataSet] = field(default_factory=list)
    same_as: str | None = None

    @property
    def images(self) -> list[AnnotatedImage]:
        """All images, those without annotations too."""
        return [image for data in self.data for image in data.images]

    @property
    def counts(self) -> dict[str, int]:
        """Instances by class; of label maps pixels by class."""
        counts = dict.fromkeys((name for data in self.data for name in data.classes), 0)
        for data in self.data:
            for label, count in data.counts.items():
                counts[data.classes[label]] += count
        return counts


@dataclass
class Finding:
    """A kind of problem in a split.

    Attributes:
        problem: The kind.
        split: Name of the split, empty for one that concerns all.
        places: Where it was found, one entry for each time.
    """

    problem: Problem
    split: str
    places: list[str]


@dataclass
class Inspection:
    """What the data of a config are and what is wrong with them, errors first."""

    splits: list[Split]
    findings: list[Finding]

    @property
    def trains(self) -> bool:
        """Whether a training would work, and learn what it should."""
        return not any(finding.problem.severity == 'error' for finding in self.findings)

    @property
    def verdict(self) -> str:
        """One sentence about what a training would do."""
        if not self.trains:
            return 'A training would fail or learn something wrong: mend the errors first.'
        if self.findings:
            return 'A training would work. Look at the warnings.'
        return 'A training would work.'


def inspect_data(
    config: Config, workers: int | None = None, track: Track = lambda items, **_: items
) -> Inspection:
    """Reads all annotations and image files of a config's splits.

    Args:
        config: The config, as :func:`~mmtrtvit.engine.read_config` returns it.
        workers: Threads that read images; default: one per core, at most 16.
        track: Shows progress: called like :func:`tqdm.tqdm` with an iterable, ``total`` and
            ``desc``.

    Raises:
        UserError: If the config describes no data.
    """
    import_host(config.get('default_scope'))
    names = [name for name in SPLITS if config.get(f'{name}_dataloader')]
    if not names:
        raise UserError(
            f'{config.filename} describes no data: it has no train_dataloader, '
            'val_dataloader or test_dataloader.'
        )
    problems = [(split, Problem.CONFIG, line) for split, line in _config_problems(config, names)]
    threads = max(1, workers or min(16, os.cpu_count() or 1))
    with ThreadPool(threads) as pool, warnings.catch_warnings():
        warnings.simplefilter('ignore')  # Pillow's, about files that it reads all the same
        splits = list(_read_splits(config, names, problems, pool, track))
    problems += _problems(splits)
    return Inspection(splits, _grouped(problems))


def _read_splits(
    config: Config,
    names: list[str],
    problems: list[tuple[str, Problem, str]],
    pool: ThreadPool,
    track: Track,
) -> Iterator[Split]:
    """Yields the splits; equal data sets are read once. Adds to ``problems`` what cannot be."""
    scope = config.get('default_scope')
    read: dict[str, DataSet] = {}
    first: dict[tuple[DataSet, ...], str] = {}
    for name in names:
        split = Split(name)
        for key, leaf in leaf_datasets(config, name):
            use = Use(_loads_masks(config, name, leaf), evaluation=name != 'train')
            options = {option: value for option, value in leaf.items() if option not in USE_OPTIONS}
            identity = f'{sorted(options.items())} {use}'
            try:
                if identity not in read:
                    read[identity] = read_annotations(key, options, scope=scope, use=use)
                    _read_images(read[identity], pool, functools.partial(track, desc=name))
                split.data.append(read[identity])
            except UserError as error:
                known = any(place == str(error) or where == name for where, _, place in problems)
                if not known:
                    problems.append((name, Problem.UNREADABLE_DATA, str(error)))
        if split.data:
            same = first.setdefault(tuple(split.data), name)
            split.same_as = same if same != name else None
        yield split


def _config_problems(config: Config, splits: list[str]) -> Iterator[tuple[str, str]]:
    try:
        check_data(config, splits)
    except UserError as error:
        for line in str(error).splitlines():
            yield next((split for split in splits if line.startswith(f'{split}_')), ''), line


def _loads_masks(config: Config, split: str, dataset: dict) -> bool:
    def steps(part: Any) -> Iterator[dict]:
        for value in part if isinstance(part, list | tuple) else ():
            yield from steps(value)
        if isinstance(part, dict):
            yield part
            for value in part.values():
                yield from steps(value)

    metrics = config.get(f'{split}_evaluator') if split != 'train' else None
    return any(step.get('with_mask') for step in steps(dataset.get('pipeline'))) or any(
        'segm' in (step.get('metric') or ()) for step in steps(metrics)
    )


def _read_images(data: DataSet, pool: ThreadPool, track: Track) -> None:
    """Fills in the counts and contents of a data set and the problems of its images."""
    read = pool.imap(functools.partial(_read_image, data), data.images, chunksize=8)
    for (digest, counts), image in zip(track(read, total=len(data.images)), data.images):
        data.counts += counts
        if digest:
            data.contents[digest] = image.name
        severities = {problem.severity for problem, _ in image.problems}
        if not counts and 'error' not in severities:
            image.problems.append((Problem.EMPTY_IMAGE, ''))


def _read_image(data: DataSet, image: AnnotatedImage) -> tuple[bytes | None, Counter]:
    """Adds what is wrong with an image file and its label map.

    Returns:
        Digest of the file, if there is one, and the instances or pixels by class index.
    """
    counts = Counter(image.labels)
    try:
        content = image.path.read_bytes()
    except OSError as error:
        image.problems.append((Problem.MISSING_IMAGE, error.strerror))
        return None, counts
    size = None
    try:
        size = whole_size(content)
    except ValueError as error:
        image.problems.append((Problem.UNREADABLE_IMAGE, str(error).rstrip('.')))
    if size and image.size and size != tuple(image.size):
        image.problems.append((Problem.IMAGE_SIZE, f'{_by(size)}, not {_by(image.size)}'))
    if image.label_map:
        counts = _read_label_map(data, image, size)
    return hashlib.blake2b(content, digest_size=16).digest(), counts


def _read_label_map(data: DataSet, image: AnnotatedImage, size: tuple[int, int] | None) -> Counter:
    """Returns the number of pixels by class index, without the ignored ones."""
    problems, name = image.problems, image.label_map.name
    try:
        with Image.open(image.label_map) as opened:
            values = np.asarray(opened)
    except FileNotFoundError:
        problems.append((Problem.MISSING_LABEL_MAP, str(image.label_map)))
        return Counter()
    except Exception as error:
        problems.append((Problem.UNREADABLE_LABEL_MAP, f'{name}: {error}'))
        return Counter()
    if values.ndim != 2:
        problems.append((Problem.UNREADABLE_LABEL_MAP, f'{name}: {values.shape[-1]} channels'))
        return Counter()
    if size and values.shape[::-1] != size:
        problems.append((Problem.LABEL_MAP_SIZE, f'{_by(values.shape[::-1])}, not {_by(size)}'))
    counts: Counter[int] = Counter()
    wrong = []
    for value, count in zip(*(found.tolist() for found in _count(values))):
        label = int(data.labels_of_values[int(value)]) if 0 <= value < 256 else value
        if 0 <= label < len(data.classes):
            counts[label] += count
        elif label != data.ignored_label:
            wrong.append(str(value))
    if wrong:
        problems.append((Problem.LABEL_VALUE, listed(wrong)))
    return counts


def _count(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct values and how often each occurs."""
    if values.dtype.itemsize > 1:
        return np.unique(values, return_counts=True)
    counts = np.bincount(values.ravel())  # many times faster, for small values
    present = np.flatnonzero(counts)
    return present, counts[present]


def _problems(splits: list[Split]) -> Iterator[tuple[str, Problem, str]]:
    """Yields the split, kind and place of all problems of the data."""
    splits = [split for split in splits if not split.same_as]
    for split in splits:
        for data in split.data:
            yield from ((split.name, problem, place) for problem, place in data.problems)
            if not data.images:
                yield split.name, Problem.NO_IMAGE, data.source
        for image in split.images:
            for problem, detail in image.problems:
                yield split.name, problem, f'{image.name} ({detail})' if detail else image.name
    train = next((split for split in splits if split.name == 'train' and split.images), None)
    absent = [name for name, count in train.counts.items() if not count] if train else []
    if absent and len(absent) == len(train.counts):
        yield 'train', Problem.NO_INSTANCE, ', '.join(absent)
    else:
        for name in absent:
            others = [split.name for split in splits if split.counts.get(name)]
            yield 'train', Problem.ABSENT_CLASS, name + (f' (but in {others[0]})' if others else '')
    for first, second in combinations(splits, 2):
        yield from ((second.name, Problem.LEAK, place) for place in sorted(_common(first, second)))


def _common(first: Split, second: Split) -> Iterator[str]:
    names = {digest: name for data in first.data for digest, name in data.contents.items()}
    for data in second.data:
        for digest in data.contents.keys() & names.keys():
            yield f'{data.contents[digest]} ({first.name}: {names[digest]})'


def _grouped(problems: Iterable[tuple[str, Problem, str]]) -> list[Finding]:
    groups: dict[tuple[str, Problem], Finding] = {}
    for split, problem, place in problems:
        groups.setdefault((split, problem), Finding(problem, split, [])).places.append(place)
    order = list(Problem)
    return sorted(groups.values(), key=lambda finding: order.index(finding.problem))


def _by(size: Iterable[int]) -> str:
    return ' x '.join(map(str, size))
