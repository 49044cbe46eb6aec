"""Images with their annotations, as every reader of annotations returns them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from ..errors import UserError
from ..images import decode, read_image
from .problems import Problem

Problems = list[tuple[Problem, str]]
Box = tuple[float, float, float, float]


@dataclass(eq=False, slots=True)
class AnnotatedImage:
    """An image with its annotations.

    Attributes:
        path: The image file, or where it is in a file of many.
        name: Its path as the annotations have it.
        size: Width and height in pixels as the annotations have them, else those of the file once
            it was read.
        boxes: (left, top, right, bottom) in pixels of each instance that a training sees.
        labels: Index of the class of each instance.
        masks: The counts of each instance's compressed RLE, as pycocotools has it; None for a box
            alone. :meth:`mask` gives the pixels.
        ignored: Whether training and metric leave the instance out, as they do with crowds.
        label_map: File with the class of each pixel, in semantic segmentation.
        read: Returns the bytes of an image that lies in a file of many, such as a tar file.
        problems: What is wrong with the image, and which part of it where it has parts.
    """

    path: Path
    name: str
    size: tuple[int, int] | None = None
    boxes: list[Box] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    masks: list[bytes | None] = field(default_factory=list)
    ignored: list[bool] = field(default_factory=list)
    label_map: Path | None = None
    read: Callable[[], bytes] | None = None
    problems: Problems = field(default_factory=list)

    def add(
        self, box: Box, label: int, *, mask: bytes | None = None, ignored: bool = False
    ) -> None:
        """Adds an instance."""
        self.boxes.append(box)
        self.labels.append(label)
        self.masks.append(mask)
        self.ignored.append(ignored)

    def pixels(self) -> np.ndarray:
        """Returns the image, ``(H, W, 3)``, uint8, BGR.

        Raises:
            UserError: If it cannot be read or decoded.
        """
        if self.read is None:
            return read_image(self.path)
        try:
            return decode(self.read())
        except (OSError, ValueError) as error:
            raise UserError(f'{self.name} {error}') from error

    def mask(self, index: int) -> np.ndarray:
        """Returns which pixels an instance has: ``(H, W)``, bool; none for a box alone."""
        width, height = self.size
        if self.masks[index] is None:
            return np.zeros((height, width), bool)
        return coco_mask.decode(dict(size=[height, width], counts=self.masks[index])) > 0

    def counts(self) -> Counter[int]:
        """Returns the instances by class index, without the ignored ones."""
        return Counter(label for label, ignored in zip(self.labels, self.ignored) if not ignored)


@dataclass(eq=False)
class DataSet:
    """A data set of a config.

    Attributes:
        source: The annotation file, or the pattern of the image files.
        classes: Names of the classes.
        palette: A colour (red, green, blue) per class, or None.
        images: All images, those without annotations too.
        problems: What is wrong beyond single images, and where.
        labels_of_values: For label maps, the class index of each value 0 to 255 of a file: (256,).
        ignored_label: The class index that a training leaves out.
        counts: Instances, or pixels of label maps, by class index.
        ignored: Instances by class index that training and metric leave out.
        values: Pixels by their value in the files of label maps.
        resized: Pixels of label maps by class index after the resizing of the config.
        contents: Digest of the bytes of each image file, and the image's name.
        looks: Perceptual hash of each image with contrast, and the image's name.
        copies: Images whose file has the same bytes as another one's: its name and the other's.
    """

    source: str
    classes: tuple[str, ...]
    palette: list | None
    images: list[AnnotatedImage] = field(default_factory=list)
    problems: Problems = field(default_factory=list)
    labels_of_values: np.ndarray | None = None
    ignored_label: int = 255
    counts: Counter = field(default_factory=Counter)
    ignored: Counter = field(default_factory=Counter)
    values: Counter = field(default_factory=Counter)
    resized: Counter = field(default_factory=Counter)
    contents: dict[bytes, str] = field(default_factory=dict)
    looks: dict[bytes, str] = field(default_factory=dict)
    copies: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Use:
    """What a split does with its data: whether it loads masks, and whether it evaluates on it."""

    masks: bool = False
    evaluation: bool = False
