"""Giving trained models to others: weights, config and a model card, in a folder or on the Hub."""
