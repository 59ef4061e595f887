"""Several networks on one data set, for the commands that compare them."""

from pathlib import Path
from typing import Any

import torch

from advkit.cli._picture import check_place
from advkit.cli.attack import checkpoint
from advkit.cli.evaluate import loaded
from advkit.core.devices import find_device
from advkit.core.errors import InputError
from advkit.data import Dataset
from advkit.models import Classifier, load_model


def load_several(options: dict[str, Any], *, least: int = 1) -> tuple[dict[str, Classifier], Dataset]:
    """Load the networks by name, and the images in the size of the first network.

    Raises:
        InputError: there are too few models, one is given twice, or weights are given for several.
    """
    names = options["models"]
    if len(names) < least:
        said = "--models NAME" if least == 1 else "--models NAME NAME"
        raise InputError(f"give {said}, such as --models lenet5 mlp: advkit models lists them")
    if len(set(names)) < len(names):
        raise InputError(f"expected every model once, got {' '.join(names)}")
    if len(names) > 1 and options["weights"] not in (None, "random", "imagenet"):
        raise InputError("--weights FILE is for one model: name the weights files among --models instead")
    if options["threads"] is not None:
        torch.set_num_threads(options["threads"])
    find_device(options["device"])
    first, images = loaded(names[0], options["device"], options)
    made = {names[0]: first}
    for name in names[1:]:
        if options["weights"] == "random":
            made[name], _ = loaded(name, options["device"], options)
        else:
            made[name] = load_model(
                name, data=checkpoint(options["data"]), weights=options["weights"], device=options["device"]
            )
    return made, images


def picture(output: Path | None, name: str, options: dict[str, Any]) -> Path | None:
    """Return the file to draw to: the given one, or `name` in a given or the current folder; None for no picture.

    Raises:
        InputError: there is no such folder, it cannot be written to, or the file has no picture's ending.
    """
    if options["no_picture"] or (options["as_json"] and output is None):
        return None
    return check_place(output, name)
