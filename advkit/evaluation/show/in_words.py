"""A report as text, for the head of its page: what was attacked, the results, their reliability, and what is open."""

from collections.abc import Sequence
from typing import NamedTuple

from advkit.core.norms import NORMS
from advkit.core.words import number, percent, span
from advkit.evaluation.measure.attack_report import AttackReport
from advkit.evaluation.measure.corruptions import CorruptionReport
from advkit.evaluation.measure.published_corruptions import beside_alexnet, mean_corruption_error
from advkit.evaluation.measure.report import Report
from advkit.evaluation.show.remarks import SIGNIFICANT, made_by


class Side(NamedTuple):
    """An error and its 95 % interval."""

    error: float
    interval: tuple[float, float]


class Sides(NamedTuple):
    """Lower and upper bounds of the robust error: what attacks found, and what is not certified."""

    found: Side
    open: Side
    method: str


def sides_of(report: Report) -> Sides | None:
    """Return both bounds within the ball of the certificate, if the report has one."""
    both = report.certification
    if both is None:
        return None
    found = Side(both.found_error, both.found_error_interval)
    return Sides(found, Side(both.certified_error, both.certified_error_interval), both.method)


def summary(report: Report) -> list[tuple[str, str]]:
    """Return headings and their texts of a few sentences each."""
    return [
        ("Attacked", _attacked(report)),
        ("Found", _found(report)),
        ("How far to believe it", _belief(report)),
        ("Not tried", _open(report)),
    ]


def _attacked(report: Report) -> str:
    setting = report.setting
    data = " ".join(report.data.rsplit(":", 1)) if report.data else "the given data"
    if setting is None:
        return f"{report.count:,} images of {data}."
    whole = setting.images is None or setting.images == report.count
    images = f"all {report.count:,} images" if whole else f"{report.count:,} of {setting.images:,} images"
    chosen = "" if whole else f" ({setting.chosen})"
    weights = f", weights: {setting.weights}" if setting.weights else ""
    return f"{setting.model}{weights}, on {images} of {data}{chosen}."


def _found(report: Report) -> str:
    clean = (
        f"{percent(report.clean_error)} of the images are wrong without an attack ({span(report.clean_error_interval)})"
    )
    if not report.attacks:
        return f"{clean}. No attack was made."
    worst = max(report.attacks, key=lambda row: row.adversarial_error)
    error, interval = report.adversarial_error, span(report.adversarial_error_interval)
    several = len(report.attacks) > 1
    who = f"under the worst of {len(report.attacks)} attacks for each image" if several else f"under {worst.attack}"
    alone = f" The strongest alone is {worst.attack}: {percent(worst.adversarial_error)}." if several else ""
    free = any(row.eps is None for row in report.attacks)
    reach = " An attack without an eps counts at any distance: see its median distance and its curve." if free else ""
    return f"{clean}; {who} at least {percent(error)} are ({interval}).{alone}{reach}"


def _belief(report: Report) -> str:
    said = ["An adversarial error is a lower bound. The intervals cover the sampling of the images, nothing else."]
    checks = report.checks
    if checks is None:
        said.append("No check was made of whether the attacks could see the gradients.")
    else:
        judged = f"{len(checks.judged)} of {len(checks.findings)} checks could judge"
        verdict = {
            "trustworthy": f"No sign of hidden gradients was seen ({judged}); that is no proof.",
            "undecided": f"The checks cannot decide ({judged}): nothing speaks for or against these errors.",
            "suspect": "The checks found reasons for doubt: do not quote these errors before you understand them.",
        }
        said.append(verdict[checks.verdict])
    if report.control is not None and report.attacks:
        error = percent(report.control.adversarial_error)
        first = report.attacks[0]
        clear = first.adversarial_error > report.control.adversarial_error and first.p_against_noise <= SIGNIFICANT
        said.append(
            f"Random noise of the size of {first.attack} errs on {error}; the attack finds "
            f"{'clearly more' if clear else 'no clearly different share'} (McNemar p = {first.p_against_noise:.2g})."
        )
    return " ".join(said)


def _open(report: Report) -> str:
    attacks = report.attacks
    norms = [name for name in NORMS if name not in {row.norm for row in attacks}]
    said = [f"the norm{'s' if len(norms) > 1 else ''} {listed(norms)}"] if norms else []
    if budgets := _largest(attacks):
        said.append(f"an eps above {' or '.join(budgets)}")
    knowledge = {_knowledge(row) for row in attacks}
    for kind, words in (("scores", "attacks that see scores only"), ("labels", "attacks that see labels only")):
        said += [] if kind in knowledge else [words]
    said += [] if report.corruptions is not None else ["corruptions without an adversary"]
    text = f"{'; '.join(said)}; attacks written for this very model."
    if sides_of(report) is None:
        text += " No certificate was computed: the error under the best attack may be anything up to 100 %."
    return text[0].upper() + text[1:]


def listed(names: Sequence[str]) -> str:
    """Join names as in a sentence: `a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), *names[-1:]] if len(names) > 1 else names)


def _largest(attacks: Sequence[AttackReport]) -> list[str]:
    """The largest eps of each norm."""
    largest: dict[str, float] = {}
    for row in attacks:
        if row.eps is not None:
            largest[row.norm] = max(row.eps, largest.get(row.norm, 0.0))
    return [f"{number(eps)} in {norm}" for norm, eps in largest.items()]


def _knowledge(row: AttackReport) -> str:
    """What the attack saw of the model; "gradients" where its name is not known here."""
    return str(getattr(next(iter(made_by(row)), None), "knowledge", "gradients"))


def mce_in_words(damage: CorruptionReport) -> list[str]:
    """Return the two figures relative to AlexNet's published errors, if these are of the same images."""
    if not beside_alexnet(damage):
        return []
    mce, relative = (mean_corruption_error(damage, relative=relative) for relative in (False, True))
    return [f"mCE {percent(mce)}, relative mCE {percent(relative)}: errors divided by AlexNet's on the same images."]
