"""What a page of a report is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup


@dataclass
class Text:
    """A paragraph; quiet if it explains rather than tells."""

    kind: ClassVar[str] = 'text'
    text: str
    quiet: bool = False


@dataclass
class Code:
    """Lines to copy, with a sentence above."""

    kind: ClassVar[str] = 'code'
    text: str
    title: str = ''


@dataclass
class Links:
    """Addresses of the web by name."""

    kind: ClassVar[str] = 'links'
    addresses: Mapping[str, str]


@dataclass
class Table:
    """A table.

    Attributes:
        rows: The head, then the rows; of each, the first cell names it.
        feet: Rows below a line.
        title: A line above.
        shades: For each row but the head and each cell but the first, how dark its ground is,
            from 0 to 1; none for a plain table.
        words: Whether the cells are words, which are not aligned like numbers.
    """

    kind: ClassVar[str] = 'table'
    rows: Sequence[Sequence[str]]
    feet: Sequence[Sequence[str]] = ()
    title: str = ''
    shades: Sequence[Sequence[float]] = ()
    words: bool = False


@dataclass
class Figure:
    """A figure, and what it shows for who does not see it."""

    kind: ClassVar[str] = 'figure'
    svg: Markup
    label: str


@dataclass
class Colors:
    """Colours by what they stand for, as CSS has them."""

    kind: ClassVar[str] = 'colors'
    colors: Mapping[str, str]


@dataclass
class Picture:
    """An image, or truth and prediction side by side, that opens large.

    Attributes:
        key: Its anchor.
        sources: Addresses that hold the pixels.
        alts: What each of them shows.
        captions: Lines below.
    """

    key: str
    sources: Sequence[str]
    alts: Sequence[str]
    captions: Sequence[str]


@dataclass
class Pictures:
    """Images of one kind."""

    kind: ClassVar[str] = 'pictures'
    key: str
    title: str
    pictures: Sequence[Picture]
    text: str = ''


Block = Text | Code | Links | Table | Figure | Colors | Pictures


@dataclass
class Section:
    """A part of the page.

    Attributes:
        key: Its anchor.
        title: Its heading, also in the table of contents.
        blocks: What it holds.
    """

    key: str
    title: str
    blocks: list[Block] = field(default_factory=list)
