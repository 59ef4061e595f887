"""The card of a network: its architecture, its training data, its errors, and the source of its weights."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

from advkit.core.door import check_count
from advkit.core.errors import InputError

SHIPPED = "ships with advkit"
RANDOM = "random (untrained)"


@dataclass(frozen=True, kw_only=True)
class Card:
    """Provenance of a classifier; stored as JSON in the metadata of its checkpoint.

    Attributes:
        name: registered name, or the reference that built it ("torchvision:resnet50").
        paper: authors, title, year.
        input_shape: (C, H, W) that it was built for; None if unknown.
        num_classes: number of logits; None if unknown.
        parameters: number of parameters, without auxiliary classifiers.
        options: options of `create_model` that rebuild the network.
        width: multiple of the paper's layer widths.
        data: data set that it was trained on ("mnist5k"); None if untrained.
        trained_on: data set and split of the training images ("mnist5k:train").
        recipe: name or text of the training recipe.
        seed: seed of the training run, or of the random weights.
        clean_error: fraction of the test images that it gets wrong.
        fgsm_error: eps -> fraction wrong after FGSM (linf) with that eps.
        attack_errors: attack's spec -> fraction wrong under it, of the test images.
        certified_errors: ball such as "linf, eps=0.1" -> fraction of the test images that no bound proves right in it.
        source: where the weights come from: "ships with advkit", a path, "random (untrained)", ...
        licence: licence of the weights.
    """

    name: str
    paper: str = ""
    input_shape: tuple[int, int, int] | None = None
    num_classes: int | None = None
    parameters: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    width: float = 1.0
    data: str | None = None
    trained_on: str | None = None
    recipe: str | None = None
    seed: int | None = None
    clean_error: float | None = None
    fgsm_error: Mapping[float, float] = field(default_factory=dict)
    attack_errors: Mapping[str, float] = field(default_factory=dict)
    certified_errors: Mapping[str, float] = field(default_factory=dict)
    source: str = RANDOM
    licence: str = "MIT"

    def describe(self) -> str:
        """Return one line without the source: "vgg16, width 1/4, 0.92 M parameters, trained on mnist5k:train".

        A network that was trained with a defence says which: "..., trained on mnist5k:train with pgd(eps=0.2, ...)".
        """
        parts = [self.name]
        if self.width != 1:
            parts.append(f"width {Fraction(self.width).limit_denominator(64)}")
        parts.append(f"{count(self.parameters)} parameters")
        if self.trained_on or self.data:
            defense = re.search(r"\bdefense='([^']*)'", self.recipe or "")
            parts.append(f"trained on {self.trained_on or self.data}{f' with {defense[1]}' if defense else ''}")
        return ", ".join(parts)

    def to_json(self) -> str:
        """Return the card as one JSON object."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """Read a card written by `to_json`; fields that this version does not know are left out.

        Args:
            text: the JSON text.

        Raises:
            InputError: the text is not a card.
        """
        try:
            fields = {k: v for k, v in json.loads(text).items() if k in cls.__dataclass_fields__}
            if fields.get("input_shape"):
                fields["input_shape"] = tuple(fields["input_shape"])
            fields["options"] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in fields.get("options", {}).items()
            }
            fields["fgsm_error"] = {float(eps): error for eps, error in fields.get("fgsm_error", {}).items()}
            if not isinstance(fields["name"], str) or not isinstance(fields.get("parameters", 0), int):
                raise ValueError("not a card")
            return cls(**fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"expected a model card in JSON, got {text[:60]!r}") from error


def count(number: int) -> str:
    """Write a count for people: 850, 60,806, 0.92 M, 138 M.

    Args:
        number: the number to write.

    Raises:
        InputError: it is no whole number of 0 or more.
    """
    number = check_count("number", number, least=0)
    if number < 100_000:
        return f"{number:,}"
    return f"{number / 1e6:.3g} M" if number >= 1e6 else f"{number / 1e6:.2f} M"
