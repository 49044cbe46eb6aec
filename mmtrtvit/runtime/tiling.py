"""Which parts of a large image are looked at; :mod:`.merging` merges what they give."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import UserError

MERGES = CUT, ALL = 'cut', 'all'


class Tile(NamedTuple):
    """A part of an image, in pixels; the ends do not belong to it."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True)
class Tiling:
    """How larger images are looked at in parts.

    Attributes:
        tile: Height and width of a part.
        overlap: Least share of a tile that its neighbour has, too.
        whole: Whether a detector looks at the whole image as well, for what is larger than tiles.
        merge: As for :func:`~.merging.merge_detections`.
        score_thr: Detections up to this score let no other grow where tiles are merged.
    """

    tile: tuple[int, int]
    overlap: float = 0.2
    whole: bool = False
    merge: str = CUT
    score_thr: float = 0.0

    def __post_init__(self) -> None:
        if self.merge not in MERGES:
            raise UserError(f'tile_merge is {self.merge!r}, expected {" or ".join(MERGES)}.')


def tiles_of(size: tuple[int, int], tile: tuple[int, int], overlap: float) -> list[Tile]:
    """Covers an image with the fewest tiles of one size, spread evenly.

    Args:
        size: Height and width of the image.
        tile: Height and width of a tile; no more than the image's are used.
        overlap: Least share of a tile that its neighbour has, too.

    Raises:
        UserError: If a tile has no pixels, or the overlap is not between 0 and 1.
    """
    if min(tile) < 1:
        raise UserError(f'the tile is {tile[1]} x {tile[0]} pixels, expected at least 1 x 1.')
    if not 0 <= overlap < 1:
        raise UserError(f'the overlap is {overlap:g}, expected 0 or more and less than 1.')
    rows, columns = (_starts(side, min(part, side), overlap) for side, part in zip(size, tile))
    height, width = (min(part, side) for side, part in zip(size, tile))
    return [Tile(top, left, top + height, left + width) for top in rows for left in columns]


def _starts(side: int, part: int, overlap: float) -> list[int]:
    step = max(int(part * (1 - overlap)), 1)
    count = 1 + math.ceil((side - part) / step)
    return [round(index * (side - part) / max(count - 1, 1)) for index in range(count)]
