"""Checks of the result: its form, its region, and whether its figures are true."""

import torch
from torch import Tensor

from advkit.core.norms import get_norm
from advkit.core.threat import Threat
from advkit.testing._check import check
from advkit.testing._subject import Outcome, Subject
from advkit.testing._toys import Case, affine_case, toy_case
from advkit.testing.assertions import assert_in_threat

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
STOPS = ("fooled", "never")


def expect(condition: object, message: str) -> None:
    """Raise AssertionError with the message unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def budget(subject: Subject) -> bool:
    """Return whether the attack works within a radius that the call can give."""
    return subject.kind == "budget" and "eps" in subject.accepts


@check()
def returns_images_of_the_same_form(subject: Subject) -> None:
    """x_adv has x's shape, type and device, is finite and detached, and every figure has one entry a sample."""
    for dtype in DTYPES:
        case = toy_case(dtype=dtype)
        found = subject(case.model, case.x, case.y)
        _same_form(found.x_adv, case.x)
        for name, kind in (("success", torch.bool), ("queries", torch.int64), ("gradients", torch.int64)):
            figure = getattr(found, name)
            expect(
                figure is None or (figure.shape == case.y.shape and figure.dtype == kind), f"{name}: {figure}, {dtype}"
            )


def _same_form(x_adv: Tensor, x: Tensor) -> None:
    expect(x_adv.shape == x.shape, f"shape {tuple(x_adv.shape)} for images {tuple(x.shape)}")
    expect(x_adv.dtype == x.dtype, f"{x_adv.dtype} for images of {x.dtype}")
    expect(x_adv.device == x.device, f"on {x_adv.device} for images on {x.device}")
    expect(x_adv.isfinite().all(), f"NaN or infinite pixels for images of {x.dtype}")
    expect(not x_adv.requires_grad and x_adv.grad_fn is None, "x_adv is attached to a graph")


@check()
def keeps_the_memory_format(subject: Subject) -> None:
    """Channels-last images come back channels-last, and non-contiguous ones are taken as they are."""
    case = toy_case(dtype=torch.float64)
    plain = subject(case.model, case.x, case.y).x_adv
    last = case.x.to(memory_format=torch.channels_last)
    found = subject(case.model, last, case.y).x_adv
    expect(found.is_contiguous(memory_format=torch.channels_last), f"channels-last became strides {found.stride()}")
    expect(torch.allclose(found, plain, atol=1e-6), "channels-last images give another result")
    wide = torch.stack([case.x, -case.x], -1)
    found = subject(case.model, wide[..., 0], case.y).x_adv
    expect(torch.allclose(found, plain, atol=1e-6), "non-contiguous images give another result")


@check(budget)
def stays_in_the_ball(subject: Subject) -> None:
    """No image is further than eps from its clean image: linf and l0 to the last bit, l2 and l1 within 1e-6."""
    for i, dtype in enumerate(DTYPES):
        for j, factor in enumerate((0.07, 1.0, 3.0)):
            stop = STOPS[(i + j) % 2]  # every two of type, radius and stop meet
            case = toy_case(i, dtype=dtype)
            eps = max(factor * subject.eps, get_norm(subject.norm).grain)
            found = subject(case.model, case.x, case.y, eps=eps, stop=stop)
            with_context(case.x, found.x_adv, Threat(subject.norm, eps), f"{dtype}, eps {eps:g}, stop {stop!r}")


def with_context(x: Tensor, x_adv: Tensor, threat: Threat, context: str) -> None:
    """Call `assert_in_threat`, with the circumstances in the message."""
    try:
        assert_in_threat(x, x_adv, threat)
    except AssertionError as error:
        raise AssertionError(f"{error} ({context})") from None


@check()
def stays_in_the_bounds(subject: Subject) -> None:
    """Every pixel lies within the bounds, whichever they are."""
    for seed, bounds in enumerate([(0.0, 1.0), (-1.0, 3.0)]):
        if bounds != (0, 1) and "bounds" not in subject.accepts:
            continue
        case = toy_case(seed, dtype=torch.float32)
        x = case.x * (bounds[1] - bounds[0]) + bounds[0]
        found = subject(case.model, x, case.y, bounds=bounds, eps=5 * subject.eps, stop="never")
        with_context(x, found.x_adv, Threat(subject.norm, torch.inf, bounds), f"bounds {bounds}")


@check(lambda subject: budget(subject) and subject.radius_per_sample)
def takes_one_eps_a_sample(subject: Subject) -> None:
    """A tensor of radii limits every sample by its own, and a radius of 0 leaves the image as it is."""
    case = toy_case(3, wrong=())
    eps = torch.linspace(0, 2, len(case.x)) * subject.eps
    if get_norm(subject.norm).grain:
        eps = eps.round()
    found = subject(case.model, case.x, case.y, eps=eps, stop="never")
    with_context(case.x, found.x_adv, Threat(subject.norm, eps), "eps as a tensor")
    if subject.per_sample and ("sample_ids" in subject.accepts or subject.deterministic):
        for i in (2, len(eps) - 1):
            one = slice(i, i + 1)
            ids = torch.tensor([i])
            alone = subject(case.model, case.x[one], case.y[one], eps=float(eps[i]), stop="never", sample_ids=ids)
            expect(torch.allclose(alone.x_adv, found.x_adv[one], atol=1e-9), f"sample {i} differs from its own radius")


