"""What a function of the caller's returns: `load_data("package.module:function")`."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from advkit.core.errors import InputError
from advkit.core.imported import call, find, parameters_of, staying
from advkit.data._dataset import DATASETS, Dataset
from advkit.data._folders import Root
from advkit.data._pairs import from_pair, images_of, in_memory, is_pair, labels_of, pair

MOST = 4 << 30  # bytes of images that a factory's data set may hold in memory


@DATASETS.register("factory")
def factory(*, place: str, split: str = "test", root: Root = None, download: bool = False, **options: Any) -> Dataset:
    """What your own function returns; its code is run.

    Args:
        place: "package.module:function"; a module in the current folder is found too. The function returns a data set
            of advkit, a pair (x, y) of tensors or arrays, a DataLoader, or any data set of (image, label). All but
            the first are read into memory.
        split, root, download: arguments that are handed on if the function takes them.
        **options: options that are handed on to the function.

    Raises:
        InputError: there is no such function, it does not take an option, or it returns data of another form.
    """
    module, _, attribute = place.partition(":")
    made = call(place, find(place, module, attribute, "data set"), options, split=split, root=root, download=download)
    if isinstance(made, Dataset):
        return made
    if is_pair(made):
        return from_pair(made, place, split)
    if isinstance(made, Iterable) or (hasattr(made, "__getitem__") and hasattr(made, "__len__")):
        return _read_through(place, split, made)
    raise InputError(f"expected {place} to return a data set or a pair (x, y), got {type(made).__name__}")


def factory_splits(place: str) -> list[str]:
    """Return "test", and "train" where the function takes a split; which it has is known only when it is called.

    Args:
        place: "package.module:function".

    Raises:
        InputError: there is no such function.
    """
    module, _, attribute = place.partition(":")
    return ["test", "train"] if "split" in parameters_of(find(place, module, attribute, "data set")) else ["test"]


def _read_through(place: str, split: str, made: Any) -> Dataset:
    """All that a loader or a data set gives, in memory."""
    items = _items(place, made)
    images, labels, held = list[Tensor](), list[Tensor](), 0
    for item in items:
        x, y = pair(item)
        x, y = (x[None], y.reshape(1)) if x.ndim == 3 and y.numel() == 1 else (x, y)
        images.append(x)
        labels.append(y)
        held += x.numel() * x.element_size()
        if held > MOST:
            raise InputError(f"{place} gives more than {MOST >> 30} GB of images: return a data set that ends sooner")
    if not images:
        raise InputError(f"expected at least one image from {place}, got none")
    try:
        x, y = torch.cat(images), torch.cat(labels)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"expected images of one size from {place}: {str(error).splitlines()[0]}") from error
    return in_memory(place, split, images_of(x.numpy(), place), labels_of(y.numpy(), place))


def _items(place: str, made: Any) -> Iterator[Any]:
    """What a data set or a loader of the caller's gives, one after the other."""
    with staying(place):
        sized = hasattr(made, "__getitem__") and hasattr(made, "__len__")
        yield from (made[i] for i in range(len(made))) if sized else made
