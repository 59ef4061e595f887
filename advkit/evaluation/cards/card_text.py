"""A card as Markdown, and in the form of RobustBench's list."""

import html
from collections.abc import Mapping
from typing import Any

from advkit.core.words import harmless, number, percent, span
from advkit.data.corrupted import KINDS, SEVERITIES
from advkit.evaluation.measure.corruptions import CorruptionReport


def to_markdown(card: Mapping[str, Any]) -> str:
    """Write the card as Markdown: errors, attacks, checks, what was not shown, and how to repeat it.

    Args:
        card: the card that `make_card` returns.
    """
    errors, data = card["errors"], card["data"]
    lines = [
        f"# {safe(card['model']['description'] or card['model']['name'])}",
        "",
        f"{safe(data['name'] or 'data without a name')}, {data['evaluated']:,} images; "
        f"pixels in {card['threat']['bounds']}; seed {data['seed']}.",
        "",
        "| error | | 95 % interval |",
        "|---|---|---|",
    ]
    certified = errors["certified"]
    sides = [("without an attack", errors["clean"]), ("found by the attacks", errors["found"])]
    if certified is not None:
        ball = f"{certified['norm']} {number(certified['eps'])}"
        sides += [(f"found within {ball}", certified["found"])]
        sides += [(f"no attack exceeds within {ball} ({safe(certified['method'])})", certified)]
    lines += [f"| {name} | {percent(side['error'])} | {span(side['interval'])} |" for name, side in sides]
    lines += [
        "",
        "| attack | norm | eps | error | 95 % interval | queries | gradients |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in [*card["attacks"], *([card["control"]] if card["control"] else [])]:
        eps = "-" if row["eps"] is None else number(row["eps"])
        cells = safe(row["attack"]), row["norm"], eps, percent(row["adversarial_error"])
        passes = f"{row['queries_per_sample']:.1f}", f"{row['gradients_per_sample']:.1f}"
        lines.append(f"| {' | '.join([*cells, span(row['adversarial_error_interval']), *passes])} |")
    lines += ["", _checks(card["checks"]), "", *(f"- {safe(limit)}" for limit in card["limits"])]
    where = card["environment"]
    lines += ["", f"advkit {where['advkit']}, torch {where['torch']}, {where['device']}; digest `{card['digest']}`."]
    if card["command"]:
        lines += ["", f"    {safe(card['command'])}"]
    return "\n".join(lines) + "\n"


def _checks(checks: Mapping[str, Any] | None) -> str:
    if checks is None:
        return "No checks of the evaluation were made."
    raised = [name for name, verdict in checks["findings"].items() if verdict == "suspect"]
    said = f" Suspect: {', '.join(raised)}." if raised else ""
    return f"Checks of the evaluation: {checks['verdict']}, on {checks['samples']} images.{said}"


def safe(text: str) -> str:
    """Escape foreign text, so that it cannot end a cell, begin a tag or break a line."""
    return html.escape(harmless(" ".join(str(text).split())), quote=False).replace("|", "\\|")


def to_robustbench(card: Mapping[str, Any], damage: CorruptionReport | None = None) -> dict[str, Any]:
    """Write the card in the form of RobustBench's model_info: percentages are text, unknown entries null.

    Args:
        card: the card that `make_card` returns.
        damage: errors under corruptions, for `corruptions_acc`; the 15 kinds of CIFAR-10-C, CIFAR-100-C or ImageNet-C
            at all severities. Without them the entry is left out, as in the published files of other threats.
    """
    attacks = {row["attack"].partition("(")[0]: row for row in card["attacks"]}
    auto = attacks.get("autoattack")
    eps = next((row["eps"] for row in card["attacks"] if row["eps"] is not None), None)
    found = {
        "link": None,
        "name": card["model"]["name"],
        "authors": None,
        "additional_data": None,
        "number_forward_passes": None,
        "dataset": (card["data"]["name"] or "").partition(":")[0] or None,
        "venue": None,
        "architecture": card["model"]["description"],
        "eps": None if eps is None else number(eps),
        "clean_acc": _accuracy(card["errors"]["clean"]["error"]),
        "reported": None,
        "autoattack_acc": None if auto is None else _accuracy(auto["adversarial_error"]),
        "footnote": f"{card['data']['evaluated']} images, advkit card {card['digest']}",
        "unreliable": None if card["checks"] is None else card["checks"]["verdict"] == "suspect",
    }
    whole = damage is not None and set(damage.wrong) == set(KINDS) and len(damage.severities) == SEVERITIES
    if damage is not None and whole and damage.data.startswith(("cifar10_c", "cifar100_c", "imagenet_c")):
        found["corruptions_acc"] = _accuracy(damage.mean_error)
    return found


def _accuracy(error: float) -> str:
    return f"{100 * (1 - error):.2f}"
