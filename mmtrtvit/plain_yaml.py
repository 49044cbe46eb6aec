"""YAML of plain values, within limits; a tag that would run Python is refused.

Tuples, which MMEngine writes into configs, are the one tag of Python's that is read.
"""

from typing import Any, NoReturn

import yaml

from .errors import UserError
from .limits import MAX_YAML_DEPTH, MAX_YAML_VALUES

PYTHON = 'tag:yaml.org,2002:python/'


Loader: Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


class PlainLoader(Loader):
    """Reads plain values and tuples, as far as they stay within the limits with all aliases."""

    def get_single_node(self) -> yaml.Node | None:
        """Returns the root of the document.

        Raises:
            UserError: If it has too many or too deeply nested values, or one that holds itself.
        """
        root = super().get_single_node()
        if root is not None:
            _measure(root, {})
        return root


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Returns how many values a node stands for, aliases written out, and how deep they nest."""
    if not isinstance(node, yaml.CollectionNode):
        return 1, 1
    line = node.start_mark.line + 1
    if id(node) not in known:
        known[id(node)] = 0, MAX_YAML_DEPTH  # should the node hold itself
        parts = node.value
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        sizes = [_measure(part, known) for part in parts]
        known[id(node)] = (
            1 + sum(count for count, _ in sizes),
            1 + max((depth for _, depth in sizes), default=0),
        )
    count, depth = known[id(node)]
    if count > MAX_YAML_VALUES:
        raise UserError(
            f'line {line}: with its aliases written out, this stands for more than '
            f'{MAX_YAML_VALUES:,} values. Use fewer aliases (*name).'
        )
    if depth > MAX_YAML_DEPTH:
        raise UserError(
            f'line {line}: values within values, more than {MAX_YAML_DEPTH} deep, or an alias '
            'within its own value. Use fewer levels.'
        )
    return count, depth


def _tuple(loader: PlainLoader, node: yaml.SequenceNode) -> tuple:
    return tuple(loader.construct_sequence(node, deep=True))


def _refuse(loader: PlainLoader, suffix: str, node: yaml.Node) -> NoReturn:
    line = node.start_mark.line + 1
    raise UserError(
        f'line {line}: the tag !!python/{suffix} would run Python. Write a plain value, or a '
        'config in Python (.py).'
    )


PlainLoader.add_multi_constructor(PYTHON, _refuse)
PlainLoader.add_constructor(f'{PYTHON}tuple', _tuple)
