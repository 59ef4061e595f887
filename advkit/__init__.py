"""advkit: adversarial robustness of PyTorch image classifiers.

`evaluate`, `load_data` and `load_model` live here; attacks in `advkit.attacks`, defences in `advkit.defenses`.
All are imported at first use, also `advkit.attacks` after `import advkit`, so that `advkit --help` does not wait for
torch.
"""

from importlib import import_module
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
        raise AttributeError(f"module 'advkit' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *_PARTS, *(name for name in globals() if name.startswith("__"))})
