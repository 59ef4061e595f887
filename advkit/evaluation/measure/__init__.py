"""Measurements: the errors of a model on clean, attacked and corrupted images, and their uncertainty."""
