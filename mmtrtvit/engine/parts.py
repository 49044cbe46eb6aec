"""Parts of a config that several modules look for: leaf data sets, and the heads' classes."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

# Parts of a model whose num_classes, if any, is not that of the data.
NOT_HEADS = ('backbone', 'rpn_head', 'semantic_head', 'teacher_options')


def leaf_datasets(config: Config, split: str) -> Iterator[tuple[str, dict]]:
    """Yields the data sets of a split, out of all wrappers, each with its key in the config."""

    def walk(dataset: Any, key: str) -> Iterator[tuple[str, dict]]:
        if isinstance(dataset, list | tuple):
            for index, part in enumerate(dataset):
                yield from walk(part, f'{key}.{index}')
        elif isinstance(dataset, dict):
            inner = [name for name in ('dataset', 'datasets') if name in dataset]
            for name in inner:
                yield from walk(dataset[name], f'{key}.{name}')
            if not inner:
                yield key, dataset

    loader = config.get(f'{split}_dataloader') or {}
    yield from walk(loader.get('dataset'), f'{split}_dataloader.dataset')


def metrics(config: Config, split: str) -> Iterator[tuple[str, dict]]:
    """Yields the metrics of a split, each with its key in the config."""
    found = config.get(f'{split}_evaluator') or {}
    if isinstance(found, dict):
        yield f'{split}_evaluator', found
    else:
        yield from ((f'{split}_evaluator.{index}', part) for index, part in enumerate(found))


def loads_masks(config: Config, split: str, dataset: dict) -> bool:
    """Returns whether a data set's pipeline loads masks, or a metric of its split needs them."""

    def steps(part: Any) -> Iterator[dict]:
        for value in part if isinstance(part, list | tuple) else ():
            yield from steps(value)
        if isinstance(part, dict):
            yield part
            for value in part.values():
                yield from steps(value)

    measures = config.get(f'{split}_evaluator') if split != 'train' else None
    return any(step.get('with_mask') for step in steps(dataset.get('pipeline'))) or any(
        'segm' in (step.get('metric') or ()) for step in steps(measures)
    )


def class_counts(model: Any, key: str = 'model') -> Iterator[tuple[str, int]]:
    """Yields the key and value of every ``num_classes`` in a model's config."""
    parts = model.items() if isinstance(model, dict) else ()
    for name, value in enumerate(model) if isinstance(model, list | tuple) else parts:
        if name == 'num_classes':
            yield f'{key}.{name}', value
        elif name not in NOT_HEADS:
            yield from class_counts(value, f'{key}.{name}')
