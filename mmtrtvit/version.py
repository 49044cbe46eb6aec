"""The version of mmtrtvit, for the package and for setup.py."""

__version__ = '0.1.0'
