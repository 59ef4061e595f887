"""Showing: the page of a run and its gallery."""
