"""Preparation of a batch for the model: checked, on its device, in its floating-point type."""

from advkit.core import door
from advkit.core.guard import Model, as_weights
from advkit.data._stream import Batch


def fitted(batch: Batch, model: Model, bounds: tuple[float, float], *, labelled: bool = True) -> Batch:
    """Return the batch, checked, on the model's device and in its floating-point type.

    Raises:
        InputError: images are out of bounds, or labels have to be classes (`labelled`) and are not.
    """
    door.check_images(batch.x, bounds)
    y = batch.y.to(batch.x.device)
    y = door.check_classes("labels", y, batch.x) if labelled else door.check_rows(y, batch.x)
    x = as_weights(model, batch.x)
    return Batch(x, y.to(x.device), batch.sample_ids.to(x.device))
