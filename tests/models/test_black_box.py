"""Models that can only be asked: what an attack may do with them, and what it costs."""

import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from advkit import evaluate
from advkit.attacks import (
    ATTACKS,
    NES,
    PGD,
    Boundary,
    HopSkipJump,
    SimBA,
    Square,
    create_attack,
    limited,
    list_attacks,
    transfer,
)
from advkit.certification import certify
from advkit.core.errors import AdvkitWarning, InputError
from advkit.core.knowledge import knowledge_of
from advkit.core.norms import get_norm
from advkit.evaluation import check_evaluation
from advkit.models import BlackBox, create_model

W = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
B = -0.5 * W.sum(1)
X = torch.rand(10, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def scores(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) @ W.T.astype(images.dtype) + B.astype(images.dtype)


def labels(images: np.ndarray) -> np.ndarray:
    return scores(images).argmax(1)


def as_torch(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1) @ torch.from_numpy(W).to(x.dtype).T + torch.from_numpy(B).to(x.dtype)


Y = as_torch(X).argmax(1)


@pytest.mark.parametrize("attack", [Square(eps=0.2, queries=60), SimBA(eps=1.0, queries=60), NES(eps=0.2, steps=3)])
def test_a_numpy_function_is_attacked_as_the_same_function_in_torch(attack):
    x = X.double()
    found, wanted = attack(BlackBox(scores), x, Y), attack(as_torch, x, Y)
    torch.testing.assert_close(found.x_adv, wanted.x_adv)
    assert torch.equal(found.success, wanted.success)
    assert torch.equal(found.queries, wanted.queries)
    assert found.success.any()


@pytest.mark.parametrize("attack", [HopSkipJump(queries=200), Boundary(queries=200)])
def test_labels_are_all_that_an_attack_on_labels_needs(attack):
    found = attack(BlackBox(labels, answers="labels", num_classes=3), X, Y)
    assert torch.equal(found.distance, attack(as_torch, X, Y).distance)
    assert found.success.all()
    assert (labels(found.x_adv.numpy()) != Y.numpy()).all()


@pytest.mark.parametrize("stop", ["fooled", "never"])
@pytest.mark.parametrize("spec", [n for n in list_attacks() if create_attack(n).knowledge in ("scores", "labels")])
def test_every_query_that_is_billed_is_counted_and_no_other(spec, stop):
    short = {
        "queries": 50,
        "steps": 3,
        "samples": 4,
        "rotations": 3,
        "shifts": 2,
        "tries": 20,
        "population": 5,
        "generations": 4,
    }
    fields = create_attack(spec).__dataclass_fields__
    attack = create_attack(spec, **{name: value for name, value in short.items() if name in fields})
    model = BlackBox(scores)
    options = {"eps": 3.0 if attack.norm.startswith("l0") else 0.3} if attack.kind == "budget" else {}
    y = torch.where(torch.arange(10) < 3, (Y + 1) % 3, Y)  # three are wrong already
    found = attack(model, X, y, stop=stop, **options)
    assert model.billed == int(found.queries.sum())
    if stop == "fooled" or attack.kind == "minimal":
        assert found.queries[:3].tolist() == [1, 1, 1]


def test_an_attack_that_needs_more_than_the_model_shows_says_so_in_one_line():
    with pytest.raises(InputError, match=r"pgd needs gradients, and there is no gradient.*simba.*transfer") as caught:
        PGD(eps=0.1)(BlackBox(scores), X, Y)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="nes needs scores, and the model shows labels only; use boundary"):
        NES(eps=0.1)(BlackBox(labels, answers="labels", num_classes=3), X, Y)
    with pytest.raises(InputError, match="no gradient"):
        torch.nn.Sequential(BlackBox(scores))(X.clone().requires_grad_())


def test_a_surrogate_lends_its_gradient():
    model = BlackBox(scores)
    found = transfer(PGD(eps=0.2, steps=5), as_torch)(model, X, Y)
    assert found.success.float().mean() > 0.5
    assert model.billed == int(found.queries.sum())


def test_knowledge_is_seen_through_what_stands_around_the_model():
    assert knowledge_of(as_torch) == "gradients"
    assert knowledge_of(create_model("mlp")) == "gradients"
    assert knowledge_of(torch.nn.Sequential(torch.nn.Identity(), BlackBox(scores))) == "scores"


