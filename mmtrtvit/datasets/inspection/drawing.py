"""Drawing of annotations onto their images, as MMDetection and MMSegmentation draw them."""

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.structures import InstanceData, PixelData
from PIL import Image

from ...analysis.sheets import draw_sheet
from ...annotations.data import AnnotatedImage, DataSet
from ...annotations.findings import Split
from ...annotations.problems import Problem
from ...media import IMAGES
from .inspecting import Inspection

DRAWN_PIXELS = 1 << 23  # most of a drawn image: Matplotlib takes 80 bytes for each
UNDRAWABLE = {
    Problem.MISSING_IMAGE,
    Problem.UNREADABLE_IMAGE,
    Problem.MISSING_LABEL_MAP,
    Problem.UNREADABLE_LABEL_MAP,
    Problem.LABEL_MAP_SIZE,
}


def draw_inspection(inspection: Inspection, folder: str | Path, count: int) -> list[Path]:
    """Draws images of each split into ``folder/<split>`` and onto ``folder/<split>.png``.

    Args:
        inspection: What :func:`~.inspection.inspect_data` returned.
        folder: Where to; made if need be.
        count: Images of each split. Up to half of them are images with a finding, the others
            are evenly spread.

    Returns:
        The sheets.
    """
    sheets = []
    for split in inspection.splits:
        chosen = [] if split.same_as else choose(split, count)
        if not chosen:
            continue
        target = Path(folder, split.name)
        target.mkdir(parents=True, exist_ok=True)
        drawn, captions = [], []
        for data, image in chosen:
            drawn.append(target / _file_name(image))
            captions.append(_caption(data, image))
            draw_image(data, image, drawn[-1])
        sheets.append(
            draw_sheet(
                drawn,
                Path(folder, f'{split.name}.png'),
                title=f'{split.name}: {len(drawn)} of {len(split.images)} images',
                columns=min(4, len(drawn)),
                captions=captions,
            )
        )
    return sheets


def _file_name(image: AnnotatedImage) -> str:
    name = image.name.replace('/', '_')
    return name if Path(name).suffix.lower() in IMAGES else f'{name}.png'


def is_drawable(image: AnnotatedImage) -> bool:
    """Whether an image and its label map could be read."""
    return not UNDRAWABLE & {problem for problem, _ in image.problems}


def choose(split: Split, count: int) -> list[tuple[DataSet, AnnotatedImage]]:
    """Chooses ``count`` images that can be drawn, up to half of them ones with a finding."""
    drawable = [(data, image) for data in split.data for image in data.images if is_drawable(image)]
    flagged = _spread([pair for pair in drawable if pair[1].problems], count // 2)
    others = [pair for pair in drawable if pair not in flagged]
    chosen = flagged + _spread(others, count - len(flagged))
    return [pair for pair in drawable if pair in chosen]


def draw_image(data: DataSet, image: AnnotatedImage, out: Path) -> None:
    """Draws boxes and masks, or the label map, over an image.

    Args:
        data: The data set that the image is of, for its classes and colours.
        image: The image.
        out: The image file to write.
    """
    pixels = np.ascontiguousarray(image.pixels()[..., ::-1])  # to RGB
    if image.labels and not image.boxes:  # a class for all of it
        Image.fromarray(pixels).save(out)
        return
    visualizer, sample = (
        _boxes(image, pixels) if image.label_map is None else _label_map(data, image)
    )
    pixels = shrink(pixels, sample)
    own = data.palette and len(data.palette) >= len(data.classes)
    visualizer.dataset_meta = dict(classes=data.classes, palette=data.palette if own else 'random')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # MMEngine's, of boxes that end at the border
        visualizer.add_datasample(image.name, pixels, sample, draw_pred=False, out_file=str(out))


def shrink(pixels: np.ndarray, sample: Any) -> np.ndarray:
    """Shrinks an image of more than :data:`DRAWN_PIXELS`, and in place what is drawn on it.

    Args:
        pixels: ``(H, W, 3)``.
        sample: With ``gt_instances`` or ``gt_sem_seg`` in the pixels of the image.

    Returns:
        The image, or a smaller one.
    """
    height, width = pixels.shape[:2]
    scale = (DRAWN_PIXELS / (height * width)) ** 0.5
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))

    def nearest(values: np.ndarray) -> np.ndarray:
        return cv2.resize(values.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)

    if 'gt_sem_seg' in sample:
        labels = nearest(sample.gt_sem_seg.data[0].numpy())
        sample.gt_sem_seg = PixelData(data=torch.as_tensor(labels[None]))
    else:
        found = dict(sample.gt_instances.items())
        found['bboxes'] = (
            found['bboxes']
            * found['bboxes'].new_tensor([*size] * 2)
            / (found['bboxes'].new_tensor([width, height] * 2))
        )
        if 'masks' in found:
            found['masks'] = np.stack([nearest(mask) for mask in found['masks']]).astype(bool)
        sample.gt_instances = InstanceData(**found)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _boxes(image: AnnotatedImage, pixels: np.ndarray) -> tuple[Any, Any]:
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.visualization import DetLocalVisualizer

    boxes = HorizontalBoxes(np.array(image.boxes, np.float32).reshape(-1, 4))
    boxes.clip_(pixels.shape[:2])  # one over the border would move the image
    instances = InstanceData(bboxes=boxes.tensor, labels=torch.tensor(image.labels).long())
    if image.size == pixels.shape[1::-1] and any(image.masks):
        instances.masks = np.stack([image.mask(index) for index in range(len(image.masks))])
    return DetLocalVisualizer(line_width=2, alpha=0.6), DetDataSample(gt_instances=instances)


def _label_map(data: DataSet, image: AnnotatedImage) -> tuple[Any, Any]:
    from mmseg.structures import SegDataSample
    from mmseg.visualization import SegLocalVisualizer

    with Image.open(image.label_map) as opened:
        values = np.asarray(opened).astype(np.uint8)
    labels = torch.as_tensor(data.labels_of_values[values][None])
    visualizer = SegLocalVisualizer(alpha=0.6)
    return visualizer, SegDataSample(gt_sem_seg=PixelData(data=labels))


def _caption(data: DataSet, image: AnnotatedImage) -> str:
    texts = dict.fromkeys(problem.text for problem, _ in image.problems)
    whole = [] if image.boxes else [data.classes[label] for label in image.labels]
    return '\n'.join([image.name, *whole, *(textwrap.fill(text, 60) for text in texts)])


def _spread(items: Sequence, count: int) -> list:
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]
