"""`check_model`: every promise that a network makes to attacks, defences and training, as a named check."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.attacks import FGSM
from advkit.core.classify import classify
from advkit.core.door import check_count, check_shape
from advkit.core.errors import InputError
from advkit.core.words import cause
from advkit.models import create_model
from advkit.testing._check import CheckReport
from advkit.testing._family import expect, judged, promises_of

COUNT = 4
"""Images in a batch."""

SHAPE = (1, 20, 20)
"""Shape of the images, unless another is known."""

SIZES = ("takes_other_sizes", "a_seed_gives_the_same_network")
"""Checks of what builds a network; one that is built already makes no such promise."""


def check_model(
    model: nn.Module | str | Callable[..., nn.Module],
    *,
    input_shape: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
    only: str | Iterable[str] = (),
    skip: str | Iterable[str] = (),
    raises: bool = True,
    **options: Any,
) -> CheckReport:
    """Run every check that applies to a network.

    It may have batch norm, buffers, strides and several outputs in training, and needs no registered name. The checks
    work on a copy of the network.

    Args:
        model: a module from images in [0, 1] to logits (N, K); a registered name or spec ("vgg16(width=1/16)"); or a
            factory that takes `input_shape`, `num_classes` and `width`, and returns a module.
        input_shape: shape (C, H, W) of the images that the module takes, or that the network is built for. Default:
            that of a module's card, else (1, 20, 20).
        num_classes: number of the model's classes. Default: that of a module's card or answer, else 4.
        only: name or names of the checks to run; the others are left out.
        skip: name or names of checks that are reported as skipped.
        raises: True raises an error for a broken promise, False only reports it.
        **options: further options of the name or the factory.

    Returns:
        A `CheckReport`.

    Raises:
        BrokenPromiseError: an AssertionError that names every broken promise and what was seen.
        InputError: a module does not take images of the default shape, or is a script.
        UnknownNameError: there is no such check.
    """
    known, classes = _sizes(model, input_shape) if isinstance(model, nn.Module) else (None, None)
    num_classes = check_count("num_classes", (classes or 4) if num_classes is None else num_classes)
    shape = check_shape("input_shape", (known or SHAPE) if input_shape is None else input_shape, axes=3)
    made = _builder(model, options)
    checks = _Checks(made, (shape[0], shape[1], shape[2]), num_classes)
    built = isinstance(model, nn.Module)
    name = model if isinstance(model, str) else getattr(model, "__name__", type(model).__name__)
    promises = promises_of(checks, lambda check: not (built and check in SIZES))
    return judged(name, promises, only=only, skip=skip, raises=raises)


def _sizes(model: nn.Module, given: Any) -> tuple[Any, int | None]:
    """Shape of the images and number of classes that a card tells, or the answer to images of a shape."""
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError("check_model copies the network, and a script has no copies: check what was scripted")
    if (card := getattr(model, "card", None)) is not None:
        return getattr(card, "input_shape", None), getattr(card, "num_classes", None)
    x = torch.rand(COUNT, *check_shape("input_shape", SHAPE if given is None else given, axes=3), dtype=torch.float64)
    try:
        answer = classify(copy.deepcopy(model).double(), x)
    except Exception as error:
        if given is None:
            raise InputError(
                f"the network does not take images {SHAPE}, the default ({cause(error)}): "
                "give input_shape=(C, H, W), the shape of the images that it was built for"
            ) from error
        return None, None  # the checks say what is wrong
    return None, answer.shape[1] if answer.ndim == 2 and len(answer) == COUNT and answer.shape[1] > 1 else None


def _builder(model: Any, options: dict[str, Any]) -> Callable[..., nn.Module]:
    """What makes the network anew: (input_shape, num_classes, seed) -> module."""
    if isinstance(model, nn.Module):
        return lambda shape, classes, seed: copy.deepcopy(model)
    if isinstance(model, str):
        return lambda shape, classes, seed: create_model(
            model, **{"input_shape": shape, "num_classes": classes, "seed": seed, **options}
        )
    if not callable(model):
        raise InputError(f"expected a module, a name or a factory, got {type(model).__name__}")

    def build(shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made: nn.Module = model(input_shape=shape, num_classes=classes, **options)
            return made

    return build


class _Checks:
    """The checks; each method is one, and its first line the promise."""

    def __init__(self, build: Callable[..., nn.Module], shape: tuple[int, int, int], classes: int) -> None:
        self._build, self._shape, self._classes = build, shape, classes

    def answers_logits(self) -> None:
        """The answer to images (N, C, H, W) is finite logits (N, K), one row an image."""
        net, x = self._net(), self._images()
        answer = classify(net, x)
        expect(answer.shape == (COUNT, self._classes), f"answers {tuple(answer.shape)} to {tuple(x.shape)}")
        expect(answer.isfinite().all(), "answers NaN or infinity")
        rows = answer.softmax(1) if (answer >= 0).all() else None
        expect(rows is None or not torch.allclose(answer.sum(1), rows.sum(1)), "answers probabilities, not logits")

    def eval_mode_is_a_function(self) -> None:
        """In eval mode the same images get the same answer, whatever was asked before."""
        net, x = self._net(), self._images()
        first = classify(net, x)
        classify(net, 1 - x)
        expect(torch.equal(first, classify(net, x)), "answers differently when it is asked again")

    def an_image_alone_is_answered_as_in_a_batch(self) -> None:
        """In eval mode an image's answer does not depend on the others of the batch."""
        net, x = self._net(), self._images()
        alone = torch.cat([classify(net, x[i : i + 1]) for i in range(COUNT)])
        far = (alone - classify(net, x)).abs().max().item()
        expect(far < 1e-9, f"an answer differs by {far:.2g} when the image is alone")

    def its_gradient_is_the_derivative(self) -> None:
        """The gradient by the images predicts finite differences of the loss, in float64."""
        net, x, y = self._net(moved=True), self._images(), self._labels()
        gradient = _gradient(net, x, y)
        along = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
        found, kept = (gradient * along).flatten(1).sum(1), torch.zeros(COUNT, dtype=torch.bool)
        for step in (1e-5, 1e-6, 1e-7):  # a kink of a rectifier lies within some of the steps, a mistake within all
            ahead, behind = (_loss(net, x + s * along, y) for s in (step, -step))
            measured = (ahead - behind) / (2 * step)
            kept |= (found - measured).abs() <= 1e-3 * measured.abs() + 1e-7
        expect(kept.all(), f"gradient {found.tolist()}, differences {measured.tolist()}")

    def its_gradient_reaches_every_image(self) -> None:
        """The gradient by every image is finite and not zero."""
        net, x = self._net(moved=True), self._images()
        size = _gradient(net, x, self._labels()).flatten(1).norm(dim=1)
        expect(size.isfinite().all() and (size > 0).all(), f"gradients have the lengths {size.tolist()}")

    def attacks_leave_no_trace(self) -> None:
        """Looks and attacks leave modes, buffers, parameters and gradients as they were, in train mode too."""
        net, x, y = self._net().train(), self._images(), self._labels()
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        before = _state(net)
        classify(net, x)
        FGSM(eps=0.05)(net, x, y)
        after = _state(net)
        changed = [key for key in before if not _same(before[key], after.get(key))]
        expect(before.keys() == after.keys() and not changed, f"changed: {', '.join(changed[:4])}")

    def layouts_of_the_images_do_not_matter(self) -> None:
        """Channels-last images, strided ones and expanded ones get the answers of contiguous ones."""
        net, x = self._net(), self._images()
        expected = classify(net, x)
        strided = torch.stack([x, x], -1)[..., 0]
        for name, images in {
            "channels-last": x.contiguous(memory_format=torch.channels_last),
            "strided": strided,
        }.items():
            far = (classify(net, images) - expected).abs().max().item()
            expect(far < 1e-9, f"{name} images get answers that differ by {far:.2g}")
        one = classify(net, x[:1].expand(COUNT, *self._shape))
        expect(torch.allclose(one, expected[:1].expand_as(one)), "expanded images get other answers")

    def it_does_not_write_on_its_input(self) -> None:
        """The images are the same after a pass."""
        for mode in (True, False):
            net, x = self._net().train(mode), self._images()
            before = x.clone()
            with torch.no_grad():
                net(x)
            expect(torch.equal(x, before), f"writes on the images in {'train' if mode else 'eval'} mode")

    def a_step_down_the_gradient_lowers_the_loss(self) -> None:
        """The parameters train: a short step against their gradient in eval mode lowers the loss."""
        net, x, y = self._net(moved=True), self._images(), self._labels()
        parameters = [p for p in net.parameters() if p.requires_grad]
        expect(parameters, "has no parameters that train")
        loss = F.cross_entropy(net(x), y)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        slope = sum(float((g**2).sum()) for g in gradients if g is not None)
        expect(slope > 0, "no parameter has a gradient")
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    parameter.sub_(1e-6 / slope**0.5 * gradient)
            lower = float(loss) - float(F.cross_entropy(net(x), y))
        expect(0.5 < lower / (1e-6 * slope**0.5) < 2, f"the loss fell by {lower:.3g}, {1e-6 * slope**0.5:.3g} expected")

    def train_mode_gives_logits_and_gradients(self) -> None:
        """In train mode it answers logits, and their loss has a gradient."""
        net, x, y = self._net().train(), self._images(), self._labels()
        answer = net(x)
        expect(isinstance(answer, Tensor), f"answers a {type(answer).__name__} in train mode: give it training_logits")
        F.cross_entropy(answer, y).backward()  # type: ignore[no-untyped-call]
        found = [p.grad for p in net.parameters() if p.grad is not None]
        expect(found and all(g.isfinite().all() for g in found), "no gradient, or none that is finite, in train mode")

    def its_state_is_its_state_dict(self) -> None:
        """A network that loads another's state dict gives its answers: nothing that counts is kept elsewhere."""
        net, x = self._net(moved=True), self._images()
        other = self._build(self._shape, self._classes, 1).double().eval()
        other.load_state_dict(net.state_dict())
        expect(torch.allclose(classify(net, x), classify(other, x)), "answers differently with the same state dict")

    def it_takes_float32_and_autocast(self) -> None:
        """In float32 and under bfloat16 autocast the answers are finite and near those in float64."""
        net, x = self._net(), self._images()
        expected = classify(net, x)
        scale = max(1.0, expected.abs().max().item())
        net = net.float()
        plain = classify(net, x.float())
        expect((plain - expected).abs().max() < 1e-3 * scale, "float32 answers are far from those in float64")
        with torch.autocast("cpu", torch.bfloat16):
            half = classify(net, x.float())
        expect((half - expected).abs().max() < 0.2 * scale, "answers under autocast are far from those in float64")

    def takes_other_sizes(self) -> None:
        """It is built for other images and other numbers of classes."""
        channels, height, width = self._shape
        for shape, classes in (((3, height, width), 7), ((channels, height + 12, width + 8), 2)):
            net = self._build(shape, classes, 0).eval()
            answer = classify(net, torch.rand(2, *shape))
            expect(answer.shape == (2, classes), f"answers {tuple(answer.shape)} to {classes} classes")

    def a_seed_gives_the_same_network(self) -> None:
        """The same seed gives the same parameters, and torch's random state is as it was."""
        before = torch.random.get_rng_state()
        one, same, other = (self._build(self._shape, self._classes, seed).state_dict() for seed in (0, 0, 1))
        expect(torch.equal(before, torch.random.get_rng_state()), "building changed torch's random state")
        expect(all(torch.equal(one[key], same[key]) for key in one), "the same seed gave other parameters")
        expect(any(not torch.equal(one[key], other[key]) for key in one), "every seed gives the same parameters")

    def _net(self, *, moved: bool = False) -> nn.Module:
        """The network in float64 and eval mode; `moved`: off the kinks that initialisations hit exactly."""
        net = self._build(self._shape, self._classes, 0).double().eval()
        draws = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in net.parameters() if moved else ():
                noise = torch.randn(parameter.shape, generator=draws, dtype=parameter.dtype)
                parameter.add_(0.03 * noise * max(float(parameter.abs().mean()), 0.1))
        return net

    def _images(self) -> Tensor:
        return torch.rand(COUNT, *self._shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def _labels(self) -> Tensor:
        return torch.arange(COUNT) % self._classes


def _state(net: nn.Module) -> dict[str, Any]:
    """Modes, and every parameter, gradient and buffer by value and by identity."""
    found: dict[str, Any] = {f"mode of {name or 'the model'}": part.training for name, part in net.named_modules()}
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None
        found |= {f"identity of {name}": id(parameter), f"requires_grad of {name}": parameter.requires_grad}
        found |= {f"value of {name}": parameter.detach().clone(), f"gradient of {name}": parameter.grad.clone()}
    for name, buffer in net.named_buffers():
        found |= {f"buffer {name}": buffer.clone(), f"identity of buffer {name}": id(buffer)}
    return found


def _same(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) and isinstance(other, Tensor) else bool(one == other)


def _loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(classify(net, x), y, reduction="none")


def _gradient(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(net(leaf), y, reduction="sum"), leaf)
    return gradient
