"""The networks of the lecture and any other by reference, with their cards and checkpoints.

`load_model(name)` returns a trained classifier, `create_model(name)` an untrained one, `summary` its layers.
"""

# isort: off
from advkit.models import lenet, alexnet, zfnet, nin, vgg, googlenet, stn, mlp, maxout  # noqa: F401  (registers them)
# isort: on

from advkit.core.outputs import Output
from advkit.models._black_box import BlackBox
from advkit.models._card import RANDOM, SHIPPED, Card, count
from advkit.models._checkpoint import load_checkpoint, read_card, save_checkpoint
from advkit.models._classifier import Classifier, Normalize, parameters
from advkit.models._create import create_model
from advkit.models._load import load_model, robust, shipped
from advkit.models._registry import MODELS, Facts, facts, list_models, register_model
from advkit.models._start import start_from
from advkit.models._summary import Overview, Row, overview, summary

__all__ = [
    "MODELS",
    "RANDOM",
    "SHIPPED",
    "BlackBox",
    "Card",
    "Classifier",
    "Facts",
    "Normalize",
    "Output",
    "Overview",
    "Row",
    "count",
    "create_model",
    "facts",
    "list_models",
    "load_checkpoint",
    "load_model",
    "overview",
    "parameters",
    "read_card",
    "register_model",
    "robust",
    "save_checkpoint",
    "shipped",
    "start_from",
    "summary",
]
