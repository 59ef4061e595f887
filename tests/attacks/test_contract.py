"""Every registered attack, in each of its norms, aimed and not, through every check that applies to it.

A plain run takes a selection, `short_cut`; `--slow` takes every pair.
"""

import warnings

import pytest
import torch

from advkit.attacks import ATTACKS, create_attack, list_attacks
from advkit.core import driver
from advkit.core.errors import InputError, UnknownNameError
from advkit.testing import BrokenPromiseError, check_attack, list_checks
from advkit.testing._subject import RADII
from advkit.testing._toys import toy_case

CHEAPER = {"pgd": {"steps": 8}, "apgd": {"steps": 12}, "apgd_targeted": {"steps": 10, "classes": 2}}
CHEAPER |= {"spatial": {"rotations": 3, "shifts": 3}, "universal": {"steps": 6}}
CHEAPER |= {"fooling": {"steps": 20, "step_size": 0.1}, "boundary": {"queries": 30, "tries": 10}}
CHEAPER |= {"hopskipjump": {"queries": 40, "first": 5, "tries": 10}}
CHEAPER |= {
    "square": {"queries": 40},
    "autoattack": {"steps": 3, "queries": 3},
    "cascade": {"steps": 3, "queries": 3},
}
CHEAPER |= {
    "ddn": {"steps": 30, "init_norm": 0.2},
    "cw": {"searches": 2, "steps": 12},
    "fmn": {"steps": 25, "gamma": 0.15},
}
CHEAPER |= {"alma": {"steps": 30}, "ead": {"searches": 2, "steps": 15}, "fab": {"steps": 8}, "jsma": {"steps": 16}}
CHEAPER |= {"flow": {"steps": 4}, "colour": {"steps": 4, "table": 4}, "features": {"steps": 6}}
CHEAPER |= {"geoda": {"queries": 30, "first": 6, "tries": 10}, "rays": {"queries": 40}}
CHEAPER |= {"patch": {"steps": 6}, "lavan": {"steps": 8}}
CHEAPER |= {"lbfgs": {"searches": 3, "leaps": 1, "leap_searches": 2, "first_steps": 8, "later_steps": 4}}
CHEAPER |= {"superdeepfool": {"steps": 20, "turns": 1}}
CHEAPER |= {"simba": {"queries": 24}, "nes": {"steps": 2, "samples": 6}, "spsa": {"steps": 2, "samples": 6}}
CHEAPER |= {"brendel_bethge": {"steps": 2, "tries": 2, "search": 2}, "sigma_zero": {"steps": 16}}
CHEAPER |= {"pdpgd": {"steps": 6}}
CHEAPER |= {"one_pixel": {"population": 6, "generations": 3}, "sparse_rs": {"queries": 24}}
"""Hyperparameters that keep an attack short here, by name or by name and norm; others run at their defaults."""

STRONGER: dict[str, dict[str, object]] = {"simba": {"queries": 170}}
STRONGER |= {"apgd l1": {"steps": 50}, "apgd_targeted l1": {"steps": 50, "classes": 2}}  # sparse steps take longer
STRONGER |= {"brendel_bethge": {"steps": 9, "search": 4}, "sigma_zero": {"steps": 100}}
STRONGER |= {"pdpgd": {"steps": 120, "dual_step": 0.5}}
STRONGER |= {"pdpgd l1": {"steps": 200, "step_size": 0.3}, "pdpgd linf": {"steps": 300}}
STRONGER |= {"pdpgd l0": {"steps": 200, "step_size": 0.3}, "pdpgd l0_pixels": {"steps": 260, "step_size": 0.3}}
STRONGER |= {"one_pixel": {"population": 20, "generations": 14}, "sparse_rs": {"queries": 170}}
STRONGER |= {name: {"steps": 8, "samples": 30} for name in ("nes", "spsa")}
STRONGER |= {"ddn": {"steps": 50, "init_norm": 0.2}, "cw": {"searches": 3, "steps": 20}}
STRONGER |= {"ead": {"searches": 2, "steps": 50}, "features": {"steps": 40}, "square": {"queries": 80}}
STRONGER |= {name: {"steps": 12, "queries": 12} for name in ("autoattack", "cascade")}
STRONGER |= {"geoda l2": {"queries": 120, "first": 10, "tries": 20}, "hopskipjump l2": {"queries": 150, "first": 8}}
STRONGER |= {"geoda": {"queries": 180, "first": 10, "tries": 20}, "rays": {"queries": 150}}
STRONGER |= {"hopskipjump": {"queries": 200, "first": 8, "tries": 20}, "boundary": {"queries": 120, "tries": 20}}
"""Those with which attacks that need many queries go through the checks of their strength, `HARD`."""

