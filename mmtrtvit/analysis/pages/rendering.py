"""Templates, images and figures as one file of HTML."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

QUALITY = 80  # of images, as JPEG
GROUP_NAME = re.compile(r'<g id="[^"]*"')  # the same in all figures of Matplotlib
GREY = '#808890'  # of axes and texts of figures: readable on white and on black


def render(template: str, folder: str | Path, **values: Any) -> str:
    """Returns a page.

    Texts are escaped, and a name that a template asks for and does not get is an error.

    Args:
        template: Name of the template; it may begin with ``{% extends "base.html" %}``, whose
            blocks are ``title`` and ``body``.
        folder: Where it is.
        values: What it shows, by name.
    """
    environment = Environment(
        loader=FileSystemLoader([Path(folder), Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values)


def inline_image(image: np.ndarray, side: int) -> str:
    """Returns an image as the address of an ``img`` that holds all of it.

    Args:
        image: ``(H, W, 3)``, uint8, BGR.
        side: Pixels of its longer side, at most.
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return f'data:image/jpeg;base64,{base64.b64encode(data).decode()}'


def inline_figure(figure: Figure, name: str) -> Markup:
    """Returns a figure as SVG that a page contains; it takes the width that there is.

    Args:
        figure: The figure, without a background.
        name: Unlike those of the page's other figures, as parts of an SVG have names, too.
    """
    file = io.StringIO()
    with matplotlib.rc_context({'svg.hashsalt': name, 'svg.fonttype': 'none'}):
        figure.savefig(file, format='svg', transparent=True, metadata={'Date': None})
    text = file.getvalue()
    return Markup(GROUP_NAME.sub('<g', text[text.index('<svg') :]))
