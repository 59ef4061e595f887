"""Runs: what is kept of an evaluation in a folder, and what is read from one folder or two."""
