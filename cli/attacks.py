"""`advkit attacks`: the attacks with norms, required knowledge, papers and options."""

from advkit.attacks import ATTACKS
from advkit.cli._console import say, show, table
from advkit.cli._derived import flag, parameters, said
from advkit.core.errors import unknown


def run(pattern: str) -> None:
    """Do what the command says."""
    listed = table(
        "attack", "kind", "norms", "knows", "paper", "options (default)", text=("paper", "options (default)")
    )
    names = ATTACKS.names(pattern)
    if not names:
        raise unknown("attack", pattern, ATTACKS.names())
    for name in names:
        attack = ATTACKS.factory(name)
        options = ", ".join(f"{flag(p.name)} ({said(p)})" for p in parameters(attack).values())
        kind, norms, knows, paper = (getattr(attack, trait, "") for trait in ("kind", "norms", "knowledge", "paper"))
        listed.add_row(name, kind, " ".join(norms), knows, paper, options)
    show(listed)
    around = ", ".join(f"{option}=" for option in sorted(ATTACKS.wrappers))
    say(f"Around any attack, in a spec such as --attack 'pgd(steps=40, restarts=5)': {around}.")