def test_an_answer_that_is_kept_is_not_billed_again():
    asked = Counter()

    def ask(images):
        asked.update(image.tobytes() for image in images)
        return scores(images)

    model = BlackBox(ask, cache=True, batch_size=4)
    twice = torch.cat([X, X[:3]])
    torch.testing.assert_close(model(twice), as_torch(twice))
    assert (model.billed, model.cached) == (10, 3)
    torch.testing.assert_close(model(X.flip(0)), as_torch(X.flip(0)))
    assert (model.billed, model.cached) == (10, 13)
    assert set(asked.values()) == {1}
    found = HopSkipJump(queries=100)(model, X, Y)
    assert model.billed < 10 + int(found.queries.sum())  # the clean images are known, and so is each verdict
    assert set(asked.values()) == {1}
    assert model(X[:0]).shape == (0, 3)


def test_a_call_that_fails_is_made_again_and_billed_again():
    failures = iter([True, False, True, True])

    def ask(images):
        if next(failures, False):
            raise TimeoutError("later")
        return scores(images)

    model = BlackBox(ask, tries=2, pause=0.0)
    torch.testing.assert_close(model(X[:4]), as_torch(X[:4]))
    assert model.billed == 8
    with pytest.raises(TimeoutError, match="later"):
        model(X[:1])
    assert model.billed == 10


def test_batches_are_cut_to_the_size_that_the_function_takes():
    sizes = []

    def ask(images):
        sizes.append(len(images))
        return scores(images)

    torch.testing.assert_close(BlackBox(ask, batch_size=4)(X), as_torch(X))
    assert sizes == [4, 4, 2]


def test_probabilities_become_logits_that_differ_by_a_constant():
    def ask(images):
        return np.exp(scores(images)) / np.exp(scores(images)).sum(1, keepdims=True)

    logits = BlackBox(ask, answers="probabilities")(X)
    torch.testing.assert_close(logits.softmax(1), as_torch(X).softmax(1))
    gone = BlackBox(lambda images: np.eye(3)[labels(images)], answers="probabilities")(X)
    assert gone.isfinite().all()


@pytest.mark.parametrize(
    ("ask", "options", "words"),
    [
        (None, {}, "a function"),
        (scores, {"answers": "votes"}, "unknown form of answers"),
        (labels, {"answers": "labels"}, "num_classes="),
        (labels, {}, "answers='labels'"),
        (labels, {"answers": "labels", "num_classes": 2}, "labels from 0 to 1"),
        (scores, {"answers": "labels", "num_classes": 3}, "integer labels"),
        (scores, {"answers": "probabilities"}, "sum 1"),
        (lambda images: scores(images)[:1], {}, "scores"),
        (scores, {"tries": 0}, "tries"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(ask, options, words):
    with pytest.raises(InputError, match=words):
        BlackBox(ask, **options)(X)


@pytest.mark.parametrize("options", [{}, {"answers": "labels", "num_classes": 3}, {"answers": "probabilities"}])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda n: (np.zeros((n, 3)), 1), "got a tuple of 2: int, ndarray"),
        (lambda n: [[1, 2, 3]] * (n - 1) + [[1, 2]], "got a list of 10: 2 entries, 3 entries"),
        (lambda n: None, "got NoneType"),
        (lambda n: {"logits": np.zeros((n, 3))}, "got dict"),
        (lambda n: torch.zeros(n, 3, requires_grad=True), "got Tensor"),
        (lambda n: [{"cat": 1.0}] * n, "got a list of 10: dict"),
        (lambda n: "seven", "got <U5"),
    ],
)
def test_an_answer_of_no_known_form_is_one_line_that_says_its_type(answer, words, options):
    model = BlackBox(lambda images: answer(len(images)), **options)
    with pytest.raises(InputError, match=rf"expected the function to return [a-z ]+\(10,.*{words}") as caught:
        model(X)
    assert "\n" not in str(caught.value)


def test_another_number_of_scores_than_was_said_is_refused_at_the_first_answer():
    model = BlackBox(scores, num_classes=7)
    with pytest.raises(InputError, match=r"scores \(10, 7\).*got float32 \(10, 3\)"):
        model(X)
    assert model.num_classes == 7
    changing = BlackBox(lambda images: scores(images)[:, : 2 + len(images) % 2])
    assert changing(X[:3]).shape == (3, 3)
    with pytest.raises(InputError, match=r"scores \(4, 3\)"):
        changing(X[:4])
    assert BlackBox(lambda images: scores(images)[:, :1], num_classes=1)(X).shape == (10, 1)  # for goals of one logit
    with pytest.raises(InputError, match="expected num_classes as an integer >= 2, got 1"):
        BlackBox(labels, answers="labels", num_classes=1)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("num_classes", (0, -1, 2.5, "3", True)),
        ("batch_size", (0, 2.5)),
        ("tries", (0, 2.5)),
        ("pause", (-1, "a", float("nan"), float("inf"), None)),
        ("cache", ("no", 1)),
    ],
)
def test_every_option_is_checked_before_anything_is_asked(option, values):
    for value in values:
        with pytest.raises(InputError, match=f"expected {option}"):
            BlackBox(scores, **{option: value})


