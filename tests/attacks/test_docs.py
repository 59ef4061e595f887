"""docs/attacks.md says of every attack what the attack says of itself, and its examples run."""

import re
from pathlib import Path

import pytest

from advkit.attacks import ATTACKS, list_attacks
from advkit.testing import list_checks

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "attacks.md").read_text()


@pytest.mark.parametrize("name", list_attacks())
def test_the_table_has_the_attack_with_its_traits(name: str) -> None:
    attack = ATTACKS.factory(name)
    row = f"| `{name}` | {attack.kind} | {' '.join(attack.norms)} | {attack.knowledge} | {attack.paper} |"
    assert row in PAGE.splitlines(), f"docs/attacks.md lacks the row\n{row}"


def test_the_table_has_no_attack_that_is_not_registered() -> None:
    names = re.findall(r"^\| `(\w+)` \| (?:budget|minimal) \|", PAGE, re.MULTILINE)
    assert set(names) == set(list_attacks())
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", list_attacks())
def test_every_paper_has_its_number(name: str) -> None:
    assert re.search(r"arXiv \d{4}\.\d{4,5}$|ICLR|ICML", ATTACKS.factory(name).paper)


def test_the_wrappers_of_specs_are_on_the_page() -> None:
    for option in ATTACKS.wrappers:
        assert f"`{option}=" in PAGE


def test_waivers_name_checks_that_exist() -> None:
    section = PAGE[PAGE.index("Waivers (") :]
    named = set(re.findall(r"`([a-z]+_[a-z_]+)`", section)) - set(list_attacks())
    assert named <= set(list_checks())
    assert named
