"""Pipeline from an image to the input of a graph.

Its result is, to the bit, that of the config's test pipeline and the model's data preprocessor with
the same OpenCV.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import UserError, did_you_mean
from ..limits import MAX_SIDE
from .resampling import FILTERS, resample
from .schema import parse

INTERPOLATIONS = {
    'nearest': cv2.INTER_NEAREST,
    'bilinear': cv2.INTER_LINEAR,
    'bicubic': cv2.INTER_CUBIC,
    'area': cv2.INTER_AREA,
    'lanczos': cv2.INTER_LANCZOS4,
}
BACKENDS = {'cv2': INTERPOLATIONS, 'pillow': FILTERS}  # what resizes, and the ways that it knows
EDGES = 'short', 'long', 'width', 'height'
ANY = object()
# The keys of each transform, with the one value that is understood or any. Transforms without a
# meaning here tell MMDeploy's SDK how to hand over arrays.
TRANSFORMS: dict[str, dict[str, Any]] = {
    'LoadImageFromFile': dict(
        to_float32=False,
        color_type='color',
        imdecode_backend='cv2',
        ignore_empty=ANY,
        backend_args=None,
        file_client_args=None,
    ),
    'Resize': dict(
        size=ANY,
        keep_ratio=ANY,
        interpolation=ANY,
        backend=ANY,
        clip_object_border=ANY,
        scale_factor=None,
    ),
    'ResizeEdge': dict(scale=ANY, edge=ANY, interpolation=ANY, backend=ANY),
    'CenterCrop': dict(crop_size=ANY, auto_pad=False, pad_cfg=ANY, clip_object_border=ANY),
    'Pad': dict(
        size=ANY, size_divisor=ANY, pad_to_square=ANY, pad_val=ANY, padding_mode='constant'
    ),
    'Normalize': dict(mean=ANY, std=ANY, to_rgb=ANY),
    'DefaultFormatBundle': {},
    'ImageToTensor': dict(keys=ANY),
    'Collect': dict(keys=ANY, meta_keys=ANY),
}


@dataclass(frozen=True)
class Prepared:
    """An image for the graph.

    Attributes:
        image: ``(3, H, W)``, float32, or ``(H, W, 3)``, uint8, if the graph normalises by itself.
        size: Height and width without the padding after the normalisation.
        resized: Height and width without any padding.
        original: Height and width of the image as it came.
        note: What was done to it that the pipeline does not say, or nothing.
    """

    image: np.ndarray
    size: tuple[int, int]
    resized: tuple[int, int]
    original: tuple[int, int]
    note: str = ''

    @property
    def scale(self) -> np.ndarray:
        """What widths and heights were multiplied by, ``(2,)``, float32."""
        return np.array(
            [self.resized[1] / self.original[1], self.resized[0] / self.original[0]], np.float32
        )


@dataclass(frozen=True)
class Resize:
    """mmcv's ``Resize`` to a width and height, or to what fits into them either way round."""

    size: tuple[int, int]
    keep_ratio: bool = False
    interpolation: str = 'bilinear'
    backend: str = 'cv2'

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of this height and width gets."""
        if not self.keep_ratio:
            return self.size[1], self.size[0]
        scale = min(max(self.size) / max(height, width), min(self.size) / min(height, width))
        return int(height * scale + 0.5), int(width * scale + 0.5)


@dataclass(frozen=True)
class ResizeEdge:
    """MMPretrain's ``ResizeEdge``: one edge gets a length, the other follows."""

    scale: int
    edge: str = 'short'
    interpolation: str = 'bilinear'
    backend: str = 'cv2'

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of this height and width gets."""
        by_width = dict(short=width < height, long=width > height, width=True, height=False)[
            self.edge
        ]
        if by_width:
            return int(self.scale * height / width), self.scale
        return self.scale, int(self.scale * width / height)


@dataclass(frozen=True)
class CenterCrop:
    """mmcv's ``CenterCrop``: a width and height from the middle, or what there is of it."""

    size: tuple[int, int]

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of this height and width gets."""
        return min(self.size[1], height), min(self.size[0], width)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The middle of an image, ``(H, W, 3)``."""
        height, width = image.shape[:2]
        rows, columns = self.target(height, width)
        top, left = round((height - rows) / 2), round((width - columns) / 2)
        return image[top : top + rows, left : left + columns]


