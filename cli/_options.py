"""Options that several commands share, and values as a user types them."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeVar

import click

from advkit.core.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])


def number(text: str) -> float:
    """`"0.007"` or `"8/255"` as a float.

    Raises:
        InputError: neither of the two, or not finite.
    """
    try:
        value = float(Fraction(text.replace(" ", ""))) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"expected a number such as 0.007 or 8/255, got {text!r}")
    return value


def check_device(name: str) -> None:
    """Raise InputError unless it is "auto" or a device that torch can use here."""
    import torch

    try:
        torch.empty(0, device=None if name == "auto" else name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"no device {name!r} here: expected auto, cpu, or a GPU such as cuda or cuda:1") from error


class Eps(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on
    """A radius: a number or a fraction, at least 0."""

    name = "eps"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The text as a float; a usage error if it is not one."""
        try:
            eps = number(str(value))
        except InputError:
            eps = math.nan
        if not eps >= 0:
            self.fail(f"expected a number at least 0 such as 0.007 or 8/255, got {value!r}", param, ctx)
        return eps


def shared(*names: str) -> Callable[[F], F]:
    """Decorator: add these of the options below to a command, in this order."""

    def add(function: F) -> F:
        for name in reversed(names):
            function = _SHARED[name](function)
        return function

    return add


_SHARED: dict[str, Callable[[Any], Any]] = {
    "weights": click.option(
        "--weights",
        metavar="FILE",
        help="A weights file, the folder of a run of advkit train, 'random', or 'imagenet' (downloads). "
        "Default: the checkpoint that ships with advkit.",
    ),
    "data": click.option(
        "--data", default="mnist5k", show_default=True, help="A data set (advkit data), or folder:PATH."
    ),
    "split": click.option("--split", default="test", show_default=True, help="Part of the data set."),
    "data-root": click.option(
        "--data-root", metavar="DIR", help="Where data sets lie [default: $ADVKIT_DATA or the cache]."
    ),
    "download": click.option("--download", is_flag=True, help="Allow the download of the data set."),
    "device": click.option(
        "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, ...; auto: a GPU if any."
    ),
    "threads": click.option("--threads", type=click.IntRange(min=1), help="CPU threads [default: torch's choice]."),
    "seed": click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random numbers."
    ),
}
