"""Checks of invariance: to the rest of the batch, the order, the seed, constants on the logits, and class names."""

import torch
from torch import Tensor

from advkit.testing._check import check
from advkit.testing._checks_result import expect
from advkit.testing._subject import Outcome, Subject, outcome_of
from advkit.testing._toys import Case, toy_case
from advkit.testing.nets import MARK, Wrapped, nan_gradient

CLOSE = 1e-7
"""How far two float64 results may be apart that the rounding of another batch size has parted."""


def independent(subject: Subject) -> bool:
    """Return whether the attack promises that a sample's result depends on the sample only."""
    return subject.per_sample and ("sample_ids" in subject.accepts or subject.deterministic)


def same(found: Outcome, expected: Outcome, context: str) -> None:
    """Raise AssertionError unless two outcomes agree in images and verdicts."""
    apart = (found.x_adv - expected.x_adv).abs().flatten(1).amax(1) if len(found.x_adv) else torch.zeros(0)
    rows = (apart > CLOSE).nonzero().flatten().tolist()
    expect(not rows, f"{context}: samples {rows} differ by up to {float(apart.max()) if len(apart) else 0:.3g}")
    for name in ("success", "queries", "gradients", "zero_gradient"):
        a, b = getattr(found, name), getattr(expected, name)
        expect(a is None or torch.equal(a, b), f"{context}: {name} {a} instead of {b}")


def rows_of(found: Outcome, index: Tensor) -> Outcome:
    """Return the outcome of some of the samples."""

    def part(name: str) -> Tensor | None:
        value: Tensor | None = getattr(found, name)
        return None if value is None else value[index]

    return outcome_of(part)


def _attack(subject: Subject, case: Case, index: Tensor, stop: str, *, aim: bool) -> Outcome:
    target = case.target[index] if aim else None
    return subject(case.model, case.x[index], case.y[index], target=target, stop=stop, sample_ids=index)


@check(independent)
def gives_the_same_alone_or_in_a_batch(subject: Subject) -> None:
    """float64: a sample attacked alone gives what it gives in a batch."""
    case, index = toy_case(5), torch.arange(9)
    for stop in ("fooled", "never"):
        whole = _attack(subject, case, index, stop, aim=False)
        for i in (0, 2, 4, 6, 8) if stop == "fooled" else (1, 5):
            one = torch.tensor([i])
            same(_attack(subject, case, one, stop, aim=False), rows_of(whole, one), f"sample {i} alone, stop {stop!r}")


@check(independent)
def gives_the_same_in_any_order(subject: Subject) -> None:
    """float64: a permutation of the samples permutes the results."""
    case, order = toy_case(6), torch.tensor([4, 8, 0, 2, 7, 1, 3, 6, 5])
    for aim in (False, True) if subject.targetable else (False,):
        whole = _attack(subject, case, torch.arange(9), "fooled", aim=aim)
        same(_attack(subject, case, order, "fooled", aim=aim), rows_of(whole, order), f"order {order.tolist()}")


@check()
def gives_the_same_for_the_same_seed(subject: Subject) -> None:
    """Two runs agree to the bit, and a deterministic attack does not depend on the seed."""
    case = toy_case(7)
    first = subject(case.model, case.x, case.y, seed=3, stop="never")
    torch.manual_seed(12345)
    again = subject(case.model, case.x, case.y, seed=3, stop="never")
    expect(torch.equal(first.x_adv, again.x_adv), "two runs of one seed differ")
    if subject.deterministic and "seed" in subject.accepts:
        other = subject(case.model, case.x, case.y, seed=4, stop="never")
        expect(torch.equal(first.x_adv, other.x_adv), "declared deterministic, and another seed gives another result")


@check()
def ignores_a_constant_on_the_logits(subject: Subject) -> None:
    """float64: a constant added to all logits changes nothing."""
    case = toy_case(8)
    plain = subject(case.model, case.x, case.y)
    for constant in (-100.0, 30.0):
        shifted = Wrapped(case.model, after=lambda logits, c=constant: logits + c)  # type: ignore[misc]
        same(subject(shifted.eval(), case.x, case.y), plain, f"logits {constant:+g}")


@check()
def follows_a_permutation_of_the_classes(subject: Subject) -> None:
    """float64: renaming the classes changes nothing."""
    case = toy_case(9)
    plain = subject(case.model, case.x, case.y, target=case.target if subject.targeted else None)
    for order in ([3, 2, 1, 0], [1, 2, 3, 0]):
        new = torch.tensor(order)  # the new class k is the old order[k]
        old = new.argsort()
        renamed = Wrapped(case.model, after=lambda logits, k=new: logits[:, k]).eval()  # type: ignore[misc]
        target = old[case.target] if subject.targeted else None
        same(subject(renamed, case.x, old[case.y], target=target), plain, f"classes in the order {order}")


@check(lambda subject: subject.knowledge == "gradients" and independent(subject))
def lets_no_nan_gradient_spread(subject: Subject) -> None:
    """A sample whose gradient is NaN disturbs no other, and comes back finite."""
    case = toy_case(10, samples=7)
    x = case.x.clone()
    x[3].view(-1)[0] = MARK
    sound = subject(case.model, x, case.y)
    found = subject(nan_gradient(case.model).eval(), x, case.y)
    expect(found.x_adv.isfinite().all(), "NaN pixels")
    others = torch.tensor([0, 1, 2, 4, 5, 6])
    same(rows_of(found, others), rows_of(sound, others), "beside a NaN gradient")
