"""The page of an inspection: one file of HTML with everything to look at before a training."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from ...analysis.pages.rendering import GREY, inline_figure, inline_image, render
from ...annotations.data import AnnotatedImage, DataSet
from ...annotations.findings import Finding
from ...annotations.problems import LEAST_SIDE
from ...errors import UserError
from ...files import write_whole
from ...images import read_image
from .drawing import choose, draw_image, is_drawable
from .inspecting import Inspection, Pair
from .report import count_rows, same_lines, size_rows
from .sizes import Sizes

MOST = 96  # images on a page, so that it stays under about 5 MB
OF_A_FINDING = 6  # images, or pairs of them
PLACES = 20  # of a finding, named on the page
SIDE = 480  # pixels of an image's longer side, at most


@dataclass(frozen=True)
class Picture:
    """An image as the page has it: the address that holds its pixels, and what it is."""

    source: str
    caption: str


@dataclass
class _Section:
    severity: str
    title: str
    count: int
    places: list[str]
    images: list[Picture] = field(default_factory=list)
    pairs: list[tuple[Picture, Picture]] = field(default_factory=list)


def write_page(inspection: Inspection, out: str | Path, *, name: str, count: int) -> Path:
    """Writes the page.

    Args:
        inspection: What :func:`~.inspection.inspect_data` returned.
        out: The file.
        name: What was inspected, for the title.
        count: Images of each split that are shown whether they have a finding or not.
    """
    pages = _Pictures(inspection)
    sections = [pages.section(each) for each in [*inspection.findings, *inspection.hints]]
    shown = {
        split.name: [pages.drawn(*chosen) for chosen in choose(split, count)]
        for split in inspection.splits
        if not split.same_as
    }
    splits = [
        dict(name=split, images=[image for image in images if image])
        for split, images in shown.items()
        if any(images)
    ]
    counts, below = count_rows(inspection.splits)
    text = render(
        'inspection.html',
        Path(__file__).parent,
        name=name,
        verdict=inspection.verdict,
        counts=counts,
        below=below,
        same=same_lines(inspection.splits),
        findings=sections,
        sizes=size_rows(inspection.sizes),
        histogram=side_histogram(inspection.sizes),
        splits=splits,
        shown=pages.count,
        most=MOST,
    )
    write_whole(out, text)
    return Path(out)


class _Pictures:
    """Makes the images of a page, up to :data:`MOST`."""

    def __init__(self, inspection: Inspection) -> None:
        self.pairs = inspection.pairs
        self.splits = {split.name: split for split in inspection.splits}
        self.count = 0
        self.known: dict[AnnotatedImage, Picture] = {}

    def section(self, finding: Finding) -> _Section:
        where = f'{finding.split}: ' if finding.split else ''
        section = _Section(
            finding.problem.severity,
            where + finding.problem.text,
            len(finding.places),
            finding.places[:PLACES],
        )
        pairs = [
            pair
            for pair in self.pairs
            if pair.problem is finding.problem and pair.split == finding.split
        ]
        if pairs:
            section.pairs = [pair for pair in map(self.side_by_side, pairs[:OF_A_FINDING]) if pair]
        else:
            images = (self.drawn(*image) for image in self._images(finding))
            section.images = [image for image in images if image]
        return section

    def _images(self, finding: Finding) -> Iterator[tuple[DataSet, AnnotatedImage]]:
        """Yields some images with a problem that can be drawn."""
        left = OF_A_FINDING
        for data in self.splits[finding.split].data if finding.split in self.splits else ():
            for image in data.images:
                found = any(problem is finding.problem for problem, _ in image.problems)
                if left and found and is_drawable(image):
                    left -= 1
                    yield data, image

    def drawn(self, data: DataSet, image: AnnotatedImage) -> Picture | None:
        """Returns an image with its annotations; None where the page is full."""
        if self.count >= MOST:
            return None
        self.count += 1
        if image not in self.known:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, 'drawn.png')
                draw_image(data, image, file)
                self.known[image] = Picture(inline_image(read_image(file), SIDE), image.name)
        return self.known[image]

    def side_by_side(self, pair: Pair) -> tuple[Picture, Picture] | None:
        """Returns the two images of a pair as they are; None where the page is full."""
        if self.count + 2 > MOST:
            return None
        try:
            one = self._plain(pair.split, pair.name)
            other = self._plain(pair.other_split, pair.other)
        except UserError:  # the same damaged file twice
            return None
        self.count += 2
        return one, other

    def _plain(self, split: str, name: str) -> Picture:
        image = next(each for each in self.splits[split].images if each.name == name)
        return Picture(inline_image(image.pixels(), SIDE), f'{split}: {name}')


def side_histogram(sizes: Mapping[str, Sizes]) -> Markup:
    """Returns how many objects of each split have which side; nothing for label maps."""
    shown = {name: each.sides for name, each in sizes.items() if len(each.sides)}
    if not shown:
        return Markup('')
    sides = np.concatenate(list(shown.values()))
    low, high = max(float(sides.min()), 0.5), max(float(sides.max()), 1.0)
    edges = np.geomspace(low * 0.99, high * 1.01, 40)
    figure = Figure(figsize=(7, 3), layout='constrained')
    axes = figure.subplots()
    for name, values in shown.items():
        shares = np.full(len(values), 100 / len(values))
        axes.hist(values, edges.tolist(), weights=shares, histtype='step', linewidth=2, label=name)
    axes.axvline(LEAST_SIDE, color=GREY, linestyle=':')
    axes.set(
        xscale='log',
        xlabel='side of an object after resizing, in pixels',
        ylabel='% of the objects',
    )
    axes.xaxis.set_major_formatter('{x:g}')
    axes.tick_params(which='both', colors=GREY)
    for part in (axes.xaxis.label, axes.yaxis.label, *axes.legend(labelcolor=GREY).texts):
        part.set_color(GREY)
    axes.get_legend().get_frame().set(alpha=0)
    for spine in axes.spines.values():
        spine.set_color(GREY)
    return inline_figure(figure, 'sides')