HARD = ("fools_a_linear_classifier", "moves_pixels_off_the_bounds", "follows_its_target", "attacks_every_label")
HARD += ("never_does_the_impossible",)
"""Checks that ask how much an attack finds: the longer it runs, the more they show."""


IN_TURN = {
    "boundary",
    "colour",
    "features",
    "flow",
    "fooling",
    "geoda",
    "hopskipjump",
    "one_pixel",
    "patch",
    "pdpgd",
    "sparse_rs",
    "spatial",
    "universal",
}
IN_TURN |= {"brendel_bethge", "cw", "ead", "simba", "square"}
"""Long attacks that treat every norm and aim alike: each norm is tried with one aim, in turn."""


def specs(options_of: dict[str, dict[str, object]] = CHEAPER) -> list[str]:
    """Every attack in each of its norms, aimed and not, with these options by name, or by name and norm."""
    found = []
    for name in list_attacks():
        factory = ATTACKS.factory(name)
        targets = ["untargeted", "runner_up"] if factory.targetable else ["untargeted"]
        for norm in factory.norms:
            if name in IN_TURN:
                targets = targets[1:] + targets[:1]
            for target in targets[-1:] if name in IN_TURN else targets:
                options = options_of.get(f"{name} {norm}", options_of.get(name, {}))
                found.append(create_attack(name, norm=norm, target=target, **options).spec)
    return [*found, "pgd(steps=8, random_start=False)", "pgd(steps=1)", "pgd(steps=4, loss=dlr)", "fgsm(loss=margin)"]


ALIKE = ("asks_no_gradient_of_parameters", "attacks_in_eval_mode", "keeps_the_memory_format", "leaves_a_pending_graph")
ALIKE += ("leaves_its_input_alone", "leaves_no_trace_after_an_exception", "leaves_no_trace_on_the_model")
ALIKE += ("follows_a_permutation_of_the_classes", "ignores_a_constant_on_the_logits", "works_for_any_number_of_classes")
ALIKE += ("leaves_the_random_state", "lets_no_nan_gradient_spread", "refuses_wrong_input", "reports_a_zero_gradient")
ALIKE += ("returns_images_of_the_same_form", "warns_of_a_suspicious_model", "works_on_a_function", "works_on_no_images")
ALIKE += ("works_under_autocast", "works_without_gradients_around")
"""Checks of what driver, oracle, loss and goal do in every norm alike: each attack is tried in two forms."""


def groups(names: list[str]) -> list[list[str]]:
    """The specs of each attack."""
    forms: dict[str, list[str]] = {}
    for spec in names:
        forms.setdefault(spec.partition("(")[0], []).append(spec)
    return list(forms.values())


SPECS = specs()
HARDER = dict(zip(SPECS, specs(CHEAPER | STRONGER), strict=True))
GROUPS = groups(SPECS)
ENDS = {spec for group in GROUPS for spec in (group[0], group[-1])}
"""The first and the last spec of every attack."""

MADE = {spec: create_attack(spec) for spec in SPECS}
NORM_OF = {spec: attack.norm for spec, attack in MADE.items()}
APPLY = {spec: set(list_checks(attack)) for spec, attack in MADE.items()}
LONG = {*IN_TURN, "autoattack", "cascade"}
OF_THE_NORM = ("fools_a_linear_classifier", "stays_in_the_ball", "tells_the_truth")
"""Checks of distances: long attacks, too, meet these in every norm."""


