"""Measuring: what is counted of a model on images, clean, attacked and damaged, and how sure the counts are."""
