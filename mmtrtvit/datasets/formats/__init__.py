"""Formats of other tools: readers that give what :mod:`~..convert` writes in COCO format."""
