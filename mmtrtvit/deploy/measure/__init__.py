"""Times of exported models and of their layers."""
