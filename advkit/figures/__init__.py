"""Pictures, drawn by matplotlib without changing its global state."""

from advkit.figures._charts import (
    attack_picture,
    certified_curve,
    compared_bars,
    error_bars,
    error_curves,
    result_picture,
)
from advkit.figures._examples import examples
from advkit.figures.answers import answers_sheet
from advkit.figures.augmentations import augmentations
from advkit.figures.kernels import filters_sheet, maps_sheet
from advkit.figures.layer_chart import movement_chart
from advkit.figures.part_distances import correspondence_sheet
from advkit.figures.projections import boxes_sheet, directions_sheet, occlusion_sheet, projection_sheet, top_sheet
from advkit.figures.rate_tables import pose_rates, transfer_table
from advkit.figures.stretch_chart import lipschitz_chart
from advkit.figures.transformer import transformations

__all__ = [
    "answers_sheet",
    "attack_picture",
    "augmentations",
    "boxes_sheet",
    "certified_curve",
    "compared_bars",
    "correspondence_sheet",
    "directions_sheet",
    "error_bars",
    "error_curves",
    "examples",
    "filters_sheet",
    "lipschitz_chart",
    "maps_sheet",
    "movement_chart",
    "occlusion_sheet",
    "pose_rates",
    "projection_sheet",
    "result_picture",
    "top_sheet",
    "transfer_table",
    "transformations",
]
