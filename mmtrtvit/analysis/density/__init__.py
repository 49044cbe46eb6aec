"""Densities of blocks on a device, TRT-ViT's guidelines by them, and networks for a latency."""

from .measuring import Conditions, Density, Measured, Peaks, measure_densities
from .records import as_dicts, describe, describe_peaks, read_densities, rows, to_csv, to_json

__all__ = [
    'Conditions',
    'Density',
    'Measured',
    'Peaks',
    'measure_densities',
    'as_dicts',
    'describe',
    'describe_peaks',
    'read_densities',
    'rows',
    'to_csv',
    'to_json',
]
