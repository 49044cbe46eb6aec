"""Finds what a mistyped name was meant to be."""

import difflib
from collections.abc import Iterable


def similar(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Returns those of ``names`` that resemble ``name``, the likeliest first."""
    lower = {candidate.lower(): candidate for candidate in names}
    return [lower[match] for match in difflib.get_close_matches(name.lower(), lower, count)]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Returns a sentence with the names that resemble ``name``, or nothing."""
    matches = similar(name, names)
    return f' Did you mean {" or ".join(matches)}?' if matches else ''
