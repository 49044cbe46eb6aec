"""The formats of data sets that are converted, by name."""

from collections.abc import Sequence
from pathlib import Path

from ..convert import LabelFiles
from .cvat import find_cvat
from .label_studio import find_label_studio
from .labelme import find_labelme
from .voc import find_voc
from .yolo import find_yolo

FINDERS = {
    'yolo': find_yolo,
    'voc': find_voc,
    'cvat': find_cvat,
    'labelme': find_labelme,
    'label-studio': find_label_studio,
}


def find(format: str, source: str | Path, classes: Sequence[str] | None = None) -> LabelFiles:
    """Finds the images and labels of a data set.

    Args:
        format: A key of :data:`FINDERS`.
        source: Its folder or file.
        classes: Names of the classes in their order. Default: as the data set has them, or all
            that occur, by the alphabet.

    Raises:
        UserError: If there are no images for train, or something is missing.
    """
    files = FINDERS[format](source)
    files.classes = classes or files.classes
    return files
