"""The README's index of attacks, from the registry: run `python docs/_readme_index.py` after an attack was added."""

import re
from collections import defaultdict
from pathlib import Path

from advkit.core.attack import ATTACKS

README = Path(__file__).parents[1] / "README.md"
HEAD = "| paper of | budget attacks: the strongest image within eps | minimal attacks: the nearest adversarial image |"


def index_table() -> str:
    """One row for each year of the papers, oldest first; every attack is a link to its paper."""
    import advkit.attacks  # noqa: F401  (registers)

    rows: dict[str, dict[str, list[str]]] = defaultdict(lambda: {"budget": [], "minimal": []})
    for name in ATTACKS.names():
        attack = ATTACKS.factory(name)
        rows[max(re.findall(r"\b(?:19|20)\d\d\b", attack.paper))][attack.kind].append(_entry(name, attack))
    lines = [
        f"| {year} | {', '.join(found['budget'])} | {', '.join(found['minimal'])} |" for year, found in rows.items()
    ]
    return "\n".join([HEAD, "|---|---|---|", *sorted(lines)])


def _entry(name: str, attack: type) -> str:
    """`name` with a link to the paper, and what it knows of the model where that is not its gradients."""
    number = re.search(r"arXiv (\d{4}\.\d{4,5})", attack.paper)  # type: ignore[attr-defined]
    shown = f"[`{name}`](https://arxiv.org/abs/{number[1]})" if number else f"`{name}`"
    knows = attack.knowledge  # type: ignore[attr-defined]
    return shown if knows == "gradients" else f"{shown} ({knows})"


def with_index(text: str) -> str:
    """The README with the table of today in place of its own."""
    return re.sub(rf"^{re.escape(HEAD)}\n(?:\|.*\n)+", lambda _: index_table() + "\n", text, flags=re.MULTILINE)


if __name__ == "__main__":
    README.write_text(with_index(README.read_text()))
