"""Mistakes in a config: which key made MMEngine fail to build something."""

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import extract_tb
from typing import Any

from mmengine import registry
from mmengine.config import Config
from mmengine.registry import Registry
from torch.utils.data import DataLoader

from ..errors import UserError, did_you_mean

UNKNOWN_TYPE = re.compile(r'([\w.]+) is not in the (?:[\w.]+::)?([\w ]+) registry')
UNKNOWN_ARGUMENT = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")
MISSING_ARGUMENT = re.compile(r'(\w+)\.__init__\(\) missing \d+ required .*?arguments?: (.*)')
NO_OPTIMIZER = 'None is not a callable object'  # of a constructor that looked it up in vain


@contextmanager
def explaining(config: Config) -> Iterator[None]:
    """Turns errors of what is built in the block into a UserError that names the key at fault.

    These are types that are not registered, arguments that a type does not have or lacks, and data
    sets without an image. Everything else, and what cannot be traced to a key, stays as it is.

    Args:
        config: What is built from.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        found = _explanation(config, error)
        if found is None:
            raise
        raise UserError(found) from error


def _explanation(config: Config, error: Exception) -> str | None:
    text = str(error)
    places = {frame.name for frame in extract_tb(error.__traceback__)}
    if '_serialize_data' in places and 'at least one array' in text:  # a data set packs its list
        keys = [f'{key}.dataset' for key in config if key.endswith('_dataloader') and config[key]]
        return (
            f'{" or ".join(keys)} has no image left: its files list none, or filter_cfg '
            'drops all of them, as those without objects. tools/check_data.py counts them.'
        )
    content = config.to_dict()
    parts = list(_parts(content))
    parts += [
        (key, dict(content[key], type=DataLoader))
        for key in content
        if key.endswith('_dataloader') and content[key]
    ]
    classes = _classes()
    if found := UNKNOWN_TYPE.search(text):
        name, kind = found.groups()
        return _unknown_type(parts, name, kind)
    if NO_OPTIMIZER in text:
        for key, part in parts:
            if key == 'optim_wrapper.optimizer' and part['type'] not in _classes('optimizer'):
                return _unknown_type(parts, part['type'], 'optimizer')
    if found := UNKNOWN_ARGUMENT.search(text):
        name, argument = found.groups()
        for key, part in parts:
            kind = _class(part['type'], classes)
            if argument in part and _is_a(kind, name):
                known = inspect.signature(kind).parameters
                return (
                    f'{key}.{argument}: {kind.__name__} has no such argument.'
                    f'{did_you_mean(argument, known)} It has {", ".join(known)}.'
                )
    if found := MISSING_ARGUMENT.search(text):
        name, arguments = found.groups()
        lacking = re.findall(r"'(\w+)'", arguments)
        for key, part in parts:
            if _is_a(_class(part['type'], classes), name) and not {*lacking} & {*part}:
                return f'{key}: {part["type"]} needs {", ".join(lacking)}.'
    return None


def _unknown_type(parts: list[tuple[str, dict]], name: str, kind: str) -> str | None:
    keys = [f'{key}.type' for key, part in parts if part['type'] == name]
    if not keys:
        return None
    return (
        f'{", ".join(keys)}: there is no {kind} {name}.{did_you_mean(name, _classes(kind))} '
        'Classes of your own need their module in custom_imports.'
    )


def _parts(branch: Any, key: str = '') -> Iterator[tuple[str, dict]]:
    """Yields what has a type, each with its key in the config."""
    if isinstance(branch, dict) and 'type' in branch:
        yield key, branch
    items = branch.items() if isinstance(branch, dict) else enumerate(branch)
    for name, value in items:
        if isinstance(value, dict | list | tuple):
            yield from _parts(value, f'{key}.{name}'.lstrip('.'))


def _classes(kind: str | None = None) -> dict[str, Any]:
    """Returns what is registered by name, as one kind or at all, with all MM packages there are."""
    roots = [root for root in vars(registry).values() if isinstance(root, Registry)]
    found: dict[str, Any] = {}
    for root in roots:
        if kind in (None, root.name):
            for each in (root, *root.children.values()):
                found.update(each.module_dict)
    return found


def _class(name: Any, classes: dict[str, Any]) -> Any:
    return classes.get(name.split('.')[-1]) if isinstance(name, str) else name


def _is_a(kind: Any, name: str) -> bool:
    return inspect.isclass(kind) and name in (parent.__name__ for parent in kind.__mro__)
