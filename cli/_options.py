"""Options of several commands, and types of their values."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from advkit.cli._sources import names
from advkit.core.errors import InputError
from advkit.core.files import user_path
from advkit.core.words import fraction

F = TypeVar("F", bound=Callable[..., Any])


MOST = 1024
"""Threads or processes that a command may start; a system that has no room for them ends the program without a word."""


class Eps(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on
    """A radius: a number or a fraction, at least 0."""

    name = "eps"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert the text to a float, or raise a usage error."""
        try:
            eps = fraction(str(value))
        except InputError:
            eps = math.nan
        if not eps >= 0:
            self.fail(f"expected a number at least 0 such as 0.007 or 8/255, got {value!r}", param, ctx)
        return eps


class UserPath(click.Path):
    """A path; a leading ~ is the user's home, also where no shell has put it there, as behind `--output=`."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or raise a usage error if it is empty, as an unset variable of a shell leaves it."""
        if not os.fspath(value):
            self.fail("expected a path, got an empty text; . is the current folder", param, ctx)
        return user_path(os.fsdecode(super().convert(value, param, ctx)))


class Name(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on
    """A name of one of these kinds, which the shell completes, or any other text.

    Args:
        kinds: kinds of names: "attack", "data set", "defense", "model" or "transform".
    """

    name = "text"

    def __init__(self, *kinds: str) -> None:
        self.kinds = kinds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text unchanged."""
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the registered names that begin with the text."""
        known = sorted({name for kind in self.kinds for name in names(kind)})
        return [CompletionItem(name) for name in known if name.startswith(incomplete)]


def picture(default: str, more: str = "") -> Callable[[F], F]:
    """Decorator: add --output, the place of a command's picture, to a command.

    Args:
        default: what it is where the option is not given, as the help says it.
        more: further endings, and what they need.
    """
    endings = f".png, .pdf, .svg, .jpg{more}"
    return click.option("--output", type=UserPath(), help=f"File ({endings}) or folder of the picture. [{default}]")


def shared(*options: str) -> Callable[[F], F]:
    """Decorator: add these of the options below to a command, in this order."""

    def add(function: F) -> F:
        for name in reversed(options):
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
        "--data",
        type=Name("data set"),
        default="mnist5k",
        show_default=True,
        help="A data set (advkit data), folder:PATH, FILE.npz, FILE.csv, or package.module:function.",
    ),
    "split": click.option("--split", default="test", show_default=True, help="Part of the data set."),
    "data-root": click.option(
        "--data-root", metavar="DIR", help="Folder of the data sets. [$ADVKIT_DATA or the user's cache]"
    ),
    "download": click.option("--download", is_flag=True, help="Allow the download of the data set."),
    "classes": click.option(
        "--classes",
        metavar="FILE",
        help="Names of the network's classes, one a line in the order of its outputs (or JSON): folders called by "
        "these names or by WordNet ids get the outputs' numbers. [ImageNet's for 1,000 outputs]",
    ),
    "device": click.option(
        "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, ...; auto: a GPU if any."
    ),
    "threads": click.option("--threads", type=click.IntRange(1, MOST), help="Number of CPU threads. [torch's choice]"),
    "target": click.option(
        "--target", metavar="CLASS", help="Class to reach: a name, a number, runner_up, random or all."
    ),
    "goal": click.option(
        "--goal",
        metavar="SPEC",
        help='What counts as wrong: "topk(k=5)", "confident(lead=1)". [a class other than the label]',
    ),
    "verdicts": click.option(
        "--verdicts",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Number of fresh passes that judge each image: means and spread for a random model.",
    ),
    "seed": click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the random numbers."
    ),
}