def short_cut() -> set[tuple[str, str]]:
    """What runs without `--slow`: every attack meets every check, its norm or aim changing from one check to the next.

    Of the checks in `ALIKE` an attack meets each in one form, of the others in one form of each norm, and a long attack
    in one norm only if they are not `OF_THE_NORM`.
    """
    chosen = set()
    for place, group in enumerate(GROUPS):
        long = group[0].partition("(")[0] in LONG
        for number, check in enumerate(list_checks()):
            turn, forms = number + place, [spec for spec in group if check in APPLY[spec]]
            if check in ALIKE:
                forms = [spec for spec in forms if spec in ENDS]
            norms = list(dict.fromkeys(NORM_OF[spec] for spec in forms))
            if check in ALIKE or (long and check not in OF_THE_NORM):
                norms = norms[turn % max(len(norms), 1) :][:1]
            for i, norm in enumerate(norms):
                found = [spec for spec in forms if NORM_OF[spec] == norm]
                chosen.add((found[(turn + i) % len(found)], check))
    return chosen


SHORT_CUT = short_cut()
PAIRS = [
    (HARDER[spec] if check in HARD else spec, check, (spec, check) not in SHORT_CUT)
    for spec in SPECS
    for check in list_checks()
    if check in APPLY[spec] and (check not in ALIKE or spec in ENDS)
]
"""Spec, check, and whether the pair waits for `--slow`."""

NO_BALL = "rotations and shifts reach few points of a ball, whatever its radius"
SPATIAL = {
    "works_on_other_shapes": "only images (N, C, H, W) can be turned",
    "fools_a_linear_classifier": NO_BALL,
    "moves_pixels_off_the_bounds": NO_BALL,
    "follows_its_target": NO_BALL,
}
UNIVERSAL = "one perturbation serves images of all labels, which need opposite ones"
STRENGTH = ("fools_a_linear_classifier", "moves_pixels_off_the_bounds", "follows_its_target", "attacks_every_label")
SMALL = "a patch or a square of a few per cent of the area is one pixel of the toys' 4x4"
PATCHES = dict.fromkeys(STRENGTH, SMALL) | {"works_on_other_shapes": "only images (N, C, H, W) have an area"}
DRAWN = "{} of a few pixels reaches few points of a ball, whatever its radius"
FLOW = dict.fromkeys(STRENGTH, DRAWN.format("a flow")) | {"works_on_other_shapes": "only images (N, C, H, W) flow"}
COLOUR = dict.fromkeys(STRENGTH, DRAWN.format("a function of colour")) | {
    "works_on_other_shapes": "only images (N, C, H, W) have colours",
}
FEATURES = {
    "works_on_a_function": "a plain function has no inner layer: its logits serve instead",
    "fools_a_linear_classifier": "it aims at another image's representation, not over the boundary",
}
SQUARES = "the smallest square of its l2 form, 3x3 pixels, is most of the toys' 4x4"
ALL = [*SPECS, *HARDER.values()]
WALKS = "walks from an adversarial point, where a gradient of zero is no failure; to a target it begins at x"
WAIVERS: dict[tuple[str, str], str] = {
    **{
        (spec, "reports_a_zero_gradient"): WALKS
        for spec in SPECS
        if spec.startswith(("brendel_bethge(steps", "brendel_bethge(norm=l1,"))
    },
    **{(spec, check): why for spec in SPECS if spec.startswith("spatial") for check, why in SPATIAL.items()},
    **{(spec, check): why for spec in ALL if spec.startswith("flow") for check, why in FLOW.items()},
    **{(spec, check): why for spec in ALL if spec.startswith("colour") for check, why in COLOUR.items()},
    **{(spec, check): why for spec in ALL if spec.startswith("features") for check, why in FEATURES.items()},
    **{(spec, check): SQUARES for spec in ALL if spec.startswith("square") and "l2" in spec for check in STRENGTH},
    **{(spec, check): why for spec in SPECS if spec.startswith(("patch", "lavan")) for check, why in PATCHES.items()},
    **{(spec, check): UNIVERSAL for spec in SPECS if spec.startswith("universal") for check in STRENGTH},
}
"""Promises that an attack does not keep, with the reason; a waiver that is not needed any more fails."""


def pair(spec: str, check: str, slow: bool) -> object:
    reason = WAIVERS.get((spec, check))
    marks = [pytest.mark.xfail(reason=reason, raises=BrokenPromiseError, strict=True)] if reason else []
    marks += [pytest.mark.slow] * slow
    return pytest.param(spec, check, id=f"{spec}-{check}", marks=marks)


