"""`evaluate` against verdicts computed by hand, over every kind of data, and what its report promises."""

import itertools
import json
import math
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from advkit.attacks import FGSM, LBFGS, PGD, DeepFool, Noise, create_attack, list_attacks, restarts
from advkit.core.errors import AdvkitWarning, InputError
from advkit.data import MemoryDataset
from advkit.data._stream import chosen
from advkit.evaluation import difference_p, evaluate, transfer_matrix
from advkit.evaluation.measure.asked import noise_like
from advkit.evaluation.measure.tally import tally
from advkit.models import Card, Classifier

N, K = 60, 4


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def toy(seed=0, classes=K, dtype=torch.float32):
    """Images (N, 1, 4, 4), the labels a linear net gives them except for some, and the net."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(N, 1, 4, 4, generator=generator) * 0.8 + 0.1
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, classes))
    with torch.no_grad():
        net[1].weight.copy_(torch.randn(classes, 16, generator=generator))
        net[1].bias.copy_(-net[1].weight.sum(1) / 2)
        y = net(x).argmax(1)
    y[::7] = (y[::7] + 1) % classes
    return net.to(dtype), x, y


def digits(x, y, split="test"):
    return MemoryDataset("toys", split, [str(k) for k in range(K)], x, y)


def test_the_figures_are_those_counted_by_hand():
    net, x, y = toy()
    attack = FGSM(eps=0.05)
    report = evaluate(net, (x, y), attack)
    result = attack(net, x, y)
    clean = net(x).argmax(1) != y
    wrong = clean | (net(result.x_adv).argmax(1) != y)
    row = report.attacks[0]
    assert report.count == N
    assert report.clean_error == pytest.approx(clean.double().mean().item())
    assert report.adversarial_error == row.adversarial_error == pytest.approx(wrong.double().mean().item())
    assert row.success_rate == pytest.approx(wrong[~clean].double().mean().item())
    confidence = net(result.x_adv).softmax(1).amax(1)[wrong].double().mean().item()
    assert row.mean_confidence == pytest.approx(confidence)
    assert row.median_distance == pytest.approx(0.05, rel=1e-5)
    assert row.queries_per_sample == result.queries.double().mean().item()
    assert row.gradients_per_sample == result.gradients.double().mean().item()
    assert 0 < clean.sum() < wrong.sum() < N
    assert row.seconds > 0


def test_samples_that_are_wrong_already_stay_wrong_at_distance_0():
    net, x, y = toy()
    for stop in ("fooled", "never"):
        row = evaluate(net, (x, y), Noise(eps=0.5), stop=stop).attacks[0]
        assert row.wrong[~row.right].all()
        assert row.adversarial_error >= 1 - row.right.double().mean().item()
    assert (evaluate(net, (x, y), FGSM(eps=0.05)).attacks[0].distance[~row.right] == 0).all()


def test_eps_0_leaves_the_clean_error():
    net, x, y = toy()
    report = evaluate(net, (x, y), FGSM(eps=0.0))
    assert report.adversarial_error == report.clean_error
    assert report.attacks[0].success_rate == 0
    assert difference_p(report.attacks[0].wrong, report.clean_wrong) == 1


def test_without_attacks_the_worst_case_is_the_clean_error():
    net, x, y = toy()
    report = evaluate(net, (x, y))
    assert report.attacks == ()
    assert report.control is None
    assert report.adversarial_error == report.clean_error


def test_the_worst_case_is_taken_sample_by_sample_and_without_the_control():
    net, x, y = toy()
    attacks = [FGSM(eps=0.03, target=0), FGSM(eps=0.03, target=1), FGSM(eps=0.02)]
    report = evaluate(net, (x, y), attacks, control=Noise(eps=0.9, norm="linf"))
    union = torch.stack([row.wrong for row in report.attacks]).any(0)
    assert torch.equal(report.worst_case, union)
    assert report.adversarial_error > max(row.adversarial_error for row in report.attacks[:2])
    assert report.control is not None
    assert report.control.name == "noise"
    assert report.control.adversarial_error <= report.attacks[2].adversarial_error + 0.1


def test_what_the_control_alone_fools_does_not_count():
    net, x, y = toy()
    attacks = [FGSM(eps=0.03, target=0), FGSM(eps=0.02)]
    report = evaluate(net, (x, y), attacks, control=Noise(norm="linf"), batch_size=7)
    union = torch.stack([row.wrong for row in report.attacks]).any(0)
    assert not union.all()
    assert report.adversarial_error == union.double().mean().item()
    harder = [[dict(columns) for columns in batch] for batch in report.samples]
    for batch in harder:
        batch[-1]["wrong"] = torch.ones_like(batch[-1]["wrong"])
    assert tally(harder, len(attacks)).worst == int(union.sum())
    assert tally(harder, len(attacks) + 1).worst == len(y)


def test_the_control_gets_the_budget_of_the_attack():
    net, x, y = toy()
    control = evaluate(net, (x, y), FGSM(eps=0.03), control=Noise(norm="linf"), stop="never").control
    assert control.eps == 0.03
    assert torch.allclose(control.distance, torch.tensor(0.03, dtype=torch.float64), rtol=1e-6)


def test_one_object_may_be_attack_and_control():
    net, x, y = toy()
    noise = Noise(eps=0.2)
    report = evaluate(net, (x, y), [noise, FGSM(eps=0.01)], control=noise, target=None)
    assert torch.equal(report.control.wrong, report.attacks[0].wrong)
    assert report.control.eps == report.attacks[0].eps == 0.2


def test_the_control_of_a_minimal_attack_gets_its_distances():
    net, x, y = toy()
    report = evaluate(net, (x, y), LBFGS(), control=Noise(norm="l2"), stop="never")
    row, control = report.attacks[0], report.control
    assert control.eps is None
    assert row.success_rate == 1
    assert torch.allclose(control.distance[row.right], row.distance[row.right], rtol=1e-3)
    assert control.adversarial_error < row.adversarial_error == 1


@pytest.mark.parametrize("batch_size", [1, 7, 60, 1000])
def test_the_batch_size_changes_nothing(batch_size):
    net, x, y = toy(dtype=torch.float64)
    attacks = [PGD(eps=0.03, steps=5), Noise(eps=0.05)]
    one, other = (evaluate(net, (x, y), attacks, batch_size=size, seed=3) for size in (25, batch_size))
    for a, b in zip(one.attacks, other.attacks, strict=True):
        for name in ("wrong", "reached", "queries", "gradients"):
            assert torch.equal(getattr(a, name), getattr(b, name))
        assert torch.allclose(a.distance, b.distance, rtol=1e-12)
        assert torch.allclose(a.confidence, b.confidence, rtol=1e-12)


def test_all_kinds_of_data_give_the_same_report():
    net, x, y = toy()
    kinds = [
        (x, y),
        [x, y],
        digits(x, y),
        TensorDataset(x, y),
        DataLoader(TensorDataset(x, y), batch_size=13),
        DataLoader(digits(x, y), batch_size=13),
    ]
    reports = [evaluate(net, data, Noise(eps=0.2), batch_size=17, seed=5) for data in kinds]
    for report in reports:
        assert torch.equal(report.sample_ids, torch.arange(N))
        assert torch.equal(report.attacks[0].wrong, reports[0].attacks[0].wrong)
    assert [report.data for report in reports] == ["", "", "toys:test", "", "", "toys:test"]


def test_count_takes_a_fixed_random_choice_and_a_loaders_first():
    net, x, y = toy()
    small, large = (evaluate(net, (x, y), FGSM(eps=0.02), count=count, seed=count) for count in (10, 20))
    assert small.count == 10
    assert set(small.sample_ids.tolist()) < set(large.sample_ids.tolist())
    assert small.sample_ids.tolist() == sorted(small.sample_ids.tolist()) != list(range(10))
    assert torch.equal(small.y, y[small.sample_ids])
    loader = evaluate(net, DataLoader(TensorDataset(x, y), batch_size=8), FGSM(eps=0.02), count=10)
    assert loader.sample_ids.tolist() == list(range(10))
    assert torch.equal(chosen(N, None), torch.arange(N))
    assert torch.equal(chosen(N, 1000), torch.arange(N))


def test_random_numbers_belong_to_the_number_in_the_data():
    net, x, y = toy()
    whole, part = (evaluate(net, (x, y), Noise(eps=0.1), count=count, stop="never") for count in (None, 10))
    assert torch.allclose(whole.attacks[0].confidence[part.sample_ids], part.attacks[0].confidence, rtol=1e-5)


def test_a_target_class_counts_only_where_there_is_a_way_to_go():
    net, x, y = toy()
    row = evaluate(net, (x, y), PGD(eps=0.1, steps=10), target=2).attacks[0]
    assert 0 < row.success_rate < 1
    assert torch.equal(row.meant, y != 2)
    assert row.success_rate == row.reached[row.right & (y != 2)].double().mean().item()
    assert not row.wrong[row.right & (y == 2)].any()
    assert (row.reached & ~row.right & (y == 2)).any()  # a wrong image was made right, and still counts as wrong
    assert row.wrong[~row.right].all()
    own = evaluate(net, (x, y), PGD(eps=0.1, steps=10, target=2)).attacks[0]
    each = evaluate(net, (x, y), PGD(eps=0.1, steps=10), target=torch.full((N,), 2)).attacks[0]
    assert row.success_rate == own.success_rate == each.success_rate


def test_the_model_is_left_as_it_was():
    _, x, y = toy()
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, K)).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = torch.random.get_rng_state()
    evaluate(net, (x, y), [FGSM(eps=0.1)], control=Noise())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert net.training
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_plain_functions_and_other_precisions_are_evaluated():
    net, x, y = toy()
    report = evaluate(lambda images: net(images), (x, y), FGSM(eps=0.05))
    assert report.adversarial_error == evaluate(net, (x, y), FGSM(eps=0.05)).adversarial_error
    double = evaluate(net.double(), (x, y), FGSM(eps=0.05))
    assert double.adversarial_error == pytest.approx(report.adversarial_error, abs=0.05)


def test_progress_rises_to_images_times_passes():
    net, x, y = toy()
    seen = []
    evaluate(
        net, (x, y), [PGD(eps=1e-4, steps=5)], control=Noise(), batch_size=20, progress=lambda *at: seen.append(at)
    )
    assert seen == sorted(seen)
    assert seen[-1] == (N * (1 + 6 + 1), N * 8)  # the clean pass, five steps and a verdict, noise
    assert len(seen) > 9


def test_progress_tells_of_a_long_attack_how_many_passes_there_are_and_rises_from_its_first_steps():
    net, x, y = toy()
    seen = []

    def leave(done, whole):
        seen.append((done, whole))
        if len(seen) > 5:
            raise KeyboardInterrupt

    for call in (
        lambda: evaluate(net, (x, y), PGD(eps=1e-4, steps=99_999_999, random_start=False), progress=leave),
        lambda: transfer_matrix({"a": net}, (x, y), PGD(eps=1e-4, steps=99_999_999), progress=leave),
    ):
        seen.clear()
        with pytest.raises(KeyboardInterrupt):
            call()
        done = [at for at, _ in seen]
        assert all(after > before for before, after in itertools.pairwise(done))
        assert {whole // (100_000_000 * N) for _, whole in seen} == {1}


def test_the_median_distance_of_a_budget_attack_is_where_half_have_fallen():
    net, x, y = toy()
    rows = [evaluate(net, (x, y), FGSM(eps=eps)).attacks[0] for eps in (0.0, 0.01, 0.03, 0.06, 0.12, 0.3)]
    assert any(0 < row.success_rate < 0.5 for row in rows)
    assert any(0.5 < row.success_rate < 1 for row in rows)
    for row in rows:
        assert math.isinf(row.median_distance) == (row.success_rate <= 0.5)


def test_json_has_no_infinity_and_no_nan():
    net, x, y = toy()
    nowhere = evaluate(net, (x, (net(x).argmax(1) + 1) % K), FGSM(eps=0.1))
    assert nowhere.attacks[0].success_rate is None
    assert nowhere.attacks[0].median_distance is None
    report = evaluate(net, (x, y), [FGSM(eps=0.1)], control=Noise())
    with torch.no_grad():
        net[1].bias[0] += 1e3
    stuck = evaluate(net, (x, torch.zeros_like(y)), DeepFool(steps=2))
    assert stuck.attacks[0].median_distance == math.inf
    assert json.loads(json.dumps(stuck.to_dict(), allow_nan=False))["attacks"][0]["median_distance"] is None
    figures = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert figures["count"] == N
    assert figures["control"]["attack"].startswith("noise")


def test_images_that_were_trained_on_warn():
    net, x, y = toy()
    classifier = Classifier(net, card=Card(name="toy", trained_on="toys:train"))
    with pytest.warns(AdvkitWarning, match="trained on these very images"):
        evaluate(classifier, digits(x, y, "train"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(classifier, digits(x, y, "test"))
        evaluate(classifier, (x, y))


@pytest.mark.parametrize("count", [0, -1, 2.5, True])
def test_an_impossible_count_is_refused(count):
    net, x, y = toy()
    with pytest.raises(InputError, match="count"):
        evaluate(net, (x, y), count=count)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda net, x, y: (net, (x, y[:-1])), "as many labels"),
        (lambda net, x, y: (net, x), "expected data"),
        (lambda net, x, y: (net, {"a": x, "b": y}), "among the keys"),
        (lambda net, x, y: (net, (x[:0], y[:0])), "at least one image"),
        (lambda net, x, y: (net, (x + 1, y)), "out of bounds"),
        (lambda net, x, y: (net, (x, y + K)), "labels"),
        (lambda net, x, y: (net, (x, y.float())), "labels"),
        (lambda net, x, y: (net, ((x * 255).byte(), y)), "255"),
        (lambda net, x, y: (net, (x.where(x > 0.2, torch.nan), y)), "NaN"),
        (lambda net, x, y: (lambda images: net(images) * torch.nan, (x, y)), "NaN"),
        (lambda net, x, y: (lambda images: net(images)[:, 0], (x, y)), "logits"),
        (lambda net, x, y: (lambda images: net(images)[:-1], (x, y)), "logits"),
        (lambda net, x, y: ("lenet55", (x, y)), "unknown model"),
        (lambda net, x, y: (net, DataLoader(TensorDataset(x), batch_size=9)), "two tensors"),
        (lambda net, x, y: (net, [(image, "a") for image in x]), "labels as integers, got 'a'"),
    ],
)
def test_wrong_input_is_named(change, message):
    model, data = change(*toy())
    with pytest.raises(InputError, match=message):
        evaluate(model, data, FGSM(eps=0.1))


def test_wrong_attacks_targets_and_options_are_named():
    net, x, y = toy()
    with pytest.raises(InputError, match="attacks as objects"):
        evaluate(net, (x, y), [FGSM])
    with pytest.raises(InputError, match="fgms"):
        evaluate(net, (x, y), "fgms")
    with pytest.raises(InputError, match="norm"):
        evaluate(net, (x, y), FGSM(eps=0.1), control=Noise(norm="l2"))
    with pytest.raises(InputError, match="target"):
        evaluate(net, (x, y), FGSM(eps=0.1), target=K)
    with pytest.raises(InputError, match="one for each image"):
        evaluate(net, (x, y), FGSM(eps=0.1), target=torch.zeros(3, dtype=torch.int64))
    with pytest.raises(InputError, match="batch_size"):
        evaluate(net, (x, y), batch_size=0)
    with pytest.raises(InputError, match="device"):
        evaluate(net, (x, y), device="toaster")
    with pytest.raises(InputError, match="stop"):
        evaluate(net, (x, y), FGSM(eps=0.1), stop="later")


@pytest.mark.parametrize("name", list_attacks())
def test_noise_is_the_control_of_attacks_in_a_ball_alone(name: str) -> None:
    attack = create_attack(name)
    noise = noise_like(attack)
    free = name in {"colour", "flow", "fooling", "lavan", "patch", "spatial"}
    assert (noise is None) == (free or attack.norm not in {"linf", "l2", "l1"})
    assert noise is None or (noise.name == "noise" and noise.norm == attack.norm)
    if free:
        assert noise_like(create_attack(name, eps=0.1)) is not None
    elif attack.kind == "budget" and noise is not None:
        assert noise_like(create_attack(name, eps=math.inf)) is not None  # as far as each of its points
    if name in ("patch", "pgd"):
        assert (noise_like(restarts(attack, 2)) is None) == free
