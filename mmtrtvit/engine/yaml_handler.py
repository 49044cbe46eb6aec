"""PlainYamlHandler: what MMEngine reads YAML with, configs, ``_base_`` and data alike.

MMEngine's own handler runs what a tag such as ``!!python/object/apply`` names.
"""

from typing import Any

from mmengine.fileio import YamlHandler, register_handler

from ..plain_yaml import PlainLoader


@register_handler(['yaml', 'yml'])
class PlainYamlHandler(YamlHandler):
    """MMEngine's handler of YAML with another loader."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """Reads a file.

        Raises:
            UserError: If it has another Python tag than that of tuples.
        """
        return super().load_from_fileobj(file, **{'Loader': PlainLoader, **kwargs})