@dataclass(frozen=True)
class Pad:
    """mmcv's ``Pad``, or the padding of a data preprocessor, at the right and at the bottom."""

    size: tuple[int, int] | None = None
    divisor: int = 1
    square: bool = False
    value: float | tuple[float, ...] = 0

    @property
    def idle(self) -> bool:
        """Whether it leaves every image as it is."""
        return self.size is None and self.divisor == 1 and not self.square

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of this height and width gets; never less."""
        if self.size is not None:
            return max(self.size[1], height), max(self.size[0], width)
        if self.square:
            height = width = max(height, width)
        return (
            math.ceil(height / self.divisor) * self.divisor,
            math.ceil(width / self.divisor) * self.divisor,
        )


class Pipeline:
    """Prepares images.

    Args:
        transforms: As in ``pipeline.json``.
        source: Where they come from, for messages.
        normalise: False for a graph that takes uint8 images and normalises by itself.

    Raises:
        UserError: If a transform, or a value of one, is unknown.
    """

    def __init__(
        self,
        transforms: Sequence[Mapping[str, Any]],
        source: str | Path,
        normalise: bool = True,
    ) -> None:
        self.normalise = normalise
        self.resize: Resize | ResizeEdge | None = None
        self.crop: CenterCrop | None = None
        self.pads: list[Pad] = []  # before the normalisation
        self.padding: Pad | None = None  # after normalisation
        self.mean, self.std, self.to_rgb = np.zeros(3), np.ones(3), False
        normalised = False
        for transform in transforms:
            kind = transform.get('type')
            _check(transform, source)
            if kind in ('Resize', 'ResizeEdge'):
                if self.resize or self.crop or self.pads or normalised:
                    raise UserError(f'{source}: {kind} must be the first and only change.')
                read = _resize if kind == 'Resize' else _resize_edge
                self.resize = read(transform, source)
            elif kind == 'CenterCrop':
                if self.crop or self.pads or normalised:
                    raise UserError(f'{source}: CenterCrop must follow the resizing, and once.')
                self.crop = _crop(transform, source)
            elif kind == 'Pad':
                pad = _pad(transform, source)
                if not normalised:
                    self.pads.append(pad)
                elif self.padding:
                    raise UserError(f'{source}: more than one Pad follows Normalize.')
                else:
                    self.padding = pad
            elif kind == 'Normalize':
                normalised = True
                self.mean, self.std, self.to_rgb = _normalise(transform, source)
        levels = np.arange(256, dtype=np.float32)[:, None]
        self.table = (levels - self.mean.astype(np.float32)) / self.std.astype(np.float32)

    def __call__(self, image: np.ndarray, limits: Sequence[tuple[int, int]] = ()) -> Prepared:
        """Prepares an image.

        Args:
            image: ``(H, W, 3)``, uint8, BGR.
            limits: Heights and widths that the graph takes at most, if there are limits. An image
                that fits into none of them is shrunk to the one that leaves most of it.

        Raises:
            UserError: If a side of the image would vanish, or it cannot fit.
        """
        original = image.shape[:2]
        wanted = resized = self.target(original)
        note = ''
        if limits and self.crop:
            self._require_room(wanted, limits)
        elif limits:
            resized = max((self._fitted(wanted, most) for most in limits), key=math.prod)
        if resized != wanted:
            note = (
                f'shrunk to {resized[1]} x {resized[0]} pixels instead of {wanted[1]} x '
                f'{wanted[0]}: the model takes at most '
                f'{" or ".join(f"{width} x {height}" for height, width in limits)}'
            )
        if resized != original:
            image = self._resized(image, resized)
        if self.crop:
            image = self.crop(image)
        for pad in self.pads:
            image = _padded(image, pad)
        return Prepared(self._normalised(image), image.shape[:2], resized, original, note)

    def target(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width that an image of this height and width is resized to.

        Raises:
            UserError: If a side would vanish.
        """
        wanted = self.resize.target(*size) if self.resize else size
        if min(wanted) < 1:
            raise UserError(
                f'{size[1]} x {size[0]} pixels cannot be resized to {wanted[1]} x {wanted[0]}, as '
                'the pipeline says: one side would vanish.'
            )
        return wanted

    def _resized(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """``(H, W, 3)`` in another height and width."""
        interpolation = self.resize.interpolation if self.resize else 'bilinear'
        if self.resize and self.resize.backend == 'pillow':
            return resample(image, size, interpolation)
        return cv2.resize(image, size[::-1], interpolation=INTERPOLATIONS[interpolation])

    def _require_room(self, resized: tuple[int, int], limits: Sequence[tuple[int, int]]) -> None:
        """Refuses a graph that takes less than what is cut out: it would see something else."""
        pads = [*self.pads, *filter(None, [self.padding])]
        height, width = _through(self.crop.target(*resized), pads)
        if not any(_fits((height, width), most) for most in limits):
            raise UserError(
                f'the pipeline cuts out {width} x {height} pixels, but the model takes at most '
                f'{" or ".join(f"{columns} x {rows}" for rows, columns in limits)}.'
            )

    def _normalised(self, image: np.ndarray) -> np.ndarray:
        """``(3, H, W)``, float32, with the padding; or as it is, for a graph of uint8 images."""
        padding = self.padding or Pad()
        if not self.normalise:
            return _padded(image, replace(padding, value=0))
        height, width = image.shape[:2]
        planes = np.full((3, *padding.target(height, width)), padding.value, np.float32)
        for channel in range(3):
            plane = cv2.extractChannel(image, 2 - channel if self.to_rgb else channel)
            planes[channel, :height, :width] = cv2.LUT(plane, self.table[:, channel].copy())
        return planes

    def _fitted(self, resized: tuple[int, int], most: tuple[int, int]) -> tuple[int, int]:
        """Height and width, no more than these, that fit into the graph with all padding."""
        pads = [*self.pads, *filter(None, [self.padding])]
        if _fits(_through(resized, pads), most):
            return resized
        room = list(most)
        for pad in pads:
            room = [side // pad.divisor * pad.divisor for side in room]
            room = [min(room)] * 2 if pad.square else room
        scale = min(1.0, *(limit / side for limit, side in zip(room, resized)))
        height, width = (max(int(side * scale), 1) for side in resized)
        smaller = height, width
        final = _through(smaller, pads)
        if not _fits(final, most):
            raise UserError(
                f'the pipeline pads images to {final[1]} x {final[0]} pixels, but the model '
                f'takes at most {most[1]} x {most[0]}.'
            )
        return smaller


def _through(size: tuple[int, int], pads: Sequence[Pad]) -> tuple[int, int]:
    for pad in pads:
        size = pad.target(*size)
    return size


def _fits(size: tuple[int, int], most: tuple[int, int]) -> bool:
    return size[0] <= most[0] and size[1] <= most[1]


def _padded(image: np.ndarray, pad: Pad) -> np.ndarray:
    height, width = image.shape[:2]
    target = pad.target(height, width)
    value = (pad.value,) * 3 if isinstance(pad.value, int | float) else pad.value
    return cv2.copyMakeBorder(
        image, 0, target[0] - height, 0, target[1] - width, cv2.BORDER_CONSTANT, value=value
    )


def _check(transform: Mapping[str, Any], source: str | Path) -> None:
    """Refuses what is not understood."""
    kind = transform.get('type')
    if not isinstance(kind, str) or kind not in TRANSFORMS:
        raise UserError(
            f'{source}: the runtime does not know the transform {kind}.'
            f'{did_you_mean(str(kind), TRANSFORMS)} It knows: {", ".join(TRANSFORMS)}.'
        )
    for key, value in transform.items():
        if key == 'type':
            continue
        if key not in TRANSFORMS[kind]:
            raise UserError(
                f'{source}: the runtime does not know {kind}.{key}.'
                f'{did_you_mean(key, TRANSFORMS[kind])}'
            )
        expected = TRANSFORMS[kind][key]
        if expected is not ANY and value != expected:
            raise UserError(
                f'{source}: {kind}.{key} is {value!r}, but the runtime knows {expected!r} only.'
            )


@dataclass(frozen=True)
class ResizeSettings:
    """What ``Resize`` says of itself in ``pipeline.json``."""

    size: int | tuple[int, int]
    keep_ratio: bool = False
    interpolation: str = 'bilinear'
    backend: str = 'cv2'


@dataclass(frozen=True)
class ResizeEdgeSettings:
    """What ``ResizeEdge`` says of itself."""

    scale: int
    edge: str = 'short'
    interpolation: str = 'bilinear'
    backend: str = 'cv2'


@dataclass(frozen=True)
class CenterCropSettings:
    """What ``CenterCrop`` says of itself."""

    crop_size: int | tuple[int, int]


@dataclass(frozen=True)
class PadValue:
    """``pad_val`` by the kind of map."""

    img: float | tuple[float, float, float] = 0.0


@dataclass(frozen=True)
class PadSettings:
    """What ``Pad`` says of itself."""

    size: int | tuple[int, int] | None = None
    size_divisor: int | None = None
    pad_to_square: bool = False
    pad_val: float | tuple[float, float, float] | PadValue = 0.0


@dataclass(frozen=True)
class NormalizeSettings:
    """What ``Normalize`` says of itself."""

    mean: float | tuple[float] | tuple[float, float, float]
    std: float | tuple[float] | tuple[float, float, float]
    to_rgb: bool = True


def _resize(transform: Mapping[str, Any], source: str | Path) -> Resize:
    settings = parse(transform, ResizeSettings, source=f'{source}:', key='Resize')
    _check_resizing(settings, 'Resize', source)
    size = _size(settings.size, 'Resize.size', source)
    return Resize(size, settings.keep_ratio, settings.interpolation, settings.backend)


def _resize_edge(transform: Mapping[str, Any], source: str | Path) -> ResizeEdge:
    settings = parse(transform, ResizeEdgeSettings, source=f'{source}:', key='ResizeEdge')
    _check_resizing(settings, 'ResizeEdge', source)
    _one_of(settings.edge, EDGES, 'ResizeEdge.edge', source)
    _size(settings.scale, 'ResizeEdge.scale', source)
    return ResizeEdge(settings.scale, settings.edge, settings.interpolation, settings.backend)


def _crop(transform: Mapping[str, Any], source: str | Path) -> CenterCrop:
    settings = parse(transform, CenterCropSettings, source=f'{source}:', key='CenterCrop')
    return CenterCrop(_size(settings.crop_size, 'CenterCrop.crop_size', source))


def _check_resizing(
    settings: ResizeSettings | ResizeEdgeSettings, kind: str, source: str | Path
) -> None:
    """Refuses a library, or a way of interpolating, that is not known."""
    _one_of(settings.backend, BACKENDS, f'{kind}.backend', source)
    _one_of(settings.interpolation, BACKENDS[settings.backend], f'{kind}.interpolation', source)


def _one_of(value: str, known: Iterable[str], key: str, source: str | Path) -> None:
    if value not in known:
        raise UserError(f'{source}: {key} is {value!r}, expected one of: {", ".join(known)}.')


def _pad(transform: Mapping[str, Any], source: str | Path) -> Pad:
    settings = parse(transform, PadSettings, source=f'{source}:', key='Pad')
    divisor = settings.size_divisor or 1
    if not 1 <= divisor <= MAX_SIDE:
        raise UserError(f'{source}: Pad.size_divisor is {divisor}, expected 1 to {MAX_SIDE}.')
    value = settings.pad_val
    return Pad(
        size=None if settings.size is None else _size(settings.size, 'Pad.size', source),
        divisor=divisor,
        square=settings.pad_to_square,
        value=value.img if isinstance(value, PadValue) else value,
    )


def _normalise(
    transform: Mapping[str, Any], source: str | Path
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Mean, standard deviation and whether channels are swapped."""
    settings = parse(transform, NormalizeSettings, source=f'{source}:', key='Normalize')
    mean, std = (
        np.broadcast_to(np.array(value, np.float32), 3) for value in (settings.mean, settings.std)
    )
    if not std.all() or not np.isfinite([mean, std]).all():
        raise UserError(
            f'{source}: Normalize has the mean {settings.mean} and the standard deviation '
            f'{settings.std}, expected finite numbers, and no deviation of 0.'
        )
    return mean, std, settings.to_rgb


def _size(value: int | tuple[int, int], key: str, source: str | Path) -> tuple[int, int]:
    """Width and height, from both or from one number."""
    width, height = (value, value) if isinstance(value, int) else value
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise UserError(
            f'{source}: {key} is {value!r}, expected [WIDTH, HEIGHT] of 1 to {MAX_SIDE} pixels.'
        )
    return width, height
