"""Reading of Pascal VOC files, as MMDetection's XMLDataset reads them."""

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mmengine.fileio import list_from_file

from .data import AnnotatedImage, DataSet, Use
from .geometry import crosses_border, has_area
from .problems import Problem


def read_xml(dataset: Any, data: DataSet, use: Use) -> None:
    """Adds the images of an XMLDataset of mmdet and their objects to ``data``."""
    root = Path(dataset.sub_data_root)
    for key in list_from_file(dataset.ann_file):
        name = f'{dataset.img_subdir}/{key}.jpg'
        image = AnnotatedImage(root / name, name)
        data.images.append(image)
        file = root / dataset.ann_subdir / f'{key}.xml'
        try:
            _read_file(file, image, data.classes)
        except (OSError, ElementTree.ParseError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            image.problems.append((Problem.MISSING_XML, f'{file.name}: {reason}'))
        except (AttributeError, TypeError, ValueError, OverflowError):
            image.problems.append((Problem.INCOMPLETE, f'name, bndbox or size in {file.name}'))


def _read_file(file: Path, image: AnnotatedImage, classes: tuple[str, ...]) -> None:
    annotation = ElementTree.parse(file).getroot()
    size = annotation.find('size')
    if size is not None:
        image.size = int(size.find('width').text), int(size.find('height').text)
    limits = image.size or (math.inf, math.inf)
    for number, item in enumerate(annotation.findall('object'), 1):
        name, corners = item.find('name').text, item.find('bndbox')
        left, top, right, bottom = (  # as MMDetection reads them
            int(float(corners.find(tag).text)) - 1 for tag in ('xmin', 'ymin', 'xmax', 'ymax')
        )
        box = left, top, right, bottom
        place = f'object {number}'
        if name not in classes:
            image.problems.append((Problem.OTHER_CATEGORY, f'{place}: {name}'))
        elif not has_area(box, limits):
            image.problems.append((Problem.VOID_BOX, place))
        else:
            if crosses_border(box, limits):
                image.problems.append((Problem.BORDER, place))
            image.add(box, classes.index(name))