@pytest.mark.parametrize(("spec", "check"), [pair(*names) for names in PAIRS])
def test_every_attack_keeps_every_promise(spec: str, check: str) -> None:
    check_attack(create_attack(spec), only=[check])


def stops() -> list[object]:
    """Every spec with both ways to stop; of an attack of several specs every other one waits for `--slow`."""
    ways = ("fooled", "never")
    return [
        pytest.param(spec, stop, marks=[pytest.mark.slow] * (len(group) > 1 and (i + j) % 2))
        for group in GROUPS
        for i, spec in enumerate(group)
        for j, stop in enumerate(ways)
    ]


@pytest.mark.parametrize(("spec", "stop"), stops())
def test_compaction_changes_nothing(spec: str, stop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attack, case = create_attack(spec), toy_case(2, samples=18)
    options = {"stop": stop} if attack.kind == "minimal" else {"stop": stop, "eps": RADII[attack.norm]}
    results = []
    for share in (0.0, 2.0):  # at every step, never
        monkeypatch.setattr(driver, "COMPACT_AT", share)
        results.append(attack(case.model, case.x, case.y, **options))
    assert torch.allclose(results[0].x_adv, results[1].x_adv, atol=1e-9)
    for name in ("success", "queries", "gradients", "zero_gradient"):
        assert torch.equal(getattr(results[0], name), getattr(results[1], name)), name


@pytest.mark.parametrize("spec", SPECS)
def test_a_spec_makes_the_same_attack_again(spec: str) -> None:
    attack = create_attack(spec)
    assert create_attack(attack.spec) == attack


def test_the_registry_is_not_empty_and_every_check_applies_to_some_attack() -> None:
    assert {"fgsm", "pgd", "noise", "lbfgs"} <= set(list_attacks())
    short = {(spec.partition("(")[0], check) for spec, check, slow in PAIRS if not slow}
    assert {check for _, check in short} == set(list_checks())
    assert short == {(spec.partition("(")[0], check) for spec, check, _ in PAIRS}
    assert {NORM_OF[spec] for spec, _, slow in PAIRS if not slow and spec in NORM_OF} == set(NORM_OF.values())


def test_names_of_checks_match_patterns() -> None:
    assert list_checks(pattern="stays_in_the_b*") == ["stays_in_the_ball", "stays_in_the_bounds"]


def test_an_unknown_check_or_trait_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'stays_in_the_ball'"):
        check_attack(create_attack("fgsm"), only=["stays_in_ball"])
    with pytest.raises(UnknownNameError, match="trait"):
        check_attack(create_attack("fgsm"), nrom="l2")
    with pytest.raises(InputError, match="expected an attack"):
        check_attack("fgsm")
    for trait, typo in (("kind", "bugdet"), ("knowledge", "gradient"), ("norm", "linff")):  # none would be checked
        with pytest.raises(UnknownNameError, match=f"unknown {trait} '{typo}'; did you mean"):
            check_attack(create_attack("fgsm"), **{trait: typo})


def test_a_skipped_check_is_reported_as_skipped() -> None:
    report = check_attack(create_attack("fgsm"), only="moves", skip="moves")
    assert [outcome.verdict for outcome in report.outcomes] == ["skipped"]
    assert "1 skipped" in str(report)


def test_a_plain_function_and_a_factory_go_through_the_checks() -> None:
    def identity(model, x, y, *, eps):
        return x.clone()

    report = check_attack(identity, only=["stays_in_the_ball", "returns_x_at_eps_zero"])
    assert report.ok
    assert check_attack(lambda: create_attack("fgsm"), only=["moves"]).ok


def test_a_broken_promise_is_raised_with_all_the_others_and_its_evidence() -> None:
    def careless(model, x, y, *, eps):
        warnings.warn("noisy", stacklevel=1)
        return x + 2 * eps

    with pytest.raises(BrokenPromiseError, match="leaves the bounds") as caught:
        check_attack(careless, only=["stays_in_the_bounds", "moves", "stays_in_the_ball"])
    assert caught.value.report.broken == ["stays_in_the_bounds", "stays_in_the_ball"]
