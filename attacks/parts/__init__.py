"""Parts that two or more papers share: at least two attacks or wrappers import each file."""
