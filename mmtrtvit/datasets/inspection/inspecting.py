"""Inspection of the data of a config, before a training."""

import functools
import hashlib
import io
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image, UnidentifiedImageError

from ...annotations.data import AnnotatedImage, DataSet
from ...annotations.findings import Finding, Place, Split, find_problems, grouped
from ...annotations.problems import Problem
from ...engine.checks import check_data
from ...engine.data import read_splits
from ...engine.hosts import import_host
from ...errors import UserError, listed
from ..images import read_whole
from .hints import find_hints
from .likeness import alike, fingerprint
from .resizing import read_resizing
from .sizes import Sizes, measure

SPLITS = ('train', 'val', 'test')
Track = Callable[..., Iterable]


@dataclass(frozen=True)
class Pair:
    """An image that is there twice, or nearly so.

    Attributes:
        problem: COPY, LEAK or NEAR_LEAK.
        split: Name of the split in which it is one too many.
        name: Its name there.
        other_split: The split of the other one.
        other: The name of the other one.
    """

    problem: Problem
    split: str
    name: str
    other_split: str
    other: str

    @property
    def place(self) -> Place:
        """The pair as a finding has it."""
        where = '' if self.split == self.other_split else f'{self.other_split}: '
        return self.split, self.problem, f'{self.name} ({where}{self.other})'


@dataclass
class Inspection:
    """What the data of a config are and what is wrong with them, errors first.

    Attributes:
        splits: The splits.
        findings: What is wrong.
        hints: What a model may find hard in sound data.
        sizes: What a model sees of each split, by name; none for one with an earlier one's data.
        pairs: Images that are there twice, or nearly so.
    """

    splits: list[Split]
    findings: list[Finding]
    hints: list[Finding]
    sizes: dict[str, Sizes]
    pairs: list[Pair]

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
        read_images = functools.partial(_read_images, pool, track, config)
        splits = list(read_splits(config, names, problems, then=read_images))
    pairs = list(_find_pairs(splits))
    problems += [*find_problems(splits), *_binary(splits), *(pair.place for pair in pairs)]
    sizes = {split.name: measure(config, split) for split in splits if not split.same_as}
    hints = grouped(find_hints(splits, sizes))
    return Inspection(splits, grouped(problems), hints, sizes, pairs)


def _config_problems(config: Config, splits: list[str]) -> Iterator[tuple[str, str]]:
    try:
        check_data(config, splits)
    except UserError as error:
        for line in str(error).splitlines():
            yield next((split for split in splits if line.startswith(f'{split}_')), ''), line


def _read_images(pool: ThreadPool, track: Track, config: Config, data: DataSet, split: str) -> None:
    """Fills in the counts and contents of a data set and the problems of its images."""
    resizing = read_resizing(config, split)
    read = pool.imap(functools.partial(_read_image, data), data.images, chunksize=8)
    images = track(read, total=len(data.images), desc=split)
    for (digest, look, counts, values), image in zip(images, data.images):
        data.counts += counts
        data.values.update(values)
        if data.labels_of_values is not None and counts and image.size:
            factor = resizing.factors(np.array([image.size])).prod()
            data.resized.update({label: count * factor for label, count in counts.items()})
        if digest and data.contents.setdefault(digest, image.name) != image.name:
            data.copies.append((image.name, data.contents[digest]))
        if look:
            data.looks.setdefault(look, image.name)
        severities = {problem.severity for problem, _ in image.problems}
        if not counts and not image.labels and 'error' not in severities:
            image.problems.append((Problem.EMPTY_IMAGE, ''))


def _read_image(
    data: DataSet, image: AnnotatedImage
) -> tuple[bytes | None, bytes | None, Counter[int], Counter[int]]:
    """Adds what is wrong with an image file and its label map.

    Returns:
        Digest of the file and perceptual hash of the image, if there are any, the instances or
        pixels by class index, and the pixels by their value in the label map.
    """
    counts, values = image.counts(), Counter[int]()
    try:
        content = image.read() if image.read else _read_bytes(image.path)
    except (OSError, ValueError) as error:  # ValueError of a name that no file can have
        image.problems.append((Problem.MISSING_IMAGE, _why_missing(image.path, error)))
        return None, None, counts, values
    size = look = None
    try:
        size, grey = read_whole(content)
        look = fingerprint(grey)
    except ValueError as error:
        image.problems.append((Problem.UNREADABLE_IMAGE, str(error).rstrip('.')))
    if size and image.size and size != tuple(image.size):
        image.problems.append((Problem.IMAGE_SIZE, f'{_by(size)}, not {_by(image.size)}'))
    image.size = image.size or size
    if image.label_map:
        counts, values = _read_label_map(data, image, size)
    return hashlib.blake2b(content, digest_size=16).digest(), look, counts, values


