"""Augmentations by name, and Deep Image's set as one."""

from advkit.core.errors import check_given
from advkit.core.option_numbers import check_kinds
from advkit.core.plain import plain
from advkit.data import Dataset
from advkit.training.augment._base import AUGMENTATIONS, Augmentation, Compose, check
from advkit.training.augment.colour import ColourCast, PCAColour, Vignette
from advkit.training.augment.crops import Mirror
from advkit.training.augment.geometry import RotateCrop, Stretch


@AUGMENTATIONS.register("deep_image")
def deep_image(*, strength: float = 1.0) -> Compose:
    """Deep Image's set, one after the other: casts, vignette, stretch, rotation with a crop, mirror.

    Args:
        strength: factor of all amounts, in [0, 1]; at 0 only the mirror remains.

    Raises:
        InputError: the strength is outside [0, 1].
    """
    strength = plain(strength)
    check_kinds("deep_image", deep_image, {"strength": strength})
    check("strength", strength, 0 <= strength <= 1, "in [0, 1]")
    parts = (
        ColourCast(amount=strength * 20 / 255),
        Vignette(strength=0.8 * strength),
        Stretch(horizontal=0.3 * strength, vertical=0.3 * strength),
        RotateCrop(degrees=20 * strength),
        Mirror(),
    )
    return Compose(parts=parts)


def list_augmentations(pattern: str = "*") -> list[str]:
    """Return the names of augmentations that match a shell pattern.

    Args:
        pattern: shell pattern; default: all names.
    """
    return AUGMENTATIONS.names(pattern)


def create_augmentation(spec: str, *, data: Dataset | None = None) -> Augmentation:
    """Create an augmentation from text such as `"patch(size=28) + mirror"`.

    Args:
        spec: one name, with or without options, or several with + between them, applied in this order.
        data: the training split, where `pca_colour` finds its colours if the spec names none. Without data they are
            ImageNet's.

    Raises:
        InputError: a name or option is unknown, a value is out of its range, or `pca_colour` has data without colours.
    """
    check_given("spec", spec, str, "text such as 'patch(size=28) + mirror'")
    parts = [_one(part, data) for part in _split(spec)]
    return parts[0] if len(parts) == 1 else Compose(parts=tuple(parts))


def _one(spec: str, data: Dataset | None) -> Augmentation:
    parsed = AUGMENTATIONS.read(spec)
    if parsed.name != "pca_colour" or "values" in parsed.options or data is None:
        return AUGMENTATIONS.create(parsed)
    AUGMENTATIONS.check_options("pca_colour", PCAColour.fit, {"data": data, **parsed.options})
    return PCAColour.fit(data, **parsed.options)


def _split(spec: str) -> list[str]:
    """The parts between the plus signs that lie outside of parentheses."""
    parts, depth = [""], 0
    for letter in spec:
        depth += (letter == "(") - (letter == ")")
        if letter == "+" and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
