"""Exchange with other programs: images as files, errors in validation loops and on TensorBoard."""

from advkit.evaluation.interchange.board_scalars import to_tensorboard
from advkit.evaluation.interchange.images_out import export_images, export_result
from advkit.evaluation.interchange.validation_loops import lightning_callback, validation_errors

__all__ = ["export_images", "export_result", "lightning_callback", "to_tensorboard", "validation_errors"]