@check(budget)
def returns_x_at_eps_zero(subject: Subject) -> None:
    """At radius 0 the images come back as they were, in memory of their own."""
    for dtype in DTYPES:
        case = toy_case(1, dtype=dtype)
        for stop in ("fooled", "never"):
            found = subject(case.model, case.x, case.y, eps=0.0, stop=stop)
            expect(torch.equal(found.x_adv, case.x), f"images changed at eps 0 ({dtype}, stop {stop!r})")


@check()
def leaves_its_input_alone(subject: Subject) -> None:
    """Images, labels, targets and radii are not written to, and nothing that comes back shares their memory."""
    case = toy_case(2)
    eps = torch.full((len(case.x),), subject.eps, dtype=torch.float64)
    given = {"x": case.x, "y": case.y, "eps": eps, "target": case.target}
    for wrong in ((1,), tuple(range(9))):
        case = toy_case(2, wrong=wrong)
        given = {"x": case.x, "y": case.y, "eps": eps, "target": case.target}
        before = {name: tensor.clone() for name, tensor in given.items()}
        for target in (None, case.target) if subject.targetable else (None,):
            found = subject(case.model, case.x, case.y, eps=eps if budget(subject) else None, target=target)
            for name, tensor in given.items():
                expect(torch.equal(tensor, before[name]), f"{name} was written to")
                expect(tensor.grad is None and not tensor.requires_grad, f"{name} was made to require a gradient")
                expect(
                    _memory(tensor).isdisjoint(_memories(found)), f"a tensor that came back shares the memory of {name}"
                )


def _memory(tensor: Tensor) -> set[int]:
    return {tensor.untyped_storage().data_ptr()}


def _memories(found: Outcome) -> set[int]:
    tensors = (getattr(found, name) for name in Outcome.__dataclass_fields__)
    return set().union(*(_memory(t) for t in tensors if isinstance(t, Tensor)))


@check()
def tells_the_truth(subject: Subject) -> None:
    """Success, logits and distance are those of a fresh forward pass on the images returned."""
    for seed, dtype in enumerate((torch.float64, torch.float32, torch.float64)):
        case = toy_case(seed, dtype=dtype, batch_norm=seed == 2)
        aims: list[Tensor | None] = [case.target] if subject.targetable else []
        if not subject.targeted:  # which class it aims at is its own choice; `follows_its_target` gives one
            aims.append(None)
        for j, stop in enumerate(STOPS if aims else ()):
            target = aims[(seed + j) % len(aims)]  # every two of type, stop and aim meet
            found = subject(case.model, case.x, case.y, target=target, stop=stop)
            _true(subject, found, case, target)


def _true(subject: Subject, found: Outcome, case: Case, target: Tensor | None) -> None:
    fooled = subject.reached(case.model, found.x_adv, case.y, target)
    logits = (case.model if subject.form is None else subject.form.dressed(case.model, case.y)[0])(found.x_adv).detach()
    context = f"target {target if target is None else target.tolist()}"
    ours = 1e-9 if case.x.dtype == torch.float64 else 1e-4
    if found.success is not None:
        expect(
            torch.equal(found.success, fooled), f"success {found.success.tolist()}, true {fooled.tolist()} ({context})"
        )
    if found.logits is not None:
        expect(
            torch.allclose(found.logits, logits, atol=ours, rtol=ours), f"the logits are not those of x_adv ({context})"
        )
    distance = get_norm(subject.norm).size(found.x_adv.double() - case.x.double())
    if subject.kind == "minimal":
        missed = ~fooled
        expect(bool((distance[missed] == 0).all()), f"a sample that was not fooled came back changed ({context})")
        distance = torch.where(missed, torch.inf, distance)
    if found.distance is not None:
        expect(
            torch.allclose(found.distance.double(), distance, rtol=1e-9, atol=1e-12),
            f"distances {found.distance.tolist()}, true {distance.tolist()} ({context})",
        )


@check(lambda subject: not (subject.targeted or subject.farther))
def takes_what_is_wrong_already(subject: Subject) -> None:
    """A sample that is misclassified already is a success at distance 0, for one query and no gradient."""
    for wrong in ((0, 4), tuple(range(9))):
        case = toy_case(4, wrong=wrong)
        found = subject(case.model, case.x, case.y, stop="fooled")
        rows = torch.tensor(wrong)
        if "stop" in subject.accepts or subject.kind == "minimal":
            expect(torch.equal(found.x_adv[rows], case.x[rows]), "misclassified images were changed")
        for name, value in (("success", True), ("distance", 0.0), ("queries", 1), ("gradients", 0)):
            figure = getattr(found, name)
            expect(
                figure is None or bool((figure[rows] == value).all()), f"{name} {figure}, expected {value} at {wrong}"
            )


@check()
def never_does_the_impossible(subject: Subject) -> None:
    """No success on an affine classifier nearer than the nearest adversarial point, known in closed form."""
    for seed in range(3):
        model, x, y = affine_case(seed)
        nearest, _ = model.nearest(x, y, subject.norm)
        below = (nearest - grain).clamp(min=0) if (grain := get_norm(subject.norm).grain) else nearest * (1 - 1e-9)
        found = subject(model, x, y, **({"eps": below} if budget(subject) else {}))
        fooled = subject.reached(model, found.x_adv, y)
        claimed = fooled if found.success is None else found.success
        size = get_norm(subject.norm).size(found.x_adv.double() - x)
        allowed = torch.zeros_like(fooled) if budget(subject) else size >= nearest * (1 - 1e-9)
        bad = (fooled | claimed) & ~allowed
        expect(
            not bad.any(),
            f"samples {bad.nonzero().flatten().tolist()} nearer than {nearest[bad].tolist()}: seed {seed}",
        )
