"""What a function of the caller's returns: `load_data("package.module:function")`."""

from collections.abc import Iterable
from typing import Any

from advkit.core.errors import InputError
from advkit.core.imported import call, find, parameters_of, staying
from advkit.data._dataset import DATASETS, Dataset
from advkit.data._folders import Root
from advkit.data._pairs import from_pair, is_pair
from advkit.data._reading import read_through


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
        with staying(place):
            return read_through(place, split, made)
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
