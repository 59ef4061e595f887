"""Lipschitz constants of networks: Szegedy et al. 2013, "Intriguing properties of neural networks", section 4.3.

arXiv 1312.6199. If L_k is the Lipschitz constant of each layer, that of the network is at most their product, and an
image whose logit leads by m stays right within m / (sqrt(2) product) in l2.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.certification.ball import Ball, ball_around
from advkit.certification.bounds import Bounds
from advkit.certification.curves import Curve
from advkit.certification.graph import Graph, Input, Node, trace
from advkit.certification.linear import Affine, Combination, Move, Reshape
from advkit.certification.operator_norms import ENTRIES, OUTWARD, maximum_norm, operator_norm
from advkit.certification.relu_and_pooling import Maximum
from advkit.certification.rounding import DOUBLE, EXACT, gamma, rounding_of, without_overflow
from advkit.core import model_checks
from advkit.core.classify import looking
from advkit.core.errors import InputError
from advkit.core.norms import get_norm


@dataclass(frozen=True, kw_only=True)
class LayerStretch:
    """One layer at its input size.

    Attributes:
        name: path of the module in the network; empty outside of any module.
        kind: class of the module.
        norm: upper bound of the l2 operator norm, or of the Lipschitz constant of a nonlinear layer.
        constant: upper bound of the Lipschitz constant from the image to the output of this layer.
    """

    name: str
    kind: str
    norm: float
    constant: float


@dataclass(frozen=True, kw_only=True)
class Lipschitz:
    """Upper bounds of Lipschitz constants in l2.

    Attributes:
        layers: one entry a layer, in the order of the network. In a chain `constant` is the product of the norms so
            far; if paths meet, constants are added (sums), or their squares (concatenation).
        constant: from the image to the logits.
        pairs: (K, K) float64: of every difference of two logits; at most sqrt(2) times `constant`.
    """

    layers: tuple[LayerStretch, ...]
    constant: float
    pairs: Tensor

    def radius(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the l2 radius (N,) float64 within which y stays ahead; 0 if it is not ahead. Rounding is not included.

        Args:
            logits: the network's answers (N, K).
            y: true classes (N,).
        """
        logits = logits.double()
        lead = logits.gather(1, y[:, None]) - logits
        own = torch.nn.functional.one_hot(y, logits.shape[1]).bool()
        pairs = self.pairs.to(logits.device)[y].where(~own, 1.0)
        return (lead / pairs).where(~own, torch.inf).amin(1).clamp(min=0)


def lipschitz(model: Callable[[Tensor], Tensor], x: Tensor) -> Lipschitz:
    """Bound every layer's operator norm at its input size, and the network's Lipschitz constant in l2, from above.

    Args:
        model: an `nn.Module` or a function from images to logits (N, K); it is taken in eval mode and left as it was.
        x: images (N, C, H, W); only shape, type and device are used.

    Raises:
        InputError: no constant is known for a layer, which the message names.
    """
    model_checks.check_model(model)
    tracing = trace(model, x)
    with looking(model, x.device):
        return stretch(tracing.graph(), x.device).table


@dataclass(frozen=True)
class Stretch:
    """The Lipschitz constants of a graph.

    Args:
        graph: the network as a graph.
        table: constants of the network's layers.
        onward: upper bound of the Lipschitz constant from each node's output to the logits.
    """

    graph: Graph
    table: Lipschitz
    onward: list[float]

    def margins(self, ball: Ball, y: Tensor) -> Tensor:
        """Lower bounds of logit y minus the others over the ball, the network's own rounding included: (N, K)."""
        real = Bounds(self.graph, _point(ball), EXACT)
        real.forward(refined=False)
        low, high = real.low[-1], real.high[-1]
        lead = low.gather(1, y[:, None]) - high
        lead = lead - _reach(ball)[:, None] * self.table.pairs.to(lead.device)[y]
        moved, fits = self._rounding(ball)
        return without_overflow(lead - math.sqrt(2) * moved[:, None], y, fits)

    def _rounding(self, ball: Ball) -> tuple[Tensor, Tensor]:
        """(N,): how far the network's arithmetic may move the logits, in l2, anywhere in the ball; if it is finite."""
        box = Bounds(self.graph, ball._replace(norm=get_norm("linf")), rounding_of(self.graph.dtype, ball.x.device))
        box.forward(refined=False)
        parts = [c * s.flatten(1).norm(dim=1) for c, s in zip(self.onward, box.slack, strict=True)]
        return torch.stack(parts).sum(0) * OUTWARD, box.fits


def _point(ball: Ball) -> Ball:
    edges = (float(ball.low.amin()), float(ball.high.amax())) if len(ball.x) else (0.0, 1.0)
    return ball_around(ball.x, 0.0, "linf", edges)


