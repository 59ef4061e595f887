"""The state of an attack that remembers nothing but where it is."""

from typing import NamedTuple

from torch import Tensor


class State(NamedTuple):
    """The point to be judged."""

    x_adv: Tensor  # (M, ...)
