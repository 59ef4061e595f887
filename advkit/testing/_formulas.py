"""The papers' training losses as slow, plain formulas in float64, for linf; `check_defense` compares with them.

Each entry returns a function (model, x, y) -> value, or -> (value, gradients by name). Random numbers are drawn from
torch's global generator as documented by the losses.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.certification.curves import Tanh
from advkit.certification.windows import own_entry
from advkit.core.draws import Draws
from advkit.core.threat import Threat

Formula = Callable[[nn.Module, Tensor, Tensor], Any]


def outputs(model: nn.Module, x: Tensor) -> list[tuple[float, Tensor]]:
    """Return (weight, logits) of all outputs used in training."""
    own = getattr(model, "training_logits", None)
    return [(1.0, model(x))] if own is None else own(x)


def pair(model: nn.Module, x: Tensor, x_adv: Tensor, term: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Concatenate both batches, as documented by the losses for batch norm."""
    total = torch.zeros((), dtype=x.dtype)
    for weight, logits in outputs(model, torch.cat([x, x_adv])):
        total = total + weight * term(logits[: len(x)], logits[len(x) :])
    return total


def kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """KL(p || q) (N,)."""
    p, q = p_logits.softmax(1), q_logits.softmax(1)
    return (p * (p / q).log()).sum(1)


def seed_of(attack: Any) -> int:
    """Draw the seed that a loss draws for its attack."""
    return 0 if attack.deterministic else int(torch.randint(2**62, ()))


