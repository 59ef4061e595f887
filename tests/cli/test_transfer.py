"""`advkit transfer`: the matrix by hand, with the right denominators."""

import json
from functools import partial

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from advkit import load_data, load_model
from advkit.attacks import FGSM, LBFGS, PGD, ensemble
from advkit.cli import main
from advkit.core.errors import InputError
from advkit.evaluation import error_curve, evaluate, transfer_matrix, wilson_interval
from advkit.models import BlackBox


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models():
    return {name: load_model(name) for name in ("mlp", "maxout")}


def call(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.parametrize("attack", [FGSM(eps=0.1), PGD(eps=0.1, steps=4)])
def test_the_matrix_is_the_one_counted_by_hand(models, attack):
    data = load_data("mnist5k")
    x, y = data[:150]
    found = transfer_matrix(models, (x, y), attack, batch_size=40)
    right = {name: model(x).argmax(1) == y for name, model in models.items()}
    for s, source in enumerate(models):
        x_adv = attack(models[source], x, y, stop="never").x_adv
        for t, target in enumerate(models):
            both = right[source] & right[target]
            wrong = both & (models[target](x_adv).argmax(1) != y)
            assert found.both[s][t] == int(both.sum())
            assert found.wrong[s][t] == int(wrong.sum())
            assert found.interval(s, t) == wilson_interval(int(wrong.sum()), int(both.sum()))
    assert found.clean_wrong == tuple(int((~r).sum()) for r in right.values())
    assert found.both[0][1] == found.both[1][0] < found.both[0][0]


def test_the_diagonal_is_each_model_under_its_own_attack(models):
    data = load_data("mnist5k")
    found = transfer_matrix(models, data, FGSM(eps=0.1), count=100)
    for i, model in enumerate(models.values()):
        row = evaluate(model, data, FGSM(eps=0.1), count=100, stop="never").attacks[0]
        assert found.rate(i, i) == pytest.approx(row.success_rate)
        assert found.rate(i, i) > max(found.rate(i, 1 - i), 0.3)


def test_a_minimal_attack_barely_transfers(models):
    found = transfer_matrix(models, load_data("mnist5k"), LBFGS(), count=4)
    assert found.rate(0, 0) > 0.9
    assert found.rate(0, 1) < found.rate(0, 0)


def test_nobody_right_is_no_rate(models):
    x, y = load_data("mnist5k")[:10]
    found = transfer_matrix(models, (x, (y + 1) % 10), FGSM(eps=0.1))
    assert found.rates == [[None, None], [None, None]]
    assert found.to_dict()["intervals"] == [[None, None], [None, None]]


def test_the_command_prints_the_matrix_and_draws_it(somewhere):
    words = ("transfer", "--models", "mlp", "maxout", "--attack", "fgsm(eps=.1)", "--count", "60", "--threads", "1")
    result = call(*words)
    assert result.exit_code == 0, result.stderr
    for said in ("made on", "both get right", "lower bound", "95 % intervals", "advkit-transfer.png"):
        assert said in result.stdout
    with Image.open(somewhere / "advkit-transfer.png") as picture:
        assert picture.size[0] > 400
    found = json.loads(call(*words, "--json").stdout)
    assert found["models"] == ["mlp", "maxout"]
    assert len(found["rates"]) == len(found["rates"][0]) == 2
    assert found["lower_bound"] is True


def test_wrong_input_is_one_line(models):
    for words, said in (
        (("--models", "mlp"), "give --models NAME NAME"),
        (("--models", "mlp", "mlpp"), "did you mean"),
        (("--models", "mlp", "maxout", "--weights", "x.safetensors"), "--weights FILE is for one model"),
    ):
        result = call("transfer", *words)
        assert result.exit_code == 2
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1
    with pytest.raises(InputError, match="at least one model"):
        transfer_matrix({}, load_data("mnist5k"), FGSM(eps=0.1))
    with pytest.raises(InputError, match="or its spec"):
        transfer_matrix(models, load_data("mnist5k"), 3)


def test_a_spec_is_taken_as_an_attack(models):
    data = load_data("mnist5k")
    named = transfer_matrix(models, data, "fgsm(eps=8/255)", count=20)
    assert named == transfer_matrix(models, data, FGSM(eps=8 / 255), count=20)
    curve = error_curve(next(iter(models.values())), data, "deepfool", count=10)
    assert (curve.attack, curve.norm, curve.data) == ("deepfool", "l2", "mnist5k:test")
    with pytest.raises(InputError, match="expected a minimal attack"):
        error_curve(next(iter(models.values())), data, "fgsm", count=10)


def test_the_row_of_all_others_is_the_ensemble_counted_by_hand():
    nets = {name: load_model(name) for name in ("mlp", "maxout", "lenet5")}
    x, y = load_data("mnist5k")[:60]
    attack, together = FGSM(eps=0.1), partial(ensemble, average="probabilities")
    found = transfer_matrix(nets, (x, y), attack, together=together, batch_size=40)
    plain = transfer_matrix(nets, (x, y), attack, batch_size=40)
    assert found.sources == ("mlp", "maxout", "lenet5", "all others")
    assert plain.sources == plain.names
    assert (found.both[:3], found.wrong[:3]) == (plain.both, plain.wrong)
    right = torch.stack([net(x).argmax(1) == y for net in nets.values()]).all(0)
    for t, (name, net) in enumerate(nets.items()):
        others = [other for other_name, other in nets.items() if other_name != name]
        after = together(attack, others)(net, x, y, stop="never").x_adv
        assert found.both[3][t] == int(right.sum())
        assert found.wrong[3][t] == int((right & (net(after).argmax(1) != y)).sum()) > 0
    assert [row["made_on"] for row in found.records()][-3:] == ["all others"] * 3
    with pytest.raises(InputError, match="three models or more, got 2"):
        transfer_matrix({name: nets[name] for name in ("mlp", "maxout")}, (x, y), attack, together=ensemble)


def test_a_model_that_shows_too_little_is_shown_the_images_of_the_others():
    nets = {name: load_model(name) for name in ("mlp", "maxout", "lenet5")}
    x, y = load_data("mnist5k")[:40]

    def labels(images):
        return nets["lenet5"](torch.as_tensor(images)).argmax(1)

    closed = {"box": BlackBox(labels, answers="labels", num_classes=10)}
    open_ones = {name: nets[name] for name in ("mlp", "maxout")}
    attack = FGSM(eps=0.1)
    found = transfer_matrix({**open_ones, **closed}, (x, y), attack)
    whole = transfer_matrix(nets, (x, y), attack)
    assert found.closed == ("box",)
    assert whole.closed == ()
    assert (found.both[:2], found.wrong[:2]) == (whole.both[:2], whole.wrong[:2])
    assert found.both[2] == found.wrong[2] == (0, 0, 0)
    assert found.rates[2] == [None, None, None]
    assert found.clean_wrong == whole.clean_wrong
    assert "Not attacked, since it shows less than the attack needs: box" in str(found)
    assert transfer_matrix({**open_ones, **closed}, (x, y), "boundary(queries=50)").closed == ()  # labels are enough
    with pytest.raises(InputError, match="fgsm needs gradients, and the model shows labels only"):
        transfer_matrix(closed, (x, y), attack)
    with pytest.raises(InputError, match="three models or more that show gradients, got 2"):
        transfer_matrix({**open_ones, **closed}, (x, y), attack, together=ensemble)
    four = transfer_matrix({**nets, **closed}, (x, y), attack, together=ensemble)
    assert four.wrong[4][3] > 0
    assert four.wrong[4][:3] == transfer_matrix(nets, (x, y), attack, together=ensemble).wrong[3]


def test_the_command_has_a_row_of_all_others():
    words = ("transfer", "--models", "mlp", "maxout", "lenet5", "--attack", "fgsm(eps=.1)", "--ensemble", "logits")
    result = call(*words, "--count", "30", "--threads", "1", "--no-picture")
    assert result.exit_code == 0, result.stderr
    assert "all others" in result.stdout
    found = json.loads(call(*words, "--count", "30", "--threads", "1", "--json").stdout)
    assert (len(found["rates"]), len(found["rates"][0])) == (4, 3)