def _read_bytes(path: Path) -> bytes:
    if path.exists() and not path.is_file():  # a pipe would never end
        raise OSError(0, 'a folder, pipe or device')
    return path.read_bytes()


def _read_label_map(
    data: DataSet, image: AnnotatedImage, size: tuple[int, int] | None
) -> tuple[Counter[int], Counter[int]]:
    """Returns the pixels by class index, without the ignored ones, and by value in the file."""
    problems, name = image.problems, image.label_map.name
    counts, found = Counter[int](), Counter[int]()
    try:
        with Image.open(io.BytesIO(_read_bytes(image.label_map))) as opened:
            values = np.asarray(opened)
    except FileNotFoundError:
        problems.append((Problem.MISSING_LABEL_MAP, str(image.label_map)))
        return counts, found
    except UnidentifiedImageError:
        problems.append((Problem.UNREADABLE_LABEL_MAP, f'{name}: cannot identify an image in it'))
        return counts, found
    except Exception as error:
        problems.append((Problem.UNREADABLE_LABEL_MAP, f'{name}: {error}'))
        return counts, found
    if values.ndim != 2:
        problems.append((Problem.UNREADABLE_LABEL_MAP, f'{name}: {values.shape[-1]} channels'))
        return counts, found
    if size and values.shape[::-1] != size:
        problems.append((Problem.LABEL_MAP_SIZE, f'{_by(values.shape[::-1])}, not {_by(size)}'))
    wrong = []
    found.update(dict(zip(*(part.tolist() for part in _count(values)))))
    for value, count in found.items():
        label = int(data.labels_of_values[int(value)]) if 0 <= value < 256 else value
        if 0 <= label < len(data.classes):
            counts[label] += count
        elif label != data.ignored_label:
            wrong.append(str(value))
    if wrong:
        problems.append((Problem.LABEL_VALUE, listed(wrong)))
    return counts, found


def _why_missing(path: Path, error: Exception) -> str:
    slashed = Path(str(path).replace('\\', '/'))
    if slashed != path and slashed.is_file():
        return f'it is there with / in place of \\, which --fix writes: {slashed}'
    return getattr(error, 'strerror', None) or str(error)


def _count(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct values and how often each occurs."""
    if values.dtype.itemsize > 1:
        return np.unique(values, return_counts=True)
    counts = np.bincount(values.ravel())  # many times faster, for small values
    present = np.flatnonzero(counts)
    return present, counts[present]


def _find_pairs(splits: list[Split]) -> Iterator[Pair]:
    """Yields images that are in their split twice, or in another one, too, or look like one."""
    splits = [split for split in splits if not split.same_as]
    for split in splits:
        for data in split.data:
            for name, other in sorted(data.copies):
                yield Pair(Problem.COPY, split.name, name, split.name, other)
    for first, second in combinations(splits, 2):
        copies = {*_common(first, second)}
        near = {*_near(first, second)} - copies
        for problem, pairs in ((Problem.LEAK, copies), (Problem.NEAR_LEAK, near)):
            for name, other in sorted(pairs):
                yield Pair(problem, second.name, name, first.name, other)


def _common(first: Split, second: Split) -> Iterator[tuple[str, str]]:
    """Yields the images of ``second`` that have the bytes of one in ``first``, and that one."""
    names = {digest: name for data in first.data for digest, name in data.contents.items()}
    for data in second.data:
        for digest in data.contents.keys() & names.keys():
            yield data.contents[digest], names[digest]


def _near(first: Split, second: Split) -> Iterator[tuple[str, str]]:
    """Yields the images of ``second`` that look like one in ``first``, and that one."""
    looks, others = (
        {look: name for data in split.data for look, name in data.looks.items()}
        for split in (first, second)
    )
    names, other_names = list(looks.values()), list(others.values())
    for one, other in alike(list(looks), list(others)):
        yield other_names[other], names[one]


def _binary(splits: list[Split]) -> Iterator[Place]:
    """Yields data sets whose label maps hold nothing but 0 and 255, which is ignored."""
    for split in splits:
        for data in split.data if not split.same_as else ():
            if {*data.values} == {0, 255} and data.labels_of_values[255] == data.ignored_label:
                folder = os.path.commonpath([image.label_map.parent for image in data.images])
                yield (
                    split.name,
                    Problem.BINARY,
                    'write maps of 0 and 1 with: python tools/convert_data.py labels '
                    f'{folder} OUT --map 255:1',
                )


def _by(size: Iterable[int]) -> str:
    return ' x '.join(map(str, size))
