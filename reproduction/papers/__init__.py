"""The papers, one table or group of tables a file; importing this package registers them."""

from advkit.reproduction.papers import goodfellow_logistic, szegedy_distortion

__all__ = ["goodfellow_logistic", "szegedy_distortion"]
