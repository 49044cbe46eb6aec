"""Shapes: a generated data set of textured shapes that occlude each other.

One copy of the images serves detection and instance segmentation (COCO JSON) and semantic
segmentation (label maps in the folders of ADE20K). The class is told by the shape alone; masks
and boxes are those of the visible part.
"""

import json
import math
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

CLASSES = ('disc', 'triangle', 'ring')
SPLITS = {'training': 'train', 'validation': 'val'}  # folder: argument that holds its length
SIZES = ('small', 'medium', 'large')  # of COCO: areas below 32**2, below 96**2, the rest
TEXTURES = ('plain', 'gradient', 'noise', 'stripes', 'checker', 'dots')
LIMITS = {  # number of values, lowest and highest
    'train': (1, 1, 10**8),
    'val': (1, 1, 10**8),
    'size': (2, 64, 4096),
    'seed': (1, 0, 2**32 - 1),
    'objects': (2, 1, 32),
}
MARKER = 'shapes.json'
GENERATOR = 'mmtrtvit.datasets.shapes'  # in files that are there already: it stays
VERSION = 1

BACKGROUND_CONTRAST = 0.35  # of what the full range of colours would give
DIAMETERS = 0.18, 0.7  # of the shorter side
TILT = math.pi / 6  # either way from upright
MIN_DIAMETER = 10  # pixels
MIN_AREA = 16  # visible pixels
MIN_VISIBLE = 0.4  # of the whole shape
ATTEMPTS = 60  # to place one object


def make_shapes(
    root: str | os.PathLike,
    train: int = 1440,
    *,
    val: int = 200,
    size: int | Sequence[int] = 256,
    seed: int = 0,
    objects: Sequence[int] = (2, 6),
    overwrite: bool = False,
    progress: Callable[[], object] | None = None,
) -> dict:
    """Writes the data set, whole or not at all; equal arguments give equal bytes.

    A complete data set of the same arguments is left as it is. Asking for more images does not
    change the first ones.

    Args:
        root: Folder of the data set: absent, empty or made by this function.
        train: Training images.
        val: Validation images.
        size: Height and width of the images in pixels, or one number for both.
        seed: Seed of all random choices.
        objects: Fewest and most objects in an image; a crowded one may hold fewer.
        overwrite: Replace a data set of other arguments; files of other origin stay.
        progress: Called after each image.

    Returns:
        ``root`` (absolute path), ``written`` (False if the data set was there already) and
        ``splits``: for ``training`` and ``validation`` the number of ``images``, and of
        ``instances`` per class and per COCO size (``sizes``).

    Raises:
        ValueError: An argument is out of its range.
        FileExistsError: ``root`` holds something else, or other arguments without ``overwrite``.
    """
    arguments = _checked(
        {
            'train': train,
            'val': val,
            'size': [size, size] if np.ndim(size) == 0 else size,
            'seed': seed,
            'objects': objects,
        }
    )
    root = Path(root).resolve()
    found = _read_marker(root)
    if found is not None:
        same = (found['version'], found['arguments']) == (VERSION, arguments)
        if same and all(path.is_file() for path in _files(root, arguments)):
            return {'root': root, 'written': False, 'splits': found['splits']}
        if not same and not overwrite:
            raise FileExistsError(
                f'{root} holds shapes of version {found["version"]} and {found["arguments"]}, not '
                f'of version {VERSION} and {arguments}; overwrite them (overwrite=True, '
                '--overwrite) or choose another folder'
            )

    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{root.name}-', dir=root.parent) as scratch:
        made = Path(scratch, 'shapes')  # unlike scratch with the permissions of a plain folder
        splits = {split: _write_split(made, split, arguments, progress) for split in SPLITS}
        _write_json(
            made / MARKER,
            {'generator': GENERATOR, 'version': VERSION, 'arguments': arguments, 'splits': splits},
        )
        if found is None:
            try:
                os.replace(made, root)
            except OSError:
                if _read_marker(root) is None:
                    raise
                # Another process has made data there meanwhile, of the same arguments or not.
                return make_shapes(root, **arguments, overwrite=overwrite)
        else:
            _replace_files(made, arguments, root, found['arguments'])
    return {'root': root, 'written': True, 'splits': splits}


