"""`advkit defenses`: the training losses, their passes, papers and options."""

import dataclasses

from advkit.cli._console import say, show, table
from advkit.core.errors import unknown
from advkit.defenses import DEFENSES, list_defenses, list_transforms


def run(pattern: str) -> None:
    """Do what the command says."""
    names = list_defenses(pattern)
    if not names:
        raise unknown("defense", pattern, list_defenses())
    columns = ("defense", "takes", "options (default)", "paper")
    listed = table(*columns, text=("options (default)", "paper"))
    for name in names:
        factory = DEFENSES.factory(name)
        listed.add_row(name, _takes(factory), _options(factory), str(getattr(factory, "paper", "")))
    show(listed)
    if pattern == "*":
        say(f"At inference, advkit attack --transform SPEC: {', '.join(list_transforms())}.")
    say("Train with one: advkit train --model lenet5 --defense 'trades(eps=0.3, steps=10, beta=6)'.")
    say("Options that a defence has not go to the attack that it takes. The name of an attack is a defence, too.")


def _own(factory: object) -> list["dataclasses.Field[object]"]:
    return [f for f in dataclasses.fields(factory) if f.init] if dataclasses.is_dataclass(factory) else []


def _takes(factory: object) -> str:
    """What is inside: any attack, another loss, or nothing."""
    names = {f.name for f in _own(factory)}
    return "any attack" if "attack" in names else "another loss" if "loss" in names else "-"


def _options(factory: object) -> str:
    """`beta (6.0), bounds ((0, 1))`: a field without a default has no brackets."""
    shown = []
    for field in _own(factory):
        default = "" if field.default is dataclasses.MISSING else f" ({field.default})"
        shown.append(f"{field.name}{default}")
    return ", ".join(shown)
