"""Inspection of the data of a config, before a training: problems, hints, images, and a page."""

from .inspecting import Inspection, Pair, inspect_data

__all__ = ['Inspection', 'Pair', 'inspect_data']
