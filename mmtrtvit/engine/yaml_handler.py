"""PlainYamlHandler: MMEngine's reader of YAML, for configs, ``_base_`` and data, without Python tags.

MMEngine's own runs what a tag such as ``!!python/object/apply`` names.
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