@pytest.mark.parametrize("spec", ["simba(limit=20)", "nes(limit=25)", "hopskipjump(limit=30)", "square(limit=12)"])
def test_no_sample_spends_more_than_its_limit(spec):
    attack, model = create_attack(spec), BlackBox(scores)
    found = attack(model, X, Y, **({"eps": 0.02} if attack.kind == "budget" else {}))
    assert int(found.queries.max()) <= attack.queries
    assert int(found.queries.max()) >= attack.queries - 1
    assert model.billed == int(found.queries.sum())
    assert create_attack(attack.spec) == attack


COSTS = {
    name: int(found[1])
    for name in list_attacks()
    if (found := re.search(r"at most `queries` \+ (\d) queries", ATTACKS.factory(name).__doc__ or ""))
}


@pytest.mark.parametrize("name", COSTS)
def test_no_sample_costs_more_than_the_docs_say(name):
    docs = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text()
    assert f"`queries` + {COSTS[name]} queries" in docs
    most = []
    for norm in ATTACKS.factory(name).norms:
        eps = {"eps": max(1e-3, get_norm(norm).grain)} if create_attack(name).kind == "budget" else {}
        for queries in (3, 20, 51):
            found = create_attack(name, norm=norm, queries=queries)(as_torch, X, Y, **eps)
            most.append(int(found.queries.max()) - queries)
    assert max(most) <= COSTS[name]
    assert {"hopskipjump", "boundary", "geoda", "rays"} <= COSTS.keys()
    assert COSTS[name] < 3 or max(most) == COSTS[name]  # no more is said than is spent


def test_a_limit_beyond_reach_changes_nothing():
    for attack, options in ((SimBA(queries=40), {"eps": 0.5}), (HopSkipJump(queries=60), {})):
        plain, found = attack(as_torch, X, Y, **options), limited(attack, 1000)(as_torch, X, Y, **options)
        assert torch.equal(found.x_adv, plain.x_adv)
        assert torch.equal(found.queries, plain.queries)


def test_a_report_is_made_of_a_black_box():
    report = evaluate(BlackBox(scores), (X, Y), ["square(eps=0.2, queries=40)"])
    assert report.clean_error == 0
    assert report.adversarial_error > 0


@pytest.mark.parametrize("ask", [scores, labels])
def test_an_evaluation_leaves_out_the_checks_that_it_cannot_make_and_says_so(ask, tmp_path: Path) -> None:
    answers = "labels" if ask is labels else "logits"
    model, y = BlackBox(ask, answers=answers, num_classes=3), torch.from_numpy(labels(X.numpy()))
    attack = "square(eps=0.1, queries=5)" if answers == "logits" else "noise(eps=0.1)"
    with pytest.warns(AdvkitWarning, match="the checks follow gradients, and the model shows (scores|labels) only"):
        report = evaluate(model, (X, y), [attack], checks=True)
    assert report.checks is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody asked for them
        assert evaluate(model, (X, y), [attack], output=tmp_path / "run").checks is None
        assert evaluate(model, (X, y), [attack], output=tmp_path / "run", resume=True).checks is None
    with pytest.raises(InputError, match=r"the checks look inside the network.*checks=False"):
        check_evaluation(model, (X, y), eps=0.1)


def test_certificates_and_bounds_of_a_black_box_are_refused_by_name() -> None:
    model, y = BlackBox(scores, num_classes=3), torch.zeros(10, dtype=torch.int64)
    for method in ("ibp", "crown", "exact", "lipschitz"):
        norm = "l2" if method == "lipschitz" else "linf"
        with pytest.raises(
            InputError, match="certificates and bounds look inside the network, and the model shows scores only"
        ):
            certify(model, X, y, eps=0.1, norm=norm, method=method)
    asked = model.billed
    with pytest.raises(InputError, match="certificates and bounds look inside the network"):
        evaluate(model, (X, y), ["square(eps=0.1)"], certify="ibp")
    assert model.billed == asked  # before any image is sent
