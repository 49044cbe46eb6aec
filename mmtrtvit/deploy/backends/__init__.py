"""Backends: a room for each, which says what it takes, what it makes and how that is opened."""
