"""Sheets: many images of results on one."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.image import imread

from ..errors import UserError
from ..media import IMAGES
from .figures import save_figure


def pick_images(folder: str | Path, count: int) -> list[Path]:
    """``count`` images of a folder, evenly spread over their sorted names.

    Raises:
        UserError: If the folder holds no image.
    """
    paths = sorted(path for path in Path(folder).glob('*') if path.suffix.lower() in IMAGES)
    if not paths:
        raise UserError(f'{folder}: no images ({", ".join(IMAGES)}) in it.')
    count = min(count, len(paths))
    return [paths[index * len(paths) // count] for index in range(count)]


def draw_sheet(
    images: Sequence[Path],
    out: str | Path,
    *,
    title: str,
    columns: int = 2,
    captions: Sequence[str] | None = None,
) -> Path:
    """Tiles images into one PNG.

    Args:
        images: Image files, at least one.
        out: The PNG to write.
        title: Line above the sheet.
        columns: Images side by side.
        captions: A text above each image; default: its file name.
    """
    captions = captions or [path.name for path in images]
    rows = -(-len(images) // columns)
    loaded = [imread(path) for path in images]
    height, width = loaded[0].shape[:2]
    figure = Figure(figsize=(5 * columns, 5 * rows * height / width + 0.5), layout='constrained')
    figure.suptitle(title)
    for index, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.axis('off')
        if index < len(loaded):
            axes.imshow(loaded[index], interpolation='nearest')
            axes.set_title(captions[index], fontsize='small')
    return save_figure(figure, out)
