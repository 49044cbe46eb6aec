"""What is wrong with the splits of a config, grouped by kind."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from .data import AnnotatedImage, DataSet
from .problems import Problem

Place = tuple[str, Problem, str]  # split, kind, and where in it


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
        """Instances by class, without the ignored ones; of label maps pixels by class."""
        return self._by_name('counts')

    @property
    def ignored(self) -> dict[str, int]:
        """Instances by class that training and metric leave out."""
        return self._by_name('ignored')

    def _by_name(self, attribute: str) -> dict[str, int]:
        counts = dict.fromkeys((name for data in self.data for name in data.classes), 0)
        for data in self.data:
            for label, count in getattr(data, attribute).items():
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


def find_problems(splits: Sequence[Split]) -> Iterator[Place]:
    """Yields all problems of the annotations and images of splits; equal splits' once."""
    splits = [split for split in splits if not split.same_as]
    for split in splits:
        for data in split.data:
            yield from ((split.name, problem, place) for problem, place in data.problems)
            if not data.images:
                yield split.name, Problem.NO_IMAGE, data.source
        for image in split.images:
            for problem, detail in image.problems:
                yield split.name, problem, f'{image.name} ({detail})' if detail else image.name
        if split.images:
            yield from ((split.name, *found) for found in _class_problems(split, splits))


def _class_problems(split: Split, splits: Sequence[Split]) -> Iterator[tuple[Problem, str]]:
    maps = any(data.labels_of_values is not None for data in split.data)
    if maps and not any(data.contents for data in split.data):  # whose files were not read
        return
    counts, ignored = split.counts, split.ignored
    empty = not any(counts.values())
    for name, left_out in ignored.items():
        total = counts[name] + left_out
        detail = f'{name} ({left_out} of {total}: iscrowd, ignore or a broken mask)'
        if left_out == total > 0 and (split.name == 'train' or empty):
            yield Problem.IGNORED_CLASS, detail
        elif left_out > total / 2:
            yield Problem.MOSTLY_IGNORED, detail
    absent = [name for name, count in counts.items() if not count and not ignored[name]]
    if len(absent) == len(counts):
        if split.name == 'train' or (split.name == 'val' and not maps):
            yield Problem.NO_INSTANCE, ', '.join(absent)
    elif split.name == 'train':
        for name in absent:
            others = [other.name for other in splits if other.counts.get(name)]
            yield Problem.ABSENT_CLASS, name + (f' (but in {others[0]})' if others else '')


def grouped(problems: Iterable[Place]) -> list[Finding]:
    """Returns problems as one finding for each kind and split, errors first."""
    groups: dict[tuple[str, Problem], Finding] = {}
    for split, problem, place in problems:
        groups.setdefault((split, problem), Finding(problem, split, [])).places.append(place)
    order = list(Problem)
    return sorted(groups.values(), key=lambda finding: order.index(finding.problem))


def format_findings(findings: Sequence[Finding], places: int) -> Iterator[str]:
    """Yields lines: each finding with how often it was found and the first ``places`` of them."""
    for finding in findings:
        where = f'{finding.split}: ' if finding.split else ''
        yield f'{finding.problem.severity}: {where}{finding.problem.text} ({len(finding.places)})'
        yield from (f'    {place}' for place in finding.places[:places])
        if len(finding.places) > places:
            yield f'    ... and {len(finding.places) - places} more'
