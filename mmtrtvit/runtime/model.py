"""Model: the base class of exported detectors and segmentors, from images to results."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..images import ImageSource, read_image
from .batches import or_bad, predict_batches
from .legend import Legend
from .pipeline import Pipeline, Prepared
from .results import BadImage
from .sessions.base import (
    SIZES,
    NoMemory,
    Session,
    ShapeLimits,
    Tensor,
    image_input,
    require,
    resizes,
)
from .sessions.opening import open_session
from .tiling import Tile, Tiling, tiles_of
from .work_dir import read_work_dir


class Model(ABC):
    """An exported model; threads may share it.

    Args:
        work_dir: Folder that ``tools/deploy.py`` wrote.
        device: ``'cpu'`` or ``'cuda:0'``, or ``'openvino'`` to run an ONNX file in OpenVINO;
            default: the first GPU for engines, the CPU for others.
        threads: Threads of one operator on the CPU; 0 for one per core.
        timeout: Most seconds of a run in ONNX Runtime; others cannot be stopped.
        session: What runs the graph, instead of the file in the folder.

    Attributes:
        work_dir: What the folder says.
        session: What runs the graph.
        pipeline: Prepares images.

    Raises:
        UserError: If the folder, the file or the device cannot be used.
    """

    task: str
    input_names: tuple[str, ...] = ('input',)
    output_names: tuple[str, ...]

    def __init__(
        self,
        work_dir: str | Path,
        device: str | None = None,
        *,
        threads: int = 0,
        timeout: float | None = None,
        session: Session | None = None,
    ) -> None:
        self.work_dir = read_work_dir(work_dir)
        if self.work_dir.task != self.task:
            raise UserError(f'{work_dir} holds a {self.work_dir.task}, not a {self.task}.')
        self.session = session or open_session(self.work_dir.net, device, threads, timeout)
        source = self.work_dir.net
        self._resizes = resizes(self.session)
        if self._resizes:
            self.input_names = ('input',)
        require(self.session.inputs, self.input_names, what='inputs', source=source)
        require(self.session.outputs, self.output_names, what='outputs', source=source)
        uint8 = _takes_uint8(image_input(self.session), source)
        self._sides = slice(0, 2) if uint8 else slice(1, 3)  # of an image's shape
        self._limits = _limits(_of_images(self.session), self._sides)
        transforms = self.work_dir.transforms
        if self._resizes:  # and pads
            transforms = [each for each in transforms if each.get('type') != 'Pad']
        self.pipeline = Pipeline(transforms, self.work_dir.path / 'pipeline.json', not uint8)

    def __call__(
        self,
        image: ImageSource,
        tile: tuple[int, int] | None = None,
        overlap: float = 0.2,
        batch_size: int = 1,
        *,
        tile_whole: bool = Tiling.whole,
        tile_merge: str = Tiling.merge,
        tile_score_thr: float = Tiling.score_thr,
    ) -> Any:
        """Predicts on one image.

        Args:
            image: A file, or an array as OpenCV reads it.
            tile: Height and width of the parts in which a larger image is looked at, each as if
                it were an image of its own.
            overlap: Least share of a tile that its neighbour has, too.
            batch_size: Most tiles at once.
            tile_whole: Whether a detector looks at the whole image as well, for objects that are
                larger than tiles.
            tile_merge: ``'cut'`` or ``'all'``, see :func:`~.merging.merge_detections`.
            tile_score_thr: Detections up to this score let no other grow where tiles are merged,
                but are in the result.

        Raises:
            UserError: If the image cannot be used, see :func:`~mmtrtvit.images.read_image`, or
                the model gives numbers that are not finite.
        """
        pixels = read_image(image)
        size = pixels.shape[:2]
        tiling = Tiling(tile, overlap, tile_whole, tile_merge, tile_score_thr) if tile else None
        tiles = self.tiles(size, tiling) if tiling else []
        if len(tiles) < 2:
            return next(_usable(self.infer([self.prepare(pixels)])))
        parts = (self.prepare(pixels[top:bottom, left:right]) for top, left, bottom, right in tiles)
        infer = partial(self.infer, result=self.part)
        results = predict_batches(parts, batch_size, shape_of=_shape, infer=infer)
        return self.merge(_usable(results), tiles, size=size, tiling=tiling)

    def predict(
        self,
        images: Iterable[ImageSource],
        batch_size: int = 1,
        *,
        tile: tuple[int, int] | None = None,
        overlap: float = 0.2,
        tile_whole: bool = Tiling.whole,
        tile_merge: str = Tiling.merge,
        tile_score_thr: float = Tiling.score_thr,
    ) -> Iterator[Any]:
        """Predicts on one image after the other.

        Args:
            images: Files, or arrays as OpenCV reads them.
            batch_size: Most images, or tiles of one, at once. Only consecutive ones of one size
                share a batch, so that no result depends on the others.
            tile: As in a call.
            overlap: As in a call.
            tile_whole: As in a call.
            tile_merge: As in a call.
            tile_score_thr: As in a call.

        Yields:
            A result for each image in their order, :class:`BadImage` for those that cannot be
            used.
        """
        if tile:
            in_tiles = partial(
                self,
                tile=tile,
                overlap=overlap,
                batch_size=batch_size,
                tile_whole=tile_whole,
                tile_merge=tile_merge,
                tile_score_thr=tile_score_thr,
            )
            yield from (or_bad(in_tiles, image) for image in images)
            return
        prepared = (or_bad(self.prepare, image) for image in images)
        yield from predict_batches(prepared, batch_size, shape_of=_shape, infer=self.infer)

    read = staticmethod(read_image)

    @property
    def legend(self) -> Legend:
        """Names and colours of the classes."""
        return self.work_dir.legend

    @property
    def info(self) -> dict[str, str]:
        """What a file of results says about the model."""
        return dict(model=str(self.work_dir.net))

    def prepare(self, image: ImageSource) -> Prepared:
        """Makes the input of the graph from an image.

        A graph that resizes gets it as it is. If it takes no images of that size, the host
        resizes, and the graph finds nothing to do.

        Raises:
            UserError: If it cannot be read, or its size cannot be used.
        """
        pixels = read_image(image)
        if not self._resizes:
            return self.pipeline(pixels, self._limits)
        size = pixels.shape[:2]
        self.pipeline.target(size)  # refuses what would vanish
        if self._takes(pixels):
            return Prepared(pixels, size, size, size)
        prepared = self.pipeline(pixels, self._limits)
        if not self._takes(prepared.image):
            least = self._limits_for(prepared).least[1:][self._sides]
            raise UserError(
                f'the model resizes images of {least[1]} x {least[0]} pixels or more, and cannot '
                f'be given {size[1]} x {size[0]}. Export it for images of that or of any size.'
            )
        return prepared

    def infer(
        self, batch: Sequence[Prepared], result: Callable[..., Any] | None = None
    ) -> list[Any]:
        """Runs the graph on images of one size, in parts of what it takes at once.

        Args:
            batch: The images.
            result: Makes what is returned for each; default: :meth:`result`.
        """
        if not batch:
            return []
        step = self._limits_for(batch[0]).most[0] or len(batch)
        results = []
        for start in range(0, len(batch), step):
            part = batch[start : start + step]
            inputs = self.graph_inputs(part)
            try:
                outputs = self.session.run(inputs)
            except NoMemory as error:
                results += [BadImage(str(error))] * len(part)
                continue
            size = inputs['input'].shape[1:][self._sides]
            for index, prepared in enumerate(part):
                values = {name: value[index] for name, value in outputs.items()}
                if self._resizes:
                    height, width = map(int, values[SIZES])
                    size = height, width
                    prepared = replace(prepared, size=size, resized=size)
                results.append(or_bad(result or self.result, values, prepared, size))
        return results

    def graph_inputs(self, batch: Sequence[Prepared]) -> dict[str, np.ndarray]:
        """Arrays by name for one run of the graph, filled up to the least that it takes.

        Args:
            batch: Images of one size, no more than the graph takes at once.
        """
        image, limits = batch[0].image, self._limits_for(batch[0])
        batch = [*batch, *[batch[-1]] * (limits.least[0] - len(batch))]
        shape = [max(side, least) for side, least in zip(image.shape, limits.least[1:])]
        values = np.zeros((len(batch), *shape), image.dtype)
        for value, prepared in zip(values, batch):
            value[tuple(map(slice, prepared.image.shape))] = prepared.image
        sizes = np.array([prepared.size for prepared in batch], np.float32)
        inputs = dict(input=values, sizes=sizes)
        return {name: inputs[name] for name in self.input_names}

    @abstractmethod
    def result(
        self, outputs: dict[str, np.ndarray], prepared: Prepared, size: tuple[int, int]
    ) -> Any:
        """What the outputs of the graph mean.

        Args:
            outputs: Of one image, without the axis of the batch.
            prepared: The image.
            size: Height and width of the graph's input.
        """

    def part(
        self, outputs: dict[str, np.ndarray], prepared: Prepared, size: tuple[int, int]
    ) -> Any:
        """What the outputs of the graph mean for a tile, as :meth:`merge` takes it."""
        return self.result(outputs, prepared, size)

    def tiles(self, size: tuple[int, int], tiling: Tiling) -> list[Tile]:
        """Parts in which an image of a size is looked at, see :func:`~.tiling.tiles_of`."""
        return tiles_of(size, tiling.tile, tiling.overlap)

    @abstractmethod
    def merge(
        self,
        results: Iterable[Any],
        tiles: Sequence[Tile],
        *,
        size: tuple[int, int],
        tiling: Tiling,
    ) -> Any:
        """Makes one result of those of all tiles of an image, see :meth:`part`."""

    def _takes(self, pixels: np.ndarray) -> bool:
        """Whether the graph takes an image as it is, without anything around it."""
        return any((each.least[0], *pixels.shape) in each for each in _of_images(self.session))

    def _limits_for(self, prepared: Prepared) -> ShapeLimits:
        shape = prepared.image.shape
        return next(each for each in _of_images(self.session) if _fits(shape, each.most[1:]))


def _usable(results: Iterable[Any]) -> Iterator[Any]:
    for result in results:
        if isinstance(result, BadImage):
            raise UserError(result.reason)
        yield result


def _shape(prepared: Prepared) -> tuple[int, ...]:
    return prepared.image.shape


def _takes_uint8(image: Tensor, source: str | Path) -> bool:
    """Whether images are ``(B, H, W, 3)``, uint8, or ``(B, 3, H, W)``, float32."""
    kinds = {np.dtype('float32'): 1, np.dtype('uint8'): 3}
    channels = kinds.get(image.dtype)
    if channels is None or len(image.shape) != 4 or image.shape[channels] not in (3, None):
        raise UserError(
            f'{source}: the input is {image.dtype} of shape {image.shape}, expected float32 '
            '(B, 3, H, W) or uint8 (B, H, W, 3).'
        )
    return channels == 3


def _fits(shape: Sequence[int], most: Sequence[int | None]) -> bool:
    return all(limit is None or side <= limit for side, limit in zip(shape, most))


def _of_images(session: Session) -> list[ShapeLimits]:
    return [profile['input'] for profile in session.profiles]


def _limits(shapes: Sequence[ShapeLimits], sides: slice) -> list[tuple[int, int]]:
    """Largest heights and widths; none if there are some without a limit."""
    limits = [each.most[1:][sides] for each in shapes]
    if any(side is None for limit in limits for side in limit):
        return []
    return [(height, width) for height, width in limits]
