"""What a network does inside, as numbers: filters, maps, deconvolution, occlusion, top activations, movement, boxes.

Everything takes any convolutional network and layers by name (`layer_names(model)`), returns tensors, and leaves the
network as it was. `advkit.figures` draws the results; `advkit visualize` is the command.
"""

from advkit.insight._named_layers import activations, convolutions, find_layer, layer_names, maps
from advkit.insight.colocalise import Colocaliser, TripletLoss, load_colocaliser, overlap
from advkit.insight.correspondence import Correspondence, correspondence
from advkit.insight.deconv import deconv
from advkit.insight.fields import receptive_fields
from advkit.insight.filters import Filters, filters
from advkit.insight.movement import Movement, leaves, movement, shuffled
from advkit.insight.occlusion import Occlusion, occlusion
from advkit.insight.tracking import tracking
from advkit.insight.units import Activity, Direction, Top, activity, directions, top_activations

__all__ = [
    "Activity",
    "Colocaliser",
    "Correspondence",
    "Direction",
    "Filters",
    "Movement",
    "Occlusion",
    "Top",
    "TripletLoss",
    "activations",
    "activity",
    "convolutions",
    "correspondence",
    "deconv",
    "directions",
    "filters",
    "find_layer",
    "layer_names",
    "leaves",
    "load_colocaliser",
    "maps",
    "movement",
    "occlusion",
    "overlap",
    "receptive_fields",
    "shuffled",
    "top_activations",
    "tracking",
]
