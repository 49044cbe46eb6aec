"""Figures: writing them to files."""

from pathlib import Path

from matplotlib.figure import Figure

from ..errors import UserError
from ..files import whole_file


def save_figure(figure: Figure, out: str | Path) -> Path:
    """Writes a figure in the format of the file's name, as PNG if that tells none.

    Raises:
        UserError: If Matplotlib cannot write that format.
    """
    out = Path(out)
    kind = kind_of_figure(out)
    with whole_file(out) as part:
        figure.savefig(part, dpi=120, format=kind)
    return out


def kind_of_figure(out: str | Path) -> str:
    """Returns the format that :func:`save_figure` writes a file in.

    Raises:
        UserError: If Matplotlib cannot write that format.
    """
    kind = Path(out).suffix[1:].lower() or 'png'
    kinds = Figure().canvas.get_supported_filetypes()
    if kind not in kinds:
        raise UserError(f'{out}: no format of images; expected one of {", ".join(sorted(kinds))}')
    return kind
