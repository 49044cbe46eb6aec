"""Exported classifiers: how likely an image is of each class."""

from collections.abc import Iterable, Sequence

import numpy as np

from ..errors import UserError
from ..images import ImageSource
from .model import Model
from .pipeline import Prepared
from .results import Classification
from .tiling import Tile, Tiling

NO_TILES = 'a classifier says one thing of a whole image, so it cannot look at tiles.'


class Classifier(Model):
    """An exported classifier, see :class:`~.model.Model`. Its results are :class:`Classification`.

    It sees what its pipeline cuts out of an image, so there are no tiles.
    """

    task = 'Classifier'
    output_names = ('output',)

    def prepare(self, image: ImageSource) -> Prepared:
        """Makes the input of the graph from an image.

        Raises:
            UserError: If it cannot be read, or its size cannot be used: filled up to the least that
                the graph takes, it would be another image.
        """
        prepared = super().prepare(image)
        least = self._limits_for(prepared).least[1:][self._sides]
        height, width = prepared.image.shape[self._sides]
        if height < least[0] or width < least[1]:
            raise UserError(
                f'the pipeline makes images of {width} x {height} pixels, but the model takes at '
                f'least {least[1]} x {least[0]}. Export it for that size.'
            )
        return prepared

    def result(
        self, outputs: dict[str, np.ndarray], prepared: Prepared, size: tuple[int, int]
    ) -> Classification:
        """Makes a classification from the output of the graph for an image."""
        scores = outputs['output'].astype(np.float32)
        if not np.isfinite(scores).all():
            raise UserError(
                'the model gives probabilities that are NaN or infinite: its weights are damaged '
                'or half precision is too small for them.'
            )
        return Classification(scores, prepared.original, prepared.note)

    def tiles(self, size: tuple[int, int], tiling: Tiling) -> list[Tile]:
        """Refuses tiles."""
        raise UserError(NO_TILES)

    def merge(
        self,
        results: Iterable[Classification],
        tiles: Sequence[Tile],
        *,
        size: tuple[int, int],
        tiling: Tiling,
    ) -> Classification:
        """Refuses tiles, as :meth:`tiles` does."""
        raise UserError(NO_TILES)
