"""The annotations of a config's data, as an inspection and a training judge them."""

from collections.abc import Callable, Iterator, Sequence

from mmengine.config import Config

from ..annotations.data import DataSet, Use
from ..annotations.findings import Place, Split, find_problems, format_findings, grouped
from ..annotations.problems import Problem
from ..annotations.reading import NotReadError, read_annotations
from ..errors import UserError
from .parts import leaf_datasets, loads_masks

# Options of a data set that do not change what its files say.
USE_OPTIONS = {'filter_cfg', 'indices', 'pipeline', 'serialize_data', 'test_mode'}
# Types that compare labels with classes themselves as they are loaded: a training reads them once.
CHECK_THEMSELVES = {'ParquetDataset', 'TarDataset'}
SHOWN = 4  # places of each finding in a message


def read_splits(
    config: Config,
    names: Sequence[str],
    problems: list[Place],
    *,
    then: Callable[[DataSet, str], None],
    skip_unread: bool = False,
) -> Iterator[Split]:
    """Yields the splits of a config, without reading their images; equal data sets are read once.

    Args:
        config: The config; the package of its scope must have been imported.
        names: Which of train, val and test.
        problems: Gets what cannot be read at all.
        then: Called with each data set that was read, and the name of its split.
        skip_unread: Pass over what raises :class:`~mmtrtvit.annotations.reading.NotReadError`.
    """
    scope = config.get('default_scope')
    read: dict[str, DataSet] = {}
    first: dict[tuple[DataSet, ...], str] = {}
    for name in names:
        split = Split(name)
        for key, leaf in leaf_datasets(config, name):
            use = Use(loads_masks(config, name, leaf), evaluation=name != 'train')
            options = {option: value for option, value in leaf.items() if option not in USE_OPTIONS}
            identity = f'{sorted(options.items())} {use}'
            try:
                if identity not in read:
                    read[identity] = read_annotations(key, options, scope=scope, use=use)
                    then(read[identity], name)
                split.data.append(read[identity])
            except UserError as error:
                known = any(place == str(error) or where == name for where, _, place in problems)
                if not known and not (skip_unread and isinstance(error, NotReadError)):
                    problems.append((name, Problem.UNREADABLE_DATA, str(error)))
        if split.data:
            same = first.setdefault(tuple(split.data), name)
            split.same_as = same if same != name else None
        yield split


def check_annotations(config: Config, splits: Sequence[str]) -> None:
    """Checks every annotation of the splits, as tools/check_data.py does, but reads no image.

    Data sets that are not on this machine, check themselves or are of a type that nothing here
    reads are passed over, and so are the pixels of label maps.

    Args:
        config: The whole config; the package of its scope must have been imported.
        splits: Which of train, val and test are going to be used.

    Raises:
        UserError: If a training would fail or learn something wrong; the message has all findings.
    """
    local = [split for split in splits if all(map(_is_checked, _leaves(config, split)))]
    problems: list[Place] = []
    read = list(read_splits(config, local, problems, then=count_instances, skip_unread=True))
    findings = [
        finding
        for finding in grouped([*problems, *find_problems(read)])
        if finding.problem.severity == 'error'
    ]
    if findings:
        lines = (line.removeprefix('error: ') for line in format_findings(findings, SHOWN))
        raise UserError(
            'the data would make the run fail or learn something wrong:\n  '
            + '\n  '.join(lines)
            + '\ntools/check_data.py tells all of it, with images; its --fix mends what it can.'
        )


def _leaves(config: Config, split: str) -> list[dict]:
    return [leaf for _, leaf in leaf_datasets(config, split)]


def _is_checked(dataset: dict) -> bool:
    """Returns whether a data set has annotations, has them here, and leaves them to be checked."""
    places = f'{dataset.get("data_root") or ""}{dataset.get("ann_file") or ""}'
    if str(dataset.get('type')).rpartition('.')[2] in CHECK_THEMSELVES:
        return False
    backend = (dataset.get('backend_args') or {}).get('backend', 'local')
    return '://' not in places and backend == 'local' and dataset.get('with_label') is not False


def count_instances(data: DataSet, split: str) -> None:
    """Fills in the instances of a data set by class, which takes no image; of label maps none."""
    for image in data.images:
        data.counts += image.counts()