def draw_scene(
    rng: np.random.Generator,
    size: tuple[int, int],
    objects: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Draws one image, the later objects over the earlier ones.

    Args:
        rng: Source of all random choices.
        size: Height and width in pixels.
        objects: Fewest and most objects.

    Returns:
        The image ``(H, W, 3)`` (BGR, uint8), the instance map ``(H, W)`` (uint8, 0 is the
        background and i the i-th object) and the categories of the objects (1 is the first class).
    """
    image = _background(rng, size)
    instances = np.zeros(size, np.uint8)
    categories: list[int] = []
    whole: np.ndarray = np.zeros(1)
    visible: np.ndarray = np.full(1, np.inf)
    for category in rng.integers(len(CLASSES), size=rng.integers(*objects, endpoint=True)):
        for attempt in range(ATTEMPTS):
            alpha, box = _propose(rng, CLASSES[category], size, shrink=1 - attempt / ATTEMPTS)
            (top, left), (bottom, right) = np.maximum(box[0], 0), np.minimum(box[1], size)
            window = np.s_[top:bottom, left:right]
            inside = np.s_[
                top - box[0, 0] : bottom - box[0, 0], left - box[0, 1] : right - box[0, 1]
            ]
            solid = alpha >= 128
            hidden = np.bincount(instances[window][solid[inside]], minlength=len(whole))
            areas = np.append(whole, solid.sum())
            shown = np.append(visible - hidden, solid[inside].sum())
            if (shown >= np.maximum(MIN_AREA, MIN_VISIBLE * areas)).all():
                whole, visible = areas, shown
                categories.append(int(category) + 1)
                instances[window][solid[inside]] = len(categories)
                _paint(rng, image[(slice(None), *window)], alpha, inside)
                break
    image += rng.standard_normal(size, np.float32) * rng.uniform(1, 7)
    image = cv2.merge(list(image.clip(0, 255).astype(np.uint8)))
    return image, instances, categories


def _background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A colour gradient with noise, soft patches and curves: ``(3, H, W)``, float32."""
    short = min(size)
    image = _noise(rng, size, short / rng.uniform(0.5, 2.5), (30, 225), 3)
    for cell, strength, channels in ((short / 8, 25, 3), (short / 24, 15, 3), (3, 15, 1)):
        most = strength * rng.uniform(0.1, 1)
        image += _noise(rng, size, cell, (-most, most), channels)
    for _ in range(rng.integers(1, 4)):
        slope = rng.uniform(1.5, 4)
        cover = _noise(rng, size, short / rng.uniform(3, 8), (-0.6 * slope, 0.4 * slope))
        image += cover.clip(0, rng.uniform(0.3, 0.8)) * (_colours(rng, 1)[0] - image)
    pixels, t = image.reshape(3, -1), np.linspace(0, 1, 24)
    for colour in _colours(rng, int(rng.integers(2, 10))):
        start, bend, end = (rng.uniform(-0.2, 1.2, (3, 2)) * size) @ (1j, 1)
        stroke = np.zeros(size, np.uint8)
        curve = _fixed_point((1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end)
        width = int(rng.integers(1, 2 + short // 64))
        cv2.polylines(stroke, [curve], False, 255, width, cv2.LINE_AA, shift=4)
        drawn = np.flatnonzero(stroke)
        cover = stroke.ravel()[drawn] / np.float32(255) * rng.uniform(0.4, 1)
        pixels[:, drawn] += cover * (colour[:, 0] - pixels[:, drawn])
    mean = image.mean((1, 2), keepdims=True)
    return mean + BACKGROUND_CONTRAST * (image - mean)


def _propose(
    rng: np.random.Generator,
    name: str,
    size: tuple[int, int],
    shrink: float,
) -> tuple[np.ndarray, np.ndarray]:
    """A shape of random size, tilt and place: coverage ``(S, S)`` and its box in the image.

    The box is ``((top, left), (bottom, right))`` and may reach over the border.
    """
    low, high = np.log(np.maximum(np.array(DIAMETERS) * min(size), MIN_DIAMETER))
    diameter = np.exp(rng.uniform(low, low + shrink * (high - low)))
    side = math.ceil(diameter) + 4
    contours = _outline(rng, name) * _direction(rng, TILT) * diameter / 2 + (1 + 1j) * side / 2
    alpha = np.zeros((side, side), np.uint8)
    cv2.fillPoly(alpha, [_fixed_point(each) for each in contours], 255, cv2.LINE_AA, shift=4)
    corner = rng.integers(0, size) - side // 2
    return alpha, np.stack([corner, corner + side])


def _outline(rng: np.random.Generator, name: str) -> np.ndarray:
    """Contours ``(1 or 2, N)`` of a class in the complex unit circle; the second bounds a hole."""
    if name == 'triangle':
        corners = np.arange(3) * math.tau / 3 + rng.uniform(-0.3, 0.3, 3) - math.pi / 2
        return np.exp(1j * corners)[None]
    angles = np.linspace(0, math.tau, 96, endpoint=False)
    ellipse = np.cos(angles) + 1j * rng.uniform(0.65, 1) * np.sin(angles)
    radii = [[1], [rng.uniform(0.45, 0.7)]] if name == 'ring' else [[1]]
    return radii * ellipse


def _paint(
    rng: np.random.Generator,
    canvas: np.ndarray,
    alpha: np.ndarray,
    inside: tuple[slice, slice],
) -> None:
    """Paints the part ``inside`` of a shape over ``canvas`` ``(3, h, w)``, textured and rimmed."""
    beneath = canvas[:, alpha[inside] > 0]
    first, second = _contrasting(rng, beneath[:, :: max(1, beneath.shape[1] // 64)])
    paint = first + _texture(rng, len(alpha))[inside] * (second - first)
    rim = (alpha - cv2.erode(alpha, np.ones((3, 3), np.uint8), borderValue=0))[inside]
    tone = np.float64(255 if paint.mean() < 128 else 0)
    paint += rim / np.float32(255) * rng.uniform(0.3, 0.7) * (tone - paint)
    canvas += alpha[inside] / np.float32(255) * (paint - canvas)


def _contrasting(rng: np.random.Generator, beneath: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two colours ``(3, 1, 1)`` that stand out against nearly all pixels ``beneath`` ``(3, N)``."""
    candidates = _colours(rng, 24)
    distances = np.linalg.norm(candidates[..., 0] - beneath, axis=1)
    contrast = np.quantile(distances, 0.1, axis=1)
    first, second = contrast[:12].clip(max=90).argmax(), 12 + contrast[12:].clip(max=60).argmax()
    return candidates[first], candidates[second]


def _texture(rng: np.random.Generator, side: int) -> np.ndarray:
    """Weights ``(side, side)`` in [0, 1] of the second colour of a shape, float32."""
    name = TEXTURES[rng.integers(len(TEXTURES))]
    period = max(4 / side, rng.uniform(0.12, 0.35))
    axis = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    grid = (axis + 1j * axis[:, None]) * _direction(rng)
    phase = rng.uniform(0, math.tau, 2)
    u, v = (
        np.sin(part * math.tau / period + shift)
        for part, shift in zip((grid.real, grid.imag), phase, strict=True)
    )
    weights = {
        'plain': lambda: np.zeros_like(u),
        'gradient': lambda: grid.real + 0.5,
        'noise': lambda: _noise(rng, u.shape, side * period / 2, (-0.5, 1.5))[0],
        'stripes': lambda: 2 * u + 0.5,
        'checker': lambda: 4 * u * v + 0.5,
        'dots': lambda: 2 * (u + v - 0.8) + 0.5,
    }[name]()
    return weights.clip(0, 1).astype(np.float32)


def _noise(
    rng: np.random.Generator,
    size: tuple[int, int],
    cell: float,
    limits: tuple[float, float],
    channels: int = 1,
) -> np.ndarray:
    """Smooth noise through random knots ``cell`` pixels apart: ``(C, H, W)``, float32."""
    rows, columns = (2 + math.ceil(side / cell) for side in size)
    knots = rng.uniform(*limits, (channels, rows, columns)).astype(np.float32)
    noise = np.empty((channels, *size), np.float32)
    for source, target in zip(knots, noise, strict=True):
        cv2.resize(source, size[::-1], target, interpolation=cv2.INTER_CUBIC)
    return noise


def _colours(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random colours ``(count, 3, 1, 1)``, BGR, float32."""
    return rng.uniform(10, 245, (count, 3, 1, 1)).astype(np.float32)


def _direction(rng: np.random.Generator, limit: float = math.pi) -> np.complex64:
    return np.complex64(np.exp(1j * rng.uniform(-limit, limit)))


def _fixed_point(points: np.ndarray) -> np.ndarray:
    """Complex points (N,) as (N, 2) in sixteenths of a pixel, for drawing with ``shift=4``."""
    return np.round(np.stack([points.real, points.imag], axis=1) * 16).astype(np.int32)


def _annotate(mask: np.ndarray) -> dict:
    """COCO's box, area and segmentation of a mask ``(H, W)`` (uint8).

    The segmentation is a polygon for one piece without holes, else a compressed RLE.
    """
    left, top, width, height = cv2.boundingRect(mask)
    crop = mask[top : top + height, left : left + width]
    # At twice the size, the contour's pixel centres lie a quarter pixel inside the true border.
    double = cv2.resize(crop, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(double, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if len(contours) == 1:
        segmentation = [((contours[0][:, 0] + 0.5) / 2 + (left, top)).ravel().tolist()]
    else:
        segmentation = coco_mask.encode(np.asfortranarray(mask))
        segmentation['counts'] = segmentation['counts'].decode()
    return {
        'bbox': [left, top, width, height],
        'area': int(crop.sum()),
        'iscrowd': 0,
        'segmentation': segmentation,
    }


def _write_split(
    root: Path,
    split: str,
    arguments: dict,
    progress: Callable[[], object] | None,
) -> dict:
    """Writes images, label maps and COCO JSON of one split; returns its part of the summary."""
    height, width = arguments['size']
    for folder in ('images', 'annotations'):
        Path(root, folder, split).mkdir(parents=True)
    images: list[dict] = []
    annotations: list[dict] = []
    for index, (image_path, label_path) in enumerate(_pairs(root, split, arguments)):
        rng = np.random.default_rng([arguments['seed'], list(SPLITS).index(split), index])
        image, instances, categories = draw_scene(rng, (height, width), arguments['objects'])
        labels = np.array([0, *categories], np.uint8)[instances]
        image_path.write_bytes(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])
        label_path.write_bytes(cv2.imencode('.png', labels)[1])
        images.append({'id': index, 'file_name': image_path.name, 'height': height, 'width': width})
        annotations += [
            {'id': len(annotations) + i, 'image_id': index, 'category_id': category}
            | _annotate((instances == i).astype(np.uint8))
            for i, category in enumerate(categories, 1)
        ]
        if progress is not None:
            progress()
    _write_json(
        _coco_path(root, split),
        {
            'info': {'description': f'Shapes, {split}', 'version': str(VERSION)},
            'licenses': [],
            'images': images,
            'annotations': annotations,
            'categories': [{'id': i, 'name': name} for i, name in enumerate(CLASSES, 1)],
        },
    )
    classes = Counter(CLASSES[each['category_id'] - 1] for each in annotations)
    sizes = Counter(SIZES[sum(each['area'] >= s**2 for s in (32, 96))] for each in annotations)
    return {
        'images': len(images),
        'instances': {name: classes[name] for name in CLASSES},
        'sizes': {name: sizes[name] for name in SIZES},
    }


def _pairs(root: Path, split: str, arguments: dict) -> list[tuple[Path, Path]]:
    """Paths of the images and of their label maps."""
    images, labels = root / 'images' / split, root / 'annotations' / split
    return [
        (images / f'{index:08d}.jpg', labels / f'{index:08d}.png')
        for index in range(arguments[SPLITS[split]])
    ]


def _coco_path(root: Path, split: str) -> Path:
    return root / f'annotations/instances_{split}.json'


def _files(root: Path, arguments: dict) -> list[Path]:
    """All files of a data set: the marker first, the COCO JSON last."""
    return [
        root / MARKER,
        *(path for split in SPLITS for pair in _pairs(root, split, arguments) for path in pair),
        *(_coco_path(root, split) for split in SPLITS),
    ]


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, separators=(',', ':')) + '\n', encoding='utf-8')


def _checked(arguments: dict) -> dict:
    """The arguments as plain integers and lists of them, or a ValueError."""
    for name, (count, low, high) in LIMITS.items():
        values = np.asarray(arguments[name])
        if (
            values.dtype.kind not in 'iu'
            or values.size != count
            or not (low <= values.min() and values.max() <= high)
        ):
            raise ValueError(
                f'{name} must be {"an integer" if count == 1 else "two integers"} '
                f'from {low} to {high}, got {arguments[name]}'
            )
        arguments[name] = values.tolist()
    if arguments['objects'][0] > arguments['objects'][1]:
        raise ValueError(f'objects must be (fewest, most), got {arguments["objects"]}')
    return arguments


def _read_marker(root: Path) -> dict | None:
    """The marker of the data set in ``root``, None if ``root`` is absent or empty."""
    if not root.exists() or root.is_dir() and not any(root.iterdir()):
        return None
    try:
        marker = json.loads((root / MARKER).read_text(encoding='utf-8'))
        if marker['generator'] == GENERATOR and {'version', 'splits'} <= marker.keys():
            _checked(dict(marker['arguments']))
            return marker
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise FileExistsError(
        f'{root} was not made by {GENERATOR} (no valid {MARKER} in it); choose a folder that is '
        'absent or empty'
    )


def _replace_files(made: Path, arguments: dict, root: Path, old_arguments: dict) -> None:
    """Moves the data set ``made`` over an older one in ``root``; foreign files stay.

    At any time the marker names all files there are, and until the end a COCO JSON is missing: an
    interrupted replacement is incomplete and can be replaced.
    """
    for path in reversed(_files(root, old_arguments)[1:]):
        path.unlink(missing_ok=True)
    for source, target in zip(_files(made, arguments), _files(root, arguments), strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
