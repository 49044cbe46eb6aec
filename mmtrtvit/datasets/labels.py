"""Conversion of label maps: other numbers for their classes, one channel, PNG."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UserError, listed
from ..files import whole_file

MODES = {'1', 'L', 'P', 'I', 'I;16', 'LA', 'RGB', 'RGBA'}
SUFFIXES = '.png', '.bmp', '.tif', '.tiff'  # of formats that keep every value


@dataclass
class ConvertedLabels:
    """What was written.

    Attributes:
        files: The label maps.
        before: Pixels by value in the old files.
        after: Pixels by value in the new ones.
    """

    files: list[Path] = field(default_factory=list)
    before: Counter[int] = field(default_factory=Counter)
    after: Counter[int] = field(default_factory=Counter)


def parse_map(pairs: Iterable[str]) -> dict[int, int]:
    """Returns values by old ones, from texts such as ``255:1``.

    Raises:
        UserError: If a text is no such pair, or a value has two new ones.
    """
    found: dict[int, int] = {}
    for pair in pairs:
        old, _, new = pair.partition(':')
        if not (old.isdecimal() and new.isdecimal() and int(new) < 256):
            raise UserError(
                f'--map {pair}: expected OLD:NEW, e.g. 255:1, and a NEW value of 0 to 255.'
            )
        if found.setdefault(int(old), int(new)) != int(new):
            raise UserError(f'--map gives the value {old} two new ones.')
    return found


def convert_labels(
    source: str | Path,
    out: str | Path,
    *,
    values: Mapping[int, int],
    overwrite: bool = False,
    track: Callable[..., Iterable] = lambda items, **_: items,
) -> ConvertedLabels:
    """Writes all label maps of a folder as PNG of one channel, or nothing.

    Maps of three equal channels, or of grey and alpha, become one channel; palettes keep their
    indices.

    Args:
        source: Folder with label maps, also in folders in it.
        out: Folder for the new ones, under the same names.
        values: New values by old ones; others stay.
        overwrite: Replace files in ``out``.
        track: Shows progress: called like :func:`tqdm.tqdm`.

    Raises:
        UserError: If there is no label map, one cannot be read, has colours, or would have a value
            over 255, or if files exist already.
    """
    source, out = Path(source), Path(out)
    files = [
        path
        for path in sorted(source.rglob('*'))
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith('.') for part in path.relative_to(source).parts)
    ]
    if not files:
        raise UserError(f'{source} has no label maps: no *{", *".join(SUFFIXES)} in it.')
    targets = [out / path.relative_to(source).with_suffix('.png') for path in files]
    twice = [str(target) for target, count in Counter(targets).items() if count > 1]
    if twice:
        raise UserError(f'several files of {source} would become {listed(twice)}.')
    existing = [str(target) for target in targets if target.exists()]
    if existing and not overwrite:
        raise UserError(
            f'{listed(existing)} exists. Write over it with --overwrite, or choose another folder.'
        )
    for path in track(files, desc='checking'):
        _mapped(path, values)
    converted = ConvertedLabels()
    for path, target in zip(track(files, desc='writing'), targets):
        old, new = _mapped(path, values)
        converted.before.update(_counts(old))
        converted.after.update(_counts(new))
        with whole_file(target) as part:
            Image.fromarray(new).save(part, 'PNG')
        converted.files.append(target)
    return converted


def _mapped(path: Path, values: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the old and the new values of a label map: ``(H, W)`` each."""
    old = _read(path)
    new = old.astype(np.int64)
    for before, after in values.items():
        new[old == before] = after
    if new.min() < 0 or new.max() > 255:
        wrong = listed(np.unique(new[(new < 0) | (new > 255)]).tolist())
        raise UserError(f'{path} has the values {wrong}. Give each a new one with --map.')
    return old, new.astype(np.uint8)


def _read(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if image.mode not in MODES:
                raise UserError(f'{path} is no label map: its pixels are of the mode {image.mode}.')
            values = np.asarray(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f'{path} cannot be read as a label map: {error}') from error
    if values.ndim == 2:
        return values.astype(np.int64)
    colours = values[..., : 1 if image.mode == 'LA' else 3]
    if (colours != colours[..., :1]).any():
        raise UserError(
            f'{path} has colours, not the numbers of classes. Write a map of one channel, where '
            'each pixel has the number of its class.'
        )
    return colours[..., 0].astype(np.int64)


def _counts(values: np.ndarray) -> dict[int, int]:
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist()))
