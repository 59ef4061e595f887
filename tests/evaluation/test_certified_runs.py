"""An evaluation that certifies: both sides of the error, kept by runs; a broken certificate stops it."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advkit.attacks import DDN, FGSM, LBFGS, PGD, Noise
from advkit.certification import certify, pace
from advkit.core.errors import InputError
from advkit.evaluation import BrokenCertificateError, Keep, Report, evaluate, load_run, merge_runs, verify_run
from advkit.evaluation.measure import certificates

EPS = 0.08


def toy() -> tuple[nn.Module, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(40, 1, 4, 4, generator=generator) * 0.8 + 0.1
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4))
    with torch.no_grad():  # every class has its images, and many lie near a border
        for i in (1, 3):
            net[i].bias.copy_(net[i].bias - net[: i + 1](x).mean(0))  # type: ignore[operator]
        y = net(x).argmax(1)
    y[::9] = (y[::9] + 1) % 4
    return net, x, y


def go(output: Path | None = None, certify: str | None = "crown", **options: Any) -> Report:
    net, x, y = toy()
    options = {"checks": False, "control": Noise(), "batch_size": 7, **options}
    attacks = options.pop("attacks", [FGSM(eps=EPS), PGD(eps=EPS, steps=5)])
    return evaluate(net, (x, y), attacks, certify=certify, output=output, **options)


def test_the_report_has_both_sides() -> None:
    net, x, y = toy()
    report = go()
    expected = certify(net, x, y, eps=EPS, method="crown")
    both = report.certification
    assert both is not None
    assert report.certified is not None
    assert torch.equal(report.certified, expected.certified)
    assert report.certified_error == expected.certified_error
    assert both.found_error == report.adversarial_error <= both.certified_error
    assert both.found_error > 0
    assert both.certified_error < 1
    assert (both.method, both.norm, both.eps) == ("crown", "linf", EPS)
    assert "not certified, crown" in str(report)
    assert "can be made wrong" in str(report)
    assert report.records()[-1]["error"] == both.certified_error


def test_the_progress_goes_on_inside_a_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "UNIT", 1.0)  # the network is small
    _, x, y = toy()
    net = nn.Sequential(nn.Flatten(), *(nn.Linear(16, 16) if i % 2 == 0 else nn.ReLU() for i in range(6)))
    told: list[tuple[int, int | None]] = []
    tell = lambda done, whole: told.append((done, whole))  # noqa: E731
    evaluate(net, (x, y), [FGSM(eps=EPS)], certify="crown", checks=False, control=None, batch_size=7, progress=tell)
    passes = 1 + 2 + certificates.PASSES["crown"]
    done = [one for one, _ in told]
    assert {whole for _, whole in told} == {40 * passes}
    assert done == sorted(done)
    assert done[-1] == 40 * passes
    inside = [one for one in done if 3 * 7 < one < passes * 7]  # in the certificate of the first batch of seven
    assert len(set(inside)) > 2


def test_without_it_nothing_is_said() -> None:
    report = go(certify=None)
    assert report.certified_error is None is report.certified is report.to_dict()["certification"]
    assert "certified" not in str(report)


def test_what_lies_outside_of_the_ball_is_not_held_against_the_certificate() -> None:
    report = go(certify=f"crown(eps={EPS / 100})", attacks=[PGD(eps=0.3, steps=5)])
    both = report.certification
    assert both is not None
    assert both.found_error <= both.certified_error < report.adversarial_error


def test_a_minimal_attack_counts_by_its_distance() -> None:
    report = go(certify="crown(eps=0.3, norm=l2)", attacks=[DDN()], control=None)
    both, row = report.certification, report.attacks[0]
    assert both is not None
    inside = ~row.right | (row.wrong & (row.distance <= 0.3))
    assert both.found_error == inside.double().mean() < report.adversarial_error


def test_a_run_keeps_the_certificates(tmp_path: Path) -> None:
    plain, kept = go(), go(tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert plain.certification == kept.certification == run.report.certification
    with open(tmp_path / "run" / "samples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert plain.certified is not None
    assert [int(row["certified"]) for row in rows[::3]] == plain.certified.long().tolist()
    figures = json.loads((tmp_path / "run" / "run.json").read_text())["figures"]
    assert figures["certification"]["certified_error"] == plain.certified_error
    assert "not certified, crown" in (tmp_path / "run" / "report.html").read_text()
    assert verify_run(tmp_path / "run") == []


def test_resuming_does_not_certify_again_and_refuses_another_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = go(tmp_path / "run")
    for other in ("ibp", "crown(eps=0.02)", None):
        with pytest.raises(InputError, match="its certify is"):
            go(tmp_path / "run", certify=other, resume=True)
    (tmp_path / "run" / "batches" / "000002.safetensors").unlink()
    calls: list[int] = []
    real = certificates.bounded
    monkeypatch.setattr(
        certificates, "bounded", lambda model, x, y, **o: calls.append(len(x)) or real(model, x, y, **o)
    )
    with pytest.warns(UserWarning, match="batch 2"):
        again = go(tmp_path / "run", resume=True)
    assert calls == [7]
    assert again.certification == first.certification


def test_shards_are_merged_with_their_certificates(tmp_path: Path) -> None:
    for i in (1, 2):
        go(tmp_path / str(i), keep=Keep(shard=f"{i}/2"))
    merged = merge_runs([tmp_path / "1", tmp_path / "2"], output=tmp_path / "both")
    assert merged.report.certification == go().certification


def test_a_changed_certificate_is_found(tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    go(tmp_path / "run")
    path = tmp_path / "run" / "batches" / "000000.safetensors"
    with safe_open(path, framework="pt") as file:
        said, content = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    content["certified"] = ~content["certified"]
    save_file(content, path, said)
    assert any("batch 0" in wrong for wrong in verify_run(tmp_path / "run"))


@pytest.mark.parametrize("by", ["the clean pass", "fgsm"])
def test_a_broken_certificate_stops_the_run_and_names_the_image(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certifier that is wrong about one image: a clean mistake, or one that FGSM finds."""
    report = go(certify=None)
    number = 9 if by == "the clean pass" else int((report.attacks[0].wrong & ~report.clean_wrong).nonzero()[0])
    real, x_bad = certificates.bounded, toy()[1][number]

    def faulty(model: Any, x: Tensor, y: Tensor, **options: Any) -> Any:
        found = real(model, x, y, **options)
        found.certified[(x == x_bad).flatten(1).all(1)] = True
        return found

    monkeypatch.setattr(certificates, "bounded", faulty)
    with pytest.raises(BrokenCertificateError, match=rf"image {number} is certified .* {by}"):
        go(tmp_path / "run")
    done = len(list((tmp_path / "run" / "batches").glob("*.safetensors")))
    assert done == number // 7


@pytest.mark.parametrize(
    ("certify", "attacks", "said"),
    [
        ("magic", None, "unknown method"),
        ("crown", [LBFGS()], "no attack has an eps"),
        ("crown(eps=x)", None, "give one"),
        ("crown(norm=l0)", None, "l0"),
        (3, None, "expected certify"),
    ],
)
def test_wrong_input_is_one_line(certify: Any, attacks: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        go(certify=certify, **({} if attacks is None else {"attacks": attacks}))


def test_an_exact_certificate_decides_every_image() -> None:
    """It counts points that no attack of the evaluation found, here none at all."""
    net, x, y = toy()
    report = go(certify=f"exact(eps={EPS}, norm=linf)", attacks=[], control=None)
    both, expected = report.certification, certify(net, x, y, eps=EPS, method="exact")
    assert both is not None
    assert both.exact
    assert expected.broken is not None
    assert both.found_error == both.certified_error == expected.broken.double().mean()
    assert "exactly" in str(report)
