"""advkit: adversarial robustness of PyTorch image classifiers.

`evaluate`, `load_data` and `load_model` live here; attacks in `advkit.attacks`, defences in `advkit.defenses`.
All are imported at first use, also `advkit.attacks` after `import advkit`, so that `advkit --help` does not wait for
torch.
"""

import sys
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Any

from advkit._version import __version__

if TYPE_CHECKING:
    from advkit import (  # noqa: F401
        attacks,
        certification,
        data,
        defenses,
        evaluation,
        figures,
        goals,
        insight,
        models,
        reproduction,
        testing,
        training,
    )
    from advkit.data import load_data
    from advkit.evaluation import evaluate
    from advkit.models import load_model

__all__ = ["__version__", "evaluate", "load_data", "load_model"]

_HOME = {"evaluate": "advkit.evaluation", "load_data": "advkit.data", "load_model": "advkit.models"}
_PARTS = (
    "attacks",
    "certification",
    "data",
    "defenses",
    "evaluation",
    "figures",
    "goals",
    "insight",
    "models",
    "reproduction",
    "testing",
    "training",
)


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return import_module(f"advkit.{name}")
    if name not in _HOME:
        raise _missing(name, sys._getframe(1))
    return getattr(import_module(_HOME[name]), name)


def _missing(name: str, asked: FrameType) -> AttributeError | ImportError:
    """Say where a public name of a package is."""
    from advkit.core.places import imports, where

    places = [] if name.startswith("_") else where(name, [*_PARTS, "training.augment"])
    advice = f"; it is {' or '.join(places)}" if places else ""
    if places and imports(asked):
        home, _, found = places[0].rpartition(".")
        said = f"cannot import name {name!r} from 'advkit': it is in another place, from {home} import {found}"
        return ImportError(said, name="advkit")
    return AttributeError(f"module 'advkit' has no attribute {name!r}{advice}", name=name, obj=sys.modules[__name__])


def __dir__() -> list[str]:
    return sorted({*__all__, *_PARTS, *(name for name in globals() if name.startswith("__"))})
