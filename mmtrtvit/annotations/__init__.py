"""Annotations of data sets: reading them, and finding what is wrong with them."""
