"""What a report tells of the data of a run."""

from collections.abc import Sequence

from mmengine.config import Config

from ..annotations.data import AnnotatedImage
from ..annotations.findings import Place, Split
from ..datasets.inspection.page import side_histogram
from ..datasets.inspection.report import count_rows, same_lines, size_rows
from ..datasets.inspection.sizes import measure
from ..engine.data import count_instances, read_splits
from ..engine.hosts import import_host
from .blocks import Block, Figure, Section, Table, Text

SPLITS = 'train', 'val', 'test'
FULLEST = 5  # images with most objects, and as many with least


def show_data(config: Config) -> Section:
    """Returns what the annotations say: classes by split, sizes of objects, images.

    Args:
        config: The config of the run.
    """
    import_host(config.get('default_scope'))
    problems: list[Place] = []
    names = [name for name in SPLITS if config.get(f'{name}_dataloader')]
    splits = list(read_splits(config, names, problems, then=count_instances, skip_unread=True))
    read = [split for split in splits if split.data]
    blocks: list[Block] = []
    if any(sum(split.counts.values()) for split in read):
        blocks += [Table(*count_rows(read)), *map(Text, same_lines(read))]
        blocks += _sizes(config, read)
        if any(image.boxes for split in read for image in split.images):
            blocks.append(_fullest(read))
    elif read:  # the pixels of label maps are counted by tools/check_data.py
        rows = [['split', 'images'], *([each.name, f'{len(each.images):,}'] for each in read)]
        blocks.append(Table(rows))
    unread = [name for name in names if name not in {split.name for split in read}]
    if unread:
        blocks.append(Text(f'The annotations of {", ".join(unread)} could not be read here.'))
    blocks += [Text(f'{split}: {problem.text}: {where}') for split, problem, where in problems]
    return Section('data', 'Data', blocks)


def _sizes(config: Config, splits: Sequence[Split]) -> list[Block]:
    sizes = {split.name: measure(config, split) for split in splits if not split.same_as}
    rows = size_rows(sizes)
    histogram = side_histogram(sizes)
    blocks: list[Block] = [Table(rows, title='what the model sees')] if rows else []
    if histogram:
        blocks.append(Figure(histogram, 'Histogram of the sides of objects after resizing'))
    return blocks


def _fullest(splits: Sequence[Split]) -> Table:
    """Returns the images with most and least objects."""
    rows = [['images', 'objects']]
    for split in splits:
        images = sorted(split.images, key=_objects, reverse=True)
        if not split.same_as:
            for what, chosen in (('most', images), ('least', images[::-1])):
                cell = ', '.join(f'{each.name} ({_objects(each)})' for each in chosen[:FULLEST])
                rows.append([f'{split.name}, {what}', cell])
    return Table(rows, words=True)


def _objects(image: AnnotatedImage) -> int:
    return sum(image.counts().values())
