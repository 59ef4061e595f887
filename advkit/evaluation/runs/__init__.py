"""Runs: an evaluation stored in a folder, and what is read from one folder or two."""
