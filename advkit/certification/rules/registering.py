"""The decorator that registers a rule."""

from collections.abc import Callable
from typing import Any

from advkit.certification.graph import RULES, Call


def rule(*names: str) -> Callable[[Callable[[Call], Any]], Callable[[Call], Any]]:
    """Decorator that registers the rule of these operations."""

    def keep(make: Callable[[Call], Any]) -> Callable[[Call], Any]:
        RULES.update(dict.fromkeys(names, make))
        return make

    return keep
