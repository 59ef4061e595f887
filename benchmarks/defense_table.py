"""The tables of docs/defense_comparison.md from measured cells: `python benchmarks/defense_table.py CELLS.jsonl`.

Prints the tables; with `--page docs/defense_comparison.md` it writes them between the page's two marks. CELLS.jsonl is
what `benchmarks/defense_cells.py` wrote; several files are taken together, the first of two equal cells counts.
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from advkit.reproduction.significance import paired_t

Verdicts = npt.NDArray[np.bool_]

BEGIN, END = "<!-- begin: results -->", "<!-- end: results -->"
COLUMNS = {"clean": "clean", "fgsm": "FGSM", "pgd": "PGD-40", "cascade": "cascade", "uncertified": "not certified"}
RIVAL = "pgd"
"""The loss that every other is compared with."""

RESAMPLES = 2000
FEWEST = 3
"""Seeds from which on a test is made."""


class Group(NamedTuple):
    """The cells of one loss at one radius, seed by seed."""

    loss: str
    eps: float
    cells: list[dict[str, Any]]

    @property
    def seeds(self) -> list[int]:
        return [c["seed"] for c in self.cells]

    def wrong(self, name: str) -> Verdicts:
        """(seeds, digits) bool."""
        return np.stack([verdicts(c["wrong"][name]) for c in self.cells])


def verdicts(text: str) -> Verdicts:
    """The inverse of `as_hex` of defense_cells."""
    count, _, digits = text.partition(":")
    bits = f"{int(digits, 16):b}"[1:]
    assert len(bits) == int(count)
    return np.array([b == "1" for b in bits])


def read(paths: Sequence[Path]) -> list[Group]:
    """By radius, then in the order in which the losses appear in `defense_cells.LOSSES`."""
    from defense_cells import LOSSES

    found: dict[tuple[float, int, int], dict[str, Any]] = {}
    order = list(LOSSES)
    for line in (line for path in paths for line in path.read_text().splitlines()):
        cell = json.loads(line)
        found.setdefault((cell["eps"], order.index(cell["loss"]), cell["seed"]), cell)
    groups: dict[tuple[float, int], Group] = {}
    for (eps, place, _), cell in sorted(found.items()):
        groups.setdefault((eps, place), Group(order[place], eps, [])).cells.append(cell)
    return list(groups.values())


def interval(wrong: Verdicts) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over seeds and digits, both drawn anew."""
    draws = np.random.default_rng(0)
    seeds, digits = wrong.shape
    rows = draws.integers(seeds, size=(RESAMPLES, seeds))
    means = [wrong[r][:, draws.integers(digits, size=digits)].mean() for r in rows]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def paired_p(differences: Sequence[float]) -> float:
    """Two-sided p-value of Student's paired test; NaN of fewer than two, and of equal ones that are not zero."""
    return paired_t(differences, [0.0] * len(differences)).p


def holm(values: dict[str, float]) -> dict[str, float]:
    """p-values corrected for their number (Holm 1979)."""
    corrected: dict[str, float] = {}
    largest, left = 0.0, len(values)
    for name, p in sorted(values.items(), key=lambda pair: pair[1]):
        largest = max(largest, min(1.0, p * left))
        corrected[name], left = largest, left - 1
    return corrected


def differences(group: Group, rival: Group) -> list[float]:
    """Error under the cascade minus that of the rival, seed by seed, of the seeds that both have."""
    common = sorted(set(group.seeds) & set(rival.seeds))
    return [_error(group, seed) - _error(rival, seed) for seed in common]


def _error(group: Group, seed: int) -> float:
    return float(group.wrong("cascade")[group.seeds.index(seed)].mean())


def times(group: Group, plain: Group) -> float | None:
    """Median over the seeds of the time over that of plain training, with the same seed on the same device."""
    seconds = {(c["seed"], c["device"]): c["train_seconds"] for c in plain.cells}
    places = [(c["train_seconds"], (c["seed"], c["device"])) for c in group.cells]
    ratios = [spent / seconds[place] for spent, place in places if place in seconds]
    return statistics.median(ratios) if ratios else None


def table(groups: list[Group]) -> Iterator[str]:
    """The lines of one radius."""
    by_loss = {g.loss: g for g in groups}
    rival, plain = by_loss.get(RIVAL), by_loss.get("plain")
    apart = {} if rival is None else {g.loss: differences(g, rival) for g in groups if g.loss != RIVAL}
    apart = {name: found for name, found in apart.items() if found}
    tests = {name: paired_p(found) for name, found in apart.items() if len(found) >= FEWEST}
    p = holm({name: value for name, value in tests.items() if value == value})  # no test of equal differences
    yield f"| loss | seeds | {' | '.join(COLUMNS.values())} | time | cascade, minus that of `{RIVAL}` | p |"
    yield "|---" * (len(COLUMNS) + 5) + "|"
    for g in groups:
        parts = [f"`{g.loss}`" if g.loss != "plain" else "plain training", str(len(g.cells))]
        parts += [share(g, name) for name in COLUMNS]
        time = None if plain is None else times(g, plain)
        parts.append("-" if time is None else f"{time:.1f}")
        parts.append(f"{100 * statistics.fmean(apart[g.loss]):+.1f}" if g.loss in apart else "-")
        parts.append(f"{p[g.loss]:.2g}" if g.loss in p else "-")
        yield f"| {' | '.join(parts)} |"


def share(group: Group, name: str) -> str:
    """`12.3 (11.0 to 13.7)` per cent."""
    if name not in group.cells[0]["wrong"]:
        return "-"
    wrong = group.wrong(name)
    low, high = interval(wrong)
    return f"{100 * wrong.mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


def standard(groups: list[Group]) -> Iterator[str]:
    """AutoAttack standard beside the cascade on the digits that both tried."""
    tried = [(g, c) for g in groups for c in g.cells if "autoattack" in c["wrong"]]
    if not tried:
        return
    lines, pairs, both = [], 0, 0
    for g, c in tried:
        ours, theirs = verdicts(c["wrong"]["cascade"]), verdicts(c["wrong"]["autoattack"])
        ours = ours[: len(theirs)]
        pairs, both = pairs + len(theirs), both + int((ours == theirs).sum())
        if (ours != theirs).any():
            lines.append(f"| `{g.loss}` | {g.eps:g} | {int((ours & ~theirs).sum())} | {int((theirs & ~ours).sum())} |")
    yield f"AutoAttack standard tried {len(tried)} networks of the first seed on the first digits. It and the cascade"
    yield f"agree on {both:,} of {pairs:,} verdicts." + (" They differ here:" if lines else "")
    if lines:
        yield ""
        yield "| loss | eps | only the cascade fools | only AutoAttack fools |"
        yield "|---|---|---|---|"
        yield from lines


def page(groups: list[Group]) -> str:
    """All that stands between the marks."""
    lines: list[str] = []
    for eps in sorted({g.eps for g in groups}):
        lines += [f"### eps {eps:g}", "", *table([g for g in groups if g.eps == eps]), ""]
    lines += ["### Cascade and AutoAttack", "", *standard(groups), ""]
    devices = sorted({c["device"] for g in groups for c in g.cells})
    torches = sorted({c["versions"]["torch"] for g in groups for c in g.cells})
    lines.append(f"Measured on: {', '.join(devices)}; torch {', '.join(torches)}.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cells", type=Path, nargs="+", metavar="CELLS.jsonl")
    parser.add_argument("--page", type=Path, help="page whose part between the marks is written anew")
    given = parser.parse_args()
    text = page(read(given.cells))
    if given.page is None:
        print(text)
        return
    before, _, rest = given.page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    given.page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    main()
