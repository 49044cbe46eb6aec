"""YAML without Python tags, for all that MMEngine reads from YAML: configs, ``_base_`` and data.

MMEngine's own reader runs what a tag such as ``!!python/object/apply`` names. Tuples, which
MMEngine itself writes into configs, are the one tag that stays.
"""

from typing import Any, NoReturn

import yaml
from mmengine.fileio import YamlHandler, register_handler

from ..errors import UserError

PYTHON = 'tag:yaml.org,2002:python/'


Loader: Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


class PlainLoader(Loader):
    """Reads plain values and tuples."""


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


@register_handler(['yaml', 'yml'])
class PlainYamlHandler(YamlHandler):
    """MMEngine's handler of YAML with another loader."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """Reads a file.

        Raises:
            UserError: If it has another Python tag than that of tuples.
        """
        return super().load_from_fileobj(file, **{'Loader': PlainLoader, **kwargs})
