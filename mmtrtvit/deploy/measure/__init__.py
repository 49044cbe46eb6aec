"""Measurements: times of exported models and of their layers."""
