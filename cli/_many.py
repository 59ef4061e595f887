"""Options that take several words: `--attacks fgsm "pgd(steps=9)"`."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class ManyCommand(click.Command):
    """A command whose repeatable options also take all words that follow, up to the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the flag before every word but the first."""
        many = {flag for p in self.params if isinstance(p, click.Option) and p.multiple for flag in [*p.opts]}
        spread: list[str] = []
        flag: str | None = None
        waiting = False  # the flag's first word is still to come
        for word in args:
            if word.startswith("-") and not _number(word):
                if waiting:  # click would take the next option for the word
                    raise click.UsageError(f"Option '{flag}' requires an argument.", ctx)
                flag, waiting = (word, True) if word in many else (None, False)
            elif flag is not None and not waiting:
                spread.append(flag)
            else:
                waiting = False
            spread.append(word)
        return super().parse_args(ctx, spread)


def _number(word: str) -> bool:
    return word[1:2].isdigit() or word[1:2] == "."


def many(*flags: str, text: str, kind: Any = None) -> Callable[[F], F]:
    """Decorator: a repeatable option that takes one word or several; `text` is its help, `kind` the type of a word."""
    return click.option(*flags, multiple=True, type=kind, help=text)
