"""The setting of an evaluation as text: the model, its weights, the device, and the choice of images."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from advkit.core.guard import Model, modules_of
from advkit.core.knowledge import knowledge_of
from advkit.core.words import percent
from advkit.data._stream import total


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The text of the first lines of a report.

    Attributes:
        model: one line of the model's card, or the name of its class.
        weights: source of the weights; empty if the model has no card.
        device: device of the parameters, such as "cpu".
        images: number of images in the data; None if unknown.
        chosen: how the images were chosen, if not all were used.
        std: divisor of each channel in the model's normalisation, to express eps in units of its input; empty if none.
        published: errors under attack that the model's card states, for comparison; empty if none.
        knowledge: what an attacker sees of the model: "gradients", "scores" or "labels".
    """

    model: str
    weights: str = ""
    device: str = "cpu"
    images: int | None = None
    chosen: str = "a fixed random choice"
    std: tuple[float, ...] = ()
    published: str = ""
    knowledge: str = "gradients"

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> "Setting":
        """Read the result of `dataclasses.asdict`, also after JSON.

        Args:
            found: the fields by name.
        """
        return cls(**{**found, "std": tuple(found["std"])})


def setting_of(model: Model, data: Any) -> Setting:
    """Describe a model and data."""
    card = getattr(model, "card", None)
    std = getattr(getattr(model, "normalize", None), "std", None)
    modules = modules_of(model)
    tensors = (t for module in modules for t in (*module._parameters.values(), *module._buffers.values()))
    first = next((t for t in tensors if t is not None), None)
    return Setting(
        model=model_name(model) if card is None else card.describe(),
        weights="" if card is None else card.source,
        device="cpu" if first is None else str(first.device),
        images=total(data, None),
        chosen="the first ones" if isinstance(data, DataLoader) else "a fixed random choice",
        published="" if card is None else _published(card),
        knowledge=knowledge_of(model),
        std=() if std is None or bool((std == 1).all()) else tuple(std.flatten().tolist()),
    )


def _published(card: Any) -> str:
    """The errors on a card that says how the model did under attack."""
    stated = getattr(card, "attack_errors", None) or {}
    clean = getattr(card, "clean_error", None)
    told = [] if clean is None else [f"{percent(clean)} clean"]
    return ", ".join([*told, *(f"{percent(error)} under {spec}" for spec, error in stated.items())]) if stated else ""


def model_name(model: Model) -> str:
    """Return the name on the card, or that of the class or function."""
    card = getattr(model, "card", None)
    if card is not None:
        return str(card.name)
    kind = type(model) if isinstance(model, nn.Module) else model
    return str(getattr(kind, "__qualname__", type(model).__qualname__))