def attacked(loss: Any, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Run the loss's attack on a copy of the model in eval mode."""
    judge = copy.deepcopy(model).eval()
    if loss.attack.name == "pgd":
        return climbed(loss, x, lambda point: F.cross_entropy(judge(point), y, reduction="sum"))
    found: Tensor = loss.attack.examples(judge, x, y, seed=seed_of(loss.attack), bounds=loss.bounds)
    return found


def climbed(loss: Any, x: Tensor, value: Callable[[Tensor], Tensor]) -> Tensor:
    """PGD's last point: steps along the sign of the gradient of `value` (a scalar), clipped to ball and range."""
    attack, seed = loss.attack, seed_of(loss.attack)
    region = Threat("linf", attack.eps, loss.bounds).around(x)
    point = region.start(Draws(seed, torch.arange(len(x))), step=0) if attack.random_start else x
    step = 2.5 * attack.eps / attack.steps if attack.step_size is None else attack.step_size
    for _ in range(attack.steps):
        leaf = point.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(value(leaf), [leaf])
        point = torch.clamp(point + step * gradient.sign(), region.low, region.high)
    return point


def added(values: Iterable[Tensor]) -> Tensor:
    """Return the sum of scalars."""
    return torch.stack(list(values)).sum()


def slope(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return the gradient of the summed cross-entropy with respect to the images, in the model's mode."""
    leaf = x.clone().requires_grad_()
    total = added(w * F.cross_entropy(logits, y, reduction="sum") for w, logits in outputs(model, leaf))
    (gradient,) = torch.autograd.grad(total, [leaf])
    return gradient


def adversarial(loss: Any) -> Formula:
    """alpha J(x) + (1 - alpha) J(x_adv)."""

    def term(logits: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(logits, y, label_smoothing=loss.label_smoothing)

    def formula(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if loss.attack.name == "fgsm":
            x_adv = (x + loss.attack.eps * slope(copy.deepcopy(model), x, y).sign()).clamp(*loss.bounds)
            clean, other = (
                added(w * term(logits, y) for w, logits in outputs(copy.copy(model), z)) for z in (x, x_adv)
            )
            mixed: Tensor = loss.alpha * clean + (1 - loss.alpha) * other
            return mixed
        x_adv = attacked(loss, model, x, y)
        if loss.alpha == 0:
            return added(w * term(logits, y) for w, logits in outputs(model, x_adv))
        return pair(model, x, x_adv, lambda a, b: loss.alpha * term(a, y) + (1 - loss.alpha) * term(b, y))

    return formula


def trades(loss: Any) -> Formula:
    """CE(f(x), y) + beta KL(p(x) || p(x_adv)), x_adv by steps along the sign of KL's gradient from a random start."""

    def formula(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        judge = copy.deepcopy(model).eval()
        x_adv = climbed(loss, x, lambda point: kl(judge(x), judge(point)).sum())
        return pair(model, x, x_adv, lambda a, b: F.cross_entropy(a, y) + loss.beta * kl(a, b).mean())

    return formula


def mart(loss: Any) -> Formula:
    """-log p_y(x') - log(1 - max_{k != y} p_k(x')) + lambda KL(p(x) || p(x')) (1 - p_y(x))."""

    def formula(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        def term(clean: Tensor, other: Tensor) -> Tensor:
            values = []
            for i, label in enumerate(y.tolist()):
                p, q = clean[i].softmax(0), other[i].softmax(0)
                rest = torch.stack([q[k] for k in range(len(q)) if k != label])
                bce = -q[label].log() - (1 - rest.max()).log()
                values.append(bce + loss.weight * (p * (p / q).log()).sum() * (1 - p[label]))
            return torch.stack(values).mean()

        return pair(model, x, attacked(loss, model, x, y), term)

    return formula


def awp(loss: Any) -> Formula:
    """Return the gradient of the loss inside at w + gamma |w| g / |g|, g its gradient at w."""

    def formula(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        inside, state = FORMULAS[loss.loss.name](loss.loss), torch.get_rng_state()
        if loss.loss.name == "adversarial":
            x_adv = attacked(loss.loss, model, x, y)
            inside = _given(loss.loss, x_adv)
        there = copy.deepcopy(model)
        named = {k: p for k, p in there.named_parameters() if p.requires_grad}
        first = copy.deepcopy(model)
        torch.autograd.backward(inside(first, x, y))
        with torch.no_grad():
            for name, p in first.named_parameters():
                if p.ndim > 1 and p.grad is not None:
                    named[name].add_(loss.gamma * p.norm() / p.grad.norm() * p.grad)
        torch.set_rng_state(state)
        value = inside(there, x, y)
        found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
        for ours, moved in zip(model.buffers(), there.buffers(), strict=True):
            ours.copy_(moved)
        return value, {k: g for k, g in zip(named, found, strict=True) if g is not None}

    return formula


def _given(loss: Any, x_adv: Tensor) -> Formula:
    """The adversarial loss of examples that are made already."""

    def formula(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if loss.alpha == 0:
            return added(w * F.cross_entropy(logits, y) for w, logits in outputs(model, x_adv))
        mixed = lambda a, b: loss.alpha * F.cross_entropy(a, y) + (1 - loss.alpha) * F.cross_entropy(b, y)  # noqa: E731
        return pair(model, x, x_adv, mixed)

    return formula


def free(loss: Any) -> Formula:
    """CE at x + delta; delta moves along the sign of its gradient and is kept for the next call."""
    kept: dict[str, Tensor] = {}

    def formula(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        delta = kept.get("delta", torch.zeros_like(x)).clone().requires_grad_()
        value = added(w * F.cross_entropy(logits, y) for w, logits in outputs(model, (x + delta).clamp(*loss.bounds)))
        (gradient,) = torch.autograd.grad(value, [delta], retain_graph=True)
        step = loss.eps if loss.step_size is None else loss.step_size
        kept["delta"] = (delta.detach() + step * gradient.sign()).clamp(-loss.eps, loss.eps)
        return value

    return formula


def _one_step(width: Callable[[Any], float], step: Callable[[Any], float], back: bool) -> Callable[[Any], Formula]:
    def make(loss: Any) -> Formula:
        def formula(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            reach, length = width(loss), step(loss)
            start = (x + torch.empty_like(x).uniform_(-reach, reach)).clamp(*loss.bounds)
            judge = copy.deepcopy(model).eval()
            leaf = start.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(judge(leaf), y), [leaf])
            delta = start + length * gradient.sign() - x
            delta = delta.clamp(-loss.eps, loss.eps) if back else delta
            x_adv = (x + delta).clamp(*loss.bounds)
            return added(w * F.cross_entropy(logits, y) for w, logits in outputs(model, x_adv))

        return formula

    return make


def noise(loss: Any) -> Formula:
    """alpha J(x) + (1 - alpha) J(x + noise)."""

    def formula(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        if loss.kind == "sign":
            noisy = (
                x + loss.eps * torch.where(torch.randint_like(x, 2) > 0, torch.ones_like(x), -torch.ones_like(x))
            ).clamp(*loss.bounds)
        elif loss.kind == "uniform":
            noisy = (x + torch.empty_like(x).uniform_(-loss.eps, loss.eps)).clamp(*loss.bounds)
        else:
            noisy = x + loss.eps * torch.randn_like(x)
        value: Tensor = _given(loss, noisy)(model, x, y)
        return value

    return formula


def matrix(layer: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Write an affine layer in eval mode as a matrix (out, in) and a constant, differentiable in its parameters."""
    zero = torch.zeros(1, *shape, dtype=next(layer.parameters()).dtype)
    at_zero = layer(zero).flatten()
    one_hot = torch.eye(zero.numel(), dtype=zero.dtype).view(-1, *shape)
    return (layer(one_hot).flatten(1) - at_zero).T, at_zero


def bounded(loss: Any) -> Formula:
    """kappa J(x) + (1 - kappa) CE(worst logits), for affine map, tanh, affine map; each map as a matrix."""

    def formula(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        clean = added(w * F.cross_entropy(logits, y) for w, logits in outputs(model, x))
        first, last = _halves(model)
        modes = [m.training for m in model.modules()]
        model.eval()
        (W, b), (V, c) = matrix(first, tuple(x.shape[1:])), matrix(last, (first(x[:1]).numel(),))
        for module, mode in zip(model.modules(), modes, strict=True):
            module.training = mode
        low, high = ((x + e).clamp(*loss.bounds).flatten(1) for e in (-loss.eps, loss.eps))
        l = low @ W.clamp(min=0).T + high @ W.clamp(max=0).T + b  # noqa: E741
        u = high @ W.clamp(min=0).T + low @ W.clamp(max=0).T + b
        worst = []
        for i, label in enumerate(y.tolist()):
            row = V[label] - V  # (K, units)
            margin = row.clamp(min=0) @ l[i].tanh() + row.clamp(max=0) @ u[i].tanh() + c[label] - c
            if beta := getattr(loss, "beta", 0):
                lines = Tanh(windows=own_entry(l[i].shape)).lines(l[i][None], u[i][None])
                a = row.clamp(min=0) * lines.low_slope + row.clamp(max=0) * lines.high_slope
                const = row.clamp(min=0) @ lines.low_offset[0] + row.clamp(max=0) @ lines.high_offset[0] + c[label] - c
                A = a @ W
                linear = A.clamp(min=0) @ low[i] + A.clamp(max=0) @ high[i] + a @ b + const
                margin = (1 - beta) * margin + beta * linear
            worst.append(-margin)
        value: Tensor = loss.kappa * clean + (1 - loss.kappa) * F.cross_entropy(torch.stack(worst), y)
        return value

    return formula


def _halves(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The maps before and after the tanh."""
    layers = list(getattr(model, "stem", model).children())
    layers += [model.head] if hasattr(model, "head") else []
    at = next(i for i, layer in enumerate(layers) if isinstance(layer, nn.Tanh))
    return nn.Sequential(*layers[:at]), nn.Sequential(*layers[at + 1 :])


FORMULAS: dict[str, Callable[[Any], Formula]] = {
    "adversarial": adversarial,
    "trades": trades,
    "mart": mart,
    "awp": awp,
    "free": free,
    "fast": _one_step(lambda s: s.eps, lambda s: 1.25 * s.eps if s.step_size is None else s.step_size, back=True),
    "nfgsm": _one_step(lambda s: s.noise * s.eps, lambda s: s.step_size or s.eps, back=False),
    "noise": noise,
    "ibp": bounded,
    "crown_ibp": bounded,
}
"""The formulas by the name of the defence."""