def _reach(ball: Ball) -> Tensor:
    """(N,): the largest l2 distance of a point of the ball from its centre."""
    corner = torch.maximum(ball.x - ball.low, ball.high - ball.x).flatten(1).norm(dim=1) * OUTWARD
    return corner if ball.norm.boxed else torch.minimum(corner, ball.eps)


def stretch(graph: Graph, device: torch.device) -> Stretch:
    """Return the constants of all nodes.

    Raises:
        InputError: no constant is known for a node.
    """
    norms = [_norm(graph, node, device) for node in graph.nodes]
    reached: list[float] = []
    for node, norm in zip(graph.nodes, norms, strict=True):
        reached.append(_through(node, norm, [reached[j] for j in node.inputs]))
    onward = [0.0] * len(norms)
    onward[-1] = 1.0
    for i in range(len(norms) - 1, -1, -1):
        for j, gain in zip(graph.nodes[i].inputs, _gains(graph.nodes[i], norms[i]), strict=True):
            onward[j] += onward[i] * gain * OUTWARD
    table = Lipschitz(
        layers=_layers(graph, norms, reached), constant=reached[-1], pairs=_pairs(graph, norms, reached, device)
    )
    return Stretch(graph, table, onward)


def _norm(graph: Graph, node: Node, device: torch.device) -> float:
    shapes = [graph.nodes[j].shape for j in node.inputs]
    if isinstance(node.operation, Input):
        return 1.0
    if isinstance(node.operation, Curve):
        return node.operation.slope
    if isinstance(node.operation, Maximum):
        return maximum_norm(node.operation, shapes[0])
    if not isinstance(node.operation, Affine):
        raise InputError(
            f"no Lipschitz constant is known of {node.operation.name}, in {node.layer[0] or 'the network'}: "
            "it has none on all images, so use method='ibp'"
        )
    if len(shapes) > 1 and isinstance(node.operation, Move):  # concatenation
        return 1.0
    return operator_norm(node.operation, shapes[0], node.shape, device)


def _gains(node: Node, norm: float) -> list[float]:
    """For each input what the node makes of its movement."""
    if isinstance(node.operation, Combination):
        return [abs(f) for f in node.operation.factors]
    return [norm] * len(node.inputs)


def _through(node: Node, norm: float, before: list[float]) -> float:
    if not before:
        return 1.0
    parts = [g * b for g, b in zip(_gains(node, norm), before, strict=True)]
    return (math.hypot(*parts) if isinstance(node.operation, Move) else sum(parts)) * OUTWARD


def _layers(graph: Graph, norms: list[float], reached: list[float]) -> tuple[LayerStretch, ...]:
    """One entry a module: neighbours of the same module are one, from what the first takes to what the last gives."""
    found: list[LayerStretch] = []
    entry = 0
    for place, node in enumerate(graph.nodes):
        if isinstance(node.operation, Input | Reshape):
            continue
        name, kind = node.layer
        if found and name and (found[-1].name, found[-1].kind) == (name, kind):
            found.pop()
            norm = reached[place] / reached[entry] if reached[entry] else 0.0
        else:
            norm, entry = norms[place], node.inputs[0]
        found.append(LayerStretch(name=name, kind=kind, norm=norm, constant=reached[place]))
    return tuple(found)


def _pairs(graph: Graph, norms: list[float], reached: list[float], device: torch.device) -> Tensor:
    """(K, K): the affine layers behind the last bend taken as one map, so affine networks are exact."""
    i, node = len(graph.nodes) - 1, graph.nodes[-1]
    A = torch.eye(node.shape[0], dtype=torch.float64, device=device)
    error = 0.0
    while isinstance(node.operation, Affine) and len(node.inputs) == 1:
        before = graph.nodes[node.inputs[0]].shape
        if len(A) * math.prod(before) > ENTRIES:
            break
        size = float(A.flatten(1).norm(dim=1).amax()) + error
        rank = math.sqrt(min(math.prod(before), math.prod(node.shape)))
        error = norms[i] * (error + gamma(node.operation.width + math.prod(node.shape) + 64, DOUBLE) * rank * size)
        A = node.operation.transpose(A, [before])[0]
        i = node.inputs[0]
        node = graph.nodes[i]
    A = A.flatten(1)
    apart = torch.cdist(A, A, compute_mode="donot_use_mm_for_euclid_dist") * (1 + gamma(A.shape[1] + 16, DOUBLE))
    apart = apart + 2 * error
    return (apart * reached[i]).clamp(max=math.sqrt(2) * reached[-1] * OUTWARD) * OUTWARD
