"""What two papers or more share: each file is imported by at least two attacks or wrappers."""
