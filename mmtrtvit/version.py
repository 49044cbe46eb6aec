"""The version of mmtrtvit, for the package and for setup.py; CITATION.cff repeats it."""

__version__ = '0.2.0'
