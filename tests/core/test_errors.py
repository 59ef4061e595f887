"""Every wrong input says what was seen, what was expected and what to do."""

import dataclasses
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import advkit
from advkit import goals
from advkit.attacks import FGSM, LBFGS, PGD, Noise, create_attack, list_attacks
from advkit.certification.pace import Pace
from advkit.core.attack import ATTACKS
from advkit.core.errors import AdvkitError, AdvkitWarning, InputError, UnknownNameError, unknown, warn
from advkit.core.registry import Registry, parse_spec
from advkit.data import load_data
from advkit.testing import AffineClassifier, toy_classifier
from advkit.testing.nets import Wrapped, constant_logits, nan_logits, probabilities

MODEL = toy_classifier()
X = torch.rand(5, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = MODEL(X).argmax(1).detach()
NAN = torch.where(torch.arange(5).view(-1, 1, 1, 1) == 2, torch.nan, X)


def built_under_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return toy_classifier()


def broken(after: Callable[[Any], Any]) -> nn.Module:
    return Wrapped(MODEL, after=after).eval()


WRONG: dict[str, tuple[Any, Any, Any, dict[str, Any], str]] = {
    "labels too large": (MODEL, X, Y + 4, {}, r"labels out of range: saw \d to \d, the model has 4 classes \(0 to 3\)"),
    "labels negative": (MODEL, X, Y - 9, {}, r"labels out of range: saw -\d"),
    "labels as floats": (MODEL, X, Y.double(), {}, r"expected labels as integers, got torch.float64; use .long\(\)"),
    "labels as booleans": (MODEL, X, Y > 1, {}, r"expected labels as integers, got torch.bool"),
    "labels as a list": (MODEL, X, Y.tolist(), {}, r"expected labels as an integer tensor \(N,\), got list"),
    "one-hot labels": (MODEL, X, torch.eye(4)[Y], {}, r"shape \(5,\).*got \(5, 4\); one-hot rows.*argmax\(1\)"),
    "too few labels": (MODEL, X, Y[1:], {}, r"expected labels of shape \(5,\), one a sample, got \(4,\)"),
    "target too large": (MODEL, X, Y, {"target": 4}, r"target out of range: saw classes 4 to 4, the model has 4"),
    "targets too large": (MODEL, X, Y, {"target": Y + 4}, r"target out of range"),
    "targets too few": (MODEL, X, Y, {"target": Y[1:]}, r"expected target of shape \(5,\)"),
    "target word": (MODEL, X, Y, {"target": "runnerup"}, r"unknown target 'runnerup'; expected.*runner_up"),
    "target type": (MODEL, X, Y, {"target": 1.5}, r"expected target as"),
    "pixels above": (MODEL, 255 * X, Y, {}, r"images out of bounds.*\[0, 1\], saw .* to 2\d\d.*Normalize.*bounds="),
    "pixels below": (MODEL, X - 1, Y, {}, r"images out of bounds: expected pixels in \[0, 1\], saw -"),
    "pixels outside other bounds": (MODEL, X, Y, {"bounds": (0.9, 1.0)}, r"expected pixels in \[0.9, 1\]"),
    "pixels NaN": (MODEL, NAN, Y, {}, r"the images contain NaN \(32 of 160 entries\)"),
    "8-bit images": (MODEL, (255 * X).byte(), Y, {}, r"floating-point.*torch.uint8; .*as_tensor.x..float.. / 255"),
    "images as an array": (MODEL, X.numpy(), Y, {}, r"expected images as a torch tensor \(N, C, H, W\), got ndarray"),
    "one image without batch": (
        MODEL,
        X[0, 0, 0],
        Y,
        {},
        r"expected a batch.*got shape \(4,\); add the batch dimension",
    ),
    "one image, labels of a batch": (MODEL, X[0], Y, {}, r"shape \(2,\).*got \(5,\); a single image.*x\[None\]"),
    "one image, one label": (MODEL, X[0], Y[0], {}, r"got \(\); a single image.*x\[None\], torch.tensor\(\[y\]\)"),
    "one image, a number": (MODEL, X[0], 3, {}, r"got int; a single image.*x\[None\], torch.tensor\(\[y\]\)"),
    "one channel, one label": (MODEL, X[0, 0], Y[0], {}, r"a single image \(H, W\).*x\[None, None\]"),
    "a batch of one, a number": (MODEL, X[:1], 3, {}, r"got int; a class needs the axis.*torch.tensor\(\[y\]\)"),
    "a batch of one, no axis": (MODEL, X[:1], Y[0], {}, r"got \(\); a class needs the axis.*torch.tensor\(\[y\]\)"),
    "a number for all": (MODEL, X, 3, {}, r"expected labels as .*, got int; torch.full\(\(5,\), y\) gives all"),
    "a number of numpy for all": (MODEL, X, np.int64(3), {}, r"got int64; torch.full\(\(5,\), y\)"),
    "a batch twice": (MODEL, X[None], Y, {}, r"x has the axis of the batch twice, \(1, 5, 2, 4, 4\): x\[0\]"),
    "grey images, one-hot": (MODEL, X[:, 0], torch.eye(4)[Y], {}, r"got \(5, 4\); one-hot rows.*argmax\(1\)"),
    "black and white": (MODEL, X > 0.5, Y, {}, r"got torch.bool; of black and white images use x.float\(\)$"),
    "complex": (MODEL, X + 0j, Y, {}, r"got torch.complex128$"),
    "images without values": (MODEL, X.to("meta"), Y, {}, r"got one without values, on the device meta$"),
    "labels elsewhere": (MODEL, X, Y.to("meta"), {}, r"labels on the images' device cpu, got meta; .to\('cpu'\)"),
    "one image, an answer without the axis": (
        lambda x: x.flatten(),
        X[0, :1],
        Y[:1],
        {},
        r"for images \(1, 4, 4\), got \(16,\); a single image needs the axis of the batch: x\[None\]",
    ),
    "eps negative": (MODEL, X, Y, {"eps": -0.1}, r"expected eps >= 0, got -0.1"),
    "eps NaN": (MODEL, X, Y, {"eps": float("nan")}, r"expected eps >= 0, got nan"),
    "eps as text": (MODEL, X, Y, {"eps": "8/x"}, r"expected eps as a number >= 0, got '8/x'"),
    "one eps too few": (
        MODEL,
        X,
        Y,
        {"eps": torch.ones(4)},
        r"eps as a number or a tensor of shape \(5,\).*got \(4,\)",
    ),
    "one eps negative": (MODEL, X, Y, {"eps": -torch.ones(5)}, r"expected every eps >= 0"),
    "one eps NaN": (MODEL, X, Y, {"eps": torch.full((5,), torch.nan)}, r"expected every eps >= 0.*NaN"),
    "bounds reversed": (MODEL, X, Y, {"bounds": (1, 0)}, r"expected bounds with low < high, got \(1, 0\)"),
    "bounds NaN": (MODEL, X, Y, {"bounds": (0, float("nan"))}, r"expected bounds with low < high"),
    "one bound": (MODEL, X, Y, {"bounds": 1}, r"expected bounds=\(low, high\), got 1"),
    "stop": (MODEL, X, Y, {"stop": "fool"}, r"unknown stop 'fool'; did you mean 'fooled'"),
    "ids too few": (MODEL, X, Y, {"sample_ids": torch.arange(4)}, r"expected sample_ids of shape \(5,\)"),
    "ids as floats": (MODEL, X, Y, {"sample_ids": torch.rand(5)}, r"expected sample_ids as integers"),
    "seed": (MODEL, X, Y, {"seed": "abc"}, r"expected seed as an integer, got 'abc'"),
    "a model in a list": (
        [MODEL],
        X,
        Y,
        {},
        r"expected a model .*, got list of 1: give one of them, such as models\[0\]",
    ),
    "a model in a tuple": ((MODEL,), X, Y, {}, r"expected a model .*, got tuple of 1: give one"),
    "a model in a dict": ({"a": MODEL}, X, Y, {}, r"expected a model .*, got dict of 1: give one .* models\['a'\]"),
    "a list of modules": (nn.ModuleList([MODEL]), X, Y, {}, r"expected a model .*, got ModuleList of 1: give one"),
    "a module without forward": (nn.Module(), X, Y, {}, r"got the module Module, which has no forward"),
    "a state dict": ({"w": X}, X, Y, {}, r"got dict of tensors: load them, net.load_state_dict"),
    "negative class": (MODEL, X, Y, {"target": -1}, r"expected target as the number of a class, 0 or more, got -1$"),
    "no model": ("vgg16", X, Y, {}, r"expected a model \(an nn.Module or a function.*got str"),
    "inference-mode model": (built_under_inference_mode(), X, Y, {}, r"built under torch.inference_mode.*state_dict"),
    "NaN logits": (nan_logits(MODEL), X, Y, {}, r"NaN or infinite logits for 5 of 5 clean images"),
    "infinite logits": (broken(lambda z: z / 0), X, Y, {}, r"NaN or infinite logits"),
    "a tuple": (broken(lambda z: (z, z)), X, Y, {}, r"return a tensor of logits, got a tuple of"),
    "one logit": (broken(lambda z: z[:, :1]), X, Y, {}, r"expected logits of shape \(5, K\) with K >= 2.*got \(5, 1\)"),
    "maps of logits": (broken(lambda z: z[..., None]), X, Y, {}, r"expected logits of shape.*got \(5, 4, 1\)"),
    "logits of another batch": (broken(lambda z: z[:2]), X, Y, {}, r"expected logits of shape \(5, K\).*got \(2, 4\)"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_input_is_refused_with_what_was_seen_and_expected(what: str) -> None:
    model, x, y, options, message = WRONG[what]
    with pytest.raises(InputError, match=message):
        PGD(eps=0.1, steps=2)(model, x, y, **options)


@pytest.mark.parametrize("what", [w for w in WRONG if "eps" not in w])
def test_minimal_attacks_refuse_the_same(what: str) -> None:
    model, x, y, options, message = WRONG[what]
    with pytest.raises(InputError, match=message):
        LBFGS(searches=1, first_steps=1)(model, x, y, **options)


@pytest.mark.parametrize("what", [w for w in WRONG if "target" not in w])
def test_a_refusal_leaves_the_model_as_it_was(what: str) -> None:
    model, x, y, options, _ = WRONG[what]
    if not isinstance(model, nn.Module) or what == "inference-mode model":
        return
    model.train()
    with pytest.raises(InputError):
        Noise(eps=0.1)(model, x, y, **options)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    model.eval()


OPTIONS: dict[str, tuple[Callable[[], object], str]] = {
    "no eps": (lambda: FGSM()(MODEL, X, Y), r"fgsm needs eps, the radius of the ball: fgsm\(eps=0.1\), or eps= in"),
    "eps for a minimal attack": (lambda: LBFGS()(MODEL, X, Y, eps=0.1), r"lbfgs looks for the nearest.*takes no eps"),
    "a target for noise": (
        lambda: Noise(eps=0.1)(MODEL, X, Y, target=1),
        r"noise has no targeted form: leave target out",
    ),
    "norm": (lambda: FGSM(norm="l7"), r"unknown norm of fgsm 'l7'; "),
    "norm that it lacks": (lambda: FGSM(norm="l0"), r"unknown norm of fgsm 'l0'"),
    "loss": (lambda: FGSM(loss="crossentropy"), r"unknown loss 'crossentropy'; did you mean 'cross_entropy'"),
    "target": (lambda: FGSM(target="all_"), r"unknown target 'all_'"),
    "a tensor of targets": (lambda: FGSM(target=Y), r"a tensor of targets belongs to the call"),
    "negative target": (lambda: FGSM(eps=1, target=-1), r"target as the number of a class, 0 or more, got -1$"),
    "negative target in a spec": (lambda: create_attack("pgd(eps=1, target=-2)"), r"a class, 0 or more, got -2$"),
    "negative target of a goal": (lambda: goals.target(-1), r"target as the number of a class, 0 or more, got -1$"),
    "too large a number": (lambda: create_attack("pgd(eps=1e400)"), r"as a finite number, .* got 1e400$"),
    "too large a number inside": (lambda: create_attack("pgd(steps=4, eps=-1_0e400/2)"), r".* got -1_0e400/2$"),
    "negative eps": (lambda: FGSM(eps=-1), r"expected eps >= 0, got -1"),
    "steps": (lambda: PGD(steps=0), r"expected steps as an integer >= 1, got 0"),
    "steps as a float": (lambda: PGD(steps=2.5), r"expected steps as an integer >= 1, got 2.5"),
    "steps as a boolean": (lambda: PGD(steps=True), r"expected steps as an integer"),
    "step_size": (lambda: PGD(step_size=0), r"expected step_size as a number > 0, got 0"),
    "step_size NaN": (lambda: PGD(step_size=float("nan")), r"expected step_size as a number > 0, got nan"),
    "step_size infinite": (lambda: PGD(step_size=float("inf")), r"expected step_size as a number > 0, got inf"),
    "a word for a flag": (lambda: create_attack("pgd(random_start=no)"), r"random_start as True or False, got 'no'"),
    "a number for a flag": (lambda: LBFGS(squared=0), r"expected squared as True or False, got 0"),
    "searches": (lambda: LBFGS(searches=0), r"expected searches as an integer >= 1"),
    "name": (lambda: create_attack("fsgm"), r"unknown attack 'fsgm'; did you mean 'fgsm'"),
    "option": (lambda: create_attack("pgd(stps=4)"), r"unknown option of attack 'pgd' 'stps'; did you mean 'steps'"),
    "spec": (lambda: create_attack("pgd(steps=4"), r"cannot read the spec 'pgd\(steps=4': expected NAME or NAME\("),
    "code in a spec": (lambda: create_attack("pgd(steps=exit())"), r"cannot read|unknown|expected"),
    "positional in a spec": (lambda: create_attack("pgd(4)"), r"cannot read the spec"),
    "division by zero": (lambda: create_attack("pgd(eps=1/0)"), r"expected eps as a finite number, .* got 1/0$"),
    "division of a word": (lambda: create_attack("pgd(eps=a/255)"), r"cannot read the spec 'pgd\(eps=a/255\)'"),
    "a key that cannot be one": (lambda: create_attack("pgd(eps={[]: 1})"), r"cannot read the spec"),
    "no spec": (lambda: create_attack(FGSM()), r"expected attack as a name or a spec, got FGSM"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", OPTIONS)
def test_wrong_options_are_refused(what: str) -> None:
    call, message = OPTIONS[what]
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (probabilities(MODEL), r"seems to return probabilities; attacks expect logits: remove the final softmax"),
        (constant_logits(MODEL), r"the same logits for different images: does it use its input"),
    ],
    ids=["probabilities", "constant"],
)
def test_a_suspicious_model_is_a_warning_that_says_what_to_do(model: nn.Module, message: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        FGSM(eps=0.01)(model.eval(), X, model.eval()(X).argmax(1).detach())
    texts = [w for w in caught if issubclass(w.category, AdvkitWarning)]
    import re

    assert any(re.search(message, str(w.message)) for w in texts), [str(w.message) for w in texts]


def test_errors_are_value_errors_of_one_family() -> None:
    assert issubclass(UnknownNameError, InputError)
    assert issubclass(InputError, ValueError)
    assert issubclass(InputError, AdvkitError)


def test_an_unknown_name_gets_the_nearest_or_the_list() -> None:
    assert str(unknown("norm", "l2 ", ["linf", "l2"])) == "unknown norm 'l2 '; did you mean 'l2'?"
    assert str(unknown("norm", "zzz", ["linf", "l2"])) == "unknown norm 'zzz'; expected one of: l2, linf"


@pytest.mark.parametrize(
    "text", ["", "a b", "f(x)", "f(**x)", "f(a=g(1))", "f(a=lambda: 1)", "__import__('os')", "f()()"]
)
def test_what_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="cannot read the spec"):
        parse_spec(text)


def test_a_spec_is_read_and_never_run() -> None:
    spec = parse_spec("pgd(eps=8/255, steps=40, norm=l2, target='all', x=(1, -2.5), y=None, inner=fgsm(eps=.1))")
    assert spec.options["eps"] == 8 / 255
    assert spec.options["norm"].name == "l2"
    assert spec.options["inner"].options == {"eps": 0.1}
    assert spec.options["x"] == (1, -2.5)


def test_true_and_false_are_no_names_in_a_spec() -> None:
    """As a name of something `false` counted as true."""
    spec = parse_spec("net(a=true, b=false, c=True, d=False, e=none)")
    assert [spec.options[key] for key in "abcd"] == [True, False, True, False]
    assert spec.options["e"].name == "none"


def test_a_name_is_registered_once() -> None:
    registry: Registry[object] = Registry("thing", "advkit.core")
    registry.register("a")(object)
    with pytest.raises(ValueError, match="registered already"):
        registry.register("a")(object)


def test_an_entry_that_needs_an_option_says_so() -> None:
    registry: Registry[object] = Registry("thing", "advkit.core")

    @registry.register("a")
    def make(*, size: int) -> int:
        return size

    with pytest.raises(InputError, match=r"thing 'a' needs size=: give it, as in 'a\(size=...\)'"):
        registry.create("a")
    assert registry.create("a(size=3)") == 3


def test_the_affine_classifier_needs_two_classes() -> None:
    with pytest.raises(InputError, match=r"expected a weight of shape \(K, D\) with K >= 2 classes, got \(1, 4\)"):
        AffineClassifier(torch.ones(1, 4))


def test_a_loss_that_is_no_word_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected loss as a name or a function .* got \[\]"):
        PGD(eps=0.1, loss=[])  # type: ignore[arg-type]


def test_several_specs_in_one_text_are_named_as_such():
    with pytest.raises(InputError, match="give several apart"):
        parse_spec("fgsm, pgd(steps=10)")
    with pytest.raises(InputError, match=r"steps=9\)'$"):
        parse_spec("fgsm(")


@pytest.mark.parametrize("name", list_attacks())
def test_every_flag_of_every_attack_takes_only_true_and_false(name: str) -> None:
    attack = ATTACKS.factory(name)
    for field in dataclasses.fields(attack):
        if isinstance(field.default, bool):
            for wrong in ("no", "", 0, 1, None, 0.0):
                with pytest.raises(InputError, match=f"expected {field.name} as True or False, got {wrong!r}"):
                    attack(**{field.name: wrong})


def _stray_file(tmp_path: Path) -> object:
    (tmp_path / "cat").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "cat" / "x.png")
    (tmp_path / "cat" / "x.txt").write_text("no image")
    return load_data(f"folder:{tmp_path}")


def _warn_at_the_end(text: str) -> None:
    with ExitStack() as stack:
        stack.callback(warn, text)


def _slow_bounds(tmp_path: Path) -> object:
    pace = Pace("crown", 1, None, None, torch.device("cpu"))
    pace.begin(1e18, 1, 1)
    return pace


SMALL = torch.rand(2, 1, 2, 2), torch.zeros(2).long()
TWO, THREE = (AffineClassifier(torch.eye(k, 4), torch.zeros(k)) for k in (2, 3))

WARNINGS: dict[str, Callable[[Path], object]] = {
    "loss": lambda path: FGSM(eps=0.1, loss="dlr")(TWO, *SMALL),
    "model": lambda path: FGSM(eps=0.1)(nn.Sequential(THREE, nn.Softmax(1)), *SMALL),
    "eps": lambda path: FGSM(eps=1e-9)(TWO, *SMALL),
    "data": _stray_file,
    "pace": _slow_bounds,
    "through torch": lambda path: torch.no_grad()(warn)("text"),
    "through contextlib": lambda path: _warn_at_the_end("text"),
}


@pytest.mark.parametrize("kind", WARNINGS)
def test_a_warning_names_the_line_of_the_caller(kind: str, tmp_path: Path) -> None:
    with pytest.warns(AdvkitWarning) as told:
        WARNINGS[kind](tmp_path)
    assert {warning.filename for warning in told if warning.category is AdvkitWarning} == {__file__}


def test_only_one_place_says_at_which_line_a_warning_stands() -> None:
    home = Path(advkit.__file__).parent
    files = [path for path in home.rglob("*.py") if "warnings.warn(" in path.read_text()]
    assert files == [home / "core" / "errors.py"]
