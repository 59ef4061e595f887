"""A network as a list of nodes, traced by torch.fx at the level of tensor operations, so that any module works."""

import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, fields, replace
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from advkit.certification.curves import Curve
from advkit.certification.elementary import Power, Product
from advkit.certification.linear import Affine, Move, Reshape
from advkit.certification.relu_and_pooling import Maximum
from advkit.core.classify import looking
from advkit.core.door import check_batch
from advkit.core.errors import InputError
from advkit.core.guard import modules_of
from advkit.core.knowledge import check_open
from advkit.core.model_checks import check_place
from advkit.core.outputs import answer_of
from advkit.core.steady import EXPORTED
from advkit.core.words import cause

BATCH = 2
"""Images in the traced call: the batch has to come out as it went in, which one image would not show."""


ENTRIES = 2**25
"""Numbers in all nodes of the samples that are bounded at once; there are about three bounds of each, in float64."""

RULES: dict[str, Callable[["Call"], Any]] = {}
"""What becomes of an operation, by its name; advkit.certification.rules fills it."""


@dataclass(frozen=True)
class Input:
    """The image."""


Operation = Input | Affine | Maximum | Curve | Product | Power


@dataclass(frozen=True)
class Node:
    """One operation on earlier nodes.

    Args:
        operation: the operation.
        inputs: places of its input nodes in the list.
        shape: (*out) of one sample.
        layer: path and class of the module that holds it; empty outside of any.
    """

    operation: Operation
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    layer: tuple[str, str] = ("", "")


@dataclass
class Graph:
    """The nodes in topological order; the first is the image, the last the logits.

    Args:
        nodes: the list.
        dtype: type of the network's own arithmetic.
    """

    nodes: list[Node] = field(default_factory=list)
    dtype: torch.dtype = torch.float32

    def add(self, operation: Operation, inputs: tuple[int, ...], shape: tuple[int, ...]) -> "Ref":
        """Append a node; that of a single number for each image, of shape (), gets the shape (1,)."""
        if not shape and isinstance(operation, Reshape):
            operation = replace(operation, shape=(1,))
        elif not shape and isinstance(operation, Maximum | Curve):
            operation = replace(operation, windows=replace(operation.windows, shape=(1,)))
        self.nodes.append(Node(operation, inputs, shape or (1,)))
        return Ref(len(self.nodes) - 1, shape)

    def cast(self, dtype: torch.dtype) -> "Graph":
        """The same network with its constants in another type.

        Args:
            dtype: a floating-point type.
        """

        def constants(operation: Operation) -> Operation:
            values = {f.name: getattr(operation, f.name) for f in fields(operation)}
            kept: Any = {k: v.to(dtype) for k, v in values.items() if isinstance(v, Tensor) and v.is_floating_point()}
            return replace(operation, **kept)

        return Graph([replace(node, operation=constants(node.operation)) for node in self.nodes], self.dtype)

    def at_once(self, most: int) -> int:
        """Return how many samples' bounds of all nodes are in memory at once, from 1 to `most`.

        Args:
            most: number of samples for small networks.
        """
        return max(1, min(most, ENTRIES // max(1, sum(math.prod(node.shape) for node in self.nodes))))

    @property
    def bends(self) -> list[int]:
        """Places of the nonlinear nodes, whose lines depend on bounds."""
        return [i for i, node in enumerate(self.nodes) if isinstance(node.operation, Maximum | Curve)]

    @property
    def fronts(self) -> list[int]:
        """Places of the nodes that bends look at."""
        return sorted({i for bend in self.bends for i in self.nodes[bend].inputs})

    @property
    def closed(self) -> list[str]:
        """The nodes through which no linear bound passes."""
        return [n.operation.name for n in self.nodes if isinstance(n.operation, Product | Power)]


class Ref(NamedTuple):
    """A value that depends on the image: its node, and the shape of one sample in the network, which may be ()."""

    place: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Tracing:
    """A network recorded by torch.fx; the parameters are read at each `graph()`.

    Args:
        module: the recorded operations.
        shape: (*in) of one image.
        dtype: type of the network's arithmetic.
    """

    module: fx.GraphModule
    shape: tuple[int, ...]
    dtype: torch.dtype

    def graph(self, *, double: bool = True) -> Graph:
        """Return the network with its current parameters.

        Args:
            double: whether to carry all constants in float64. Values that the network computes from parameters only are
                computed in its own type first, as the network does.

        Raises:
            InputError: no bound is known for a layer, which the message names.
        """
        graph = Graph(dtype=self.dtype)
        known: dict[fx.Node, Any] = {}
        for node in self.module.graph.nodes:
            if node.op == "placeholder":
                known[node] = graph.add(Input(), (), self.shape)
            elif node.op == "get_attr":
                value = operator.attrgetter(str(node.target))(self.module)
                known[node] = value if double or value.requires_grad else value.clone()  # training moves buffers
            elif node.op == "output":
                out = fx.node.map_arg(node.args[0], lambda n: known[n])
                return _finished(graph, out)
            else:
                known[node] = _evaluate(graph, node, known, RULES, double)
        raise AssertionError("a graph ends with its output")


def _evaluate(graph: Graph, node: fx.Node, known: dict[fx.Node, Any], rules: dict[str, Any], double: bool) -> Any:
    """A constant, or a new node."""
    args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), lambda n: known[n])
    if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
        more = "; F.dropout needs training=self.training" if "bernoulli" in str(node.target) else ""
        raise InputError(
            f"the model draws random numbers ({node.target}), {_layer(node)}: no single network is certified{more}"
        )
    if not any(isinstance(known[n], Ref) for n in node.all_input_nodes):
        return node.target(*args, **kwargs)  # type: ignore[operator]
    name = _name(node.target)
    if name not in rules:
        more = ADVICE.get(name, ANY)
        raise InputError(f"no bound is known of {name}, {_layer(node)}: {more}")
    meta = node.meta.get("tensor_meta")
    shape = tuple(meta.shape) if meta is not None and hasattr(meta, "shape") else None
    call = Call(graph, node.target, args, kwargs, shape, double, _layer(node))
    first = len(graph.nodes)
    try:
        made = rules[name](call)
    except InputError:
        raise
    except Exception as error:
        raise call.refusal(f"is used in a form that is not known ({cause(error)})") from error
    if any(0 in n.shape and isinstance(n.operation, Maximum | Curve) for n in graph.nodes[first:]):
        raise call.refusal("has no entries")
    graph.nodes[first:] = [replace(n, layer=_module(node)) for n in graph.nodes[first:]]
    return made


def _name(target: Any) -> str:
    return str(target).removeprefix("aten.").partition(".")[0]


COVERED = "Linear layers and products with a matrix are covered on images flattened to (N, D), and convolutions"
JOINED = f", or joins another axis to theirs, as a layer on (N, T, C), matmul and einsum do. {COVERED}"
MOVED = ", or moves their axis to another place, as attention does"
PERMUTE = ("t", "transpose", "permute", "t_copy", "transpose_copy", "permute_copy")
LOGITS = "certify the network that gives its logits, if it is the last step; no network with attention is covered"
WRITES = "entries are written into a tensor, as by an assignment or by circular padding; certify the network without it"
ANY = "certify the network without it, or under noise: advkit.defenses.Smoothed and --method smoothing take any network"
ADVICE = {
    "bmm": f"certify the network without it; matmul and einsum are recorded as it. {COVERED}",
    **dict.fromkeys(("_softmax", "_log_softmax", "softmax", "log_softmax"), LOGITS),
    **dict.fromkeys(
        ("new_empty", "fill", "copy", "index_put", "index_fill", "slice_scatter", "select_scatter"), WRITES
    ),
}
"""What to do about operations without a rule."""


@dataclass
class Call:
    """One recorded operation, which a rule converts to nodes."""

    graph: Graph
    target: Any
    args: Any
    kwargs: dict[str, Any]
    batch_shape: tuple[int, ...] | None
    double: bool
    layer: str

    @property
    def shape(self) -> tuple[int, ...]:
        """(*out) of one sample.

        Raises:
            InputError: the first axis of the result is not the batch.
        """
        assert self.batch_shape is not None
        if not self.batch_shape or self.batch_shape[0] != BATCH:
            why = JOINED if "view" in self.name else MOVED if self.name in PERMUTE else ""
            raise self.refusal("mixes the images of a batch" + why)
        return self.batch_shape[1:]

    @property
    def name(self) -> str:
        """Name of the operation, without its library and its form."""
        return _name(self.target)

    def refusal(self, why: str) -> InputError:
        """Return the error for a layer without a known bound."""
        return InputError(f"no bound is known of {self.name}, {self.layer}: it {why}")

    def constant(self, value: Any) -> Tensor:
        """Return a constant without its batch axis, in the type of the bounds."""
        t = torch.as_tensor(value, dtype=torch.float64 if self.double else None)  # a Python float has all its digits
        if self.batch_shape is not None and t.ndim == len(self.batch_shape):
            if t.shape[0] != 1:
                raise self.refusal("has constants that differ by image")
            t = t[0]
        return t

    def add(self, operation: Operation, *inputs: Ref, shape: tuple[int, ...] | None = None) -> Ref:
        """Append a node."""
        shape = self.shape if shape is None else shape
        if isinstance(operation, Move) and not all((*(i.shape for i in inputs), shape)):
            operation = replace(operation, run=_on_numbers(operation.run, [i.shape for i in inputs], shape))
        return self.graph.add(operation, tuple(i.place for i in inputs), shape)


def _on_numbers(
    run: Callable[..., Tensor], before: list[tuple[int, ...]], after: tuple[int, ...]
) -> Callable[..., Tensor]:
    """The operation on nodes (B, 1), where it takes or gives single numbers (B,)."""

    def on(*inputs: Tensor) -> Tensor:
        out = run(*(z if shape else z.squeeze(1) for z, shape in zip(inputs, before, strict=True)))
        return out if after else out.unsqueeze(1)

    return on


def _module(node: fx.Node) -> tuple[str, str]:
    """Path and class of the module that holds the operation."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return "", ""
    path, kind = list(stack.values())[-1]
    return path, str(getattr(kind, "__name__", kind)).rpartition(".")[2]


def _layer(node: fx.Node) -> str:
    """Place of the operation in the network, in words."""
    path, kind = _module(node)
    return f"in {path or 'the network'} ({kind})" if kind else "a layer of the network"


def _finished(graph: Graph, out: Any) -> Graph:
    if not isinstance(out, Ref):
        raise InputError("expected logits that depend on the image, got a constant: does the model use its input?")
    if len(out.shape) != 1 or out.shape[0] < 2:
        raise InputError(f"expected logits (N, K) with K >= 2 classes, got (N, {', '.join(map(str, out.shape))})")
    kept = _needed(graph, out.place)
    place = {old: new for new, old in enumerate(kept)}
    nodes = [graph.nodes[i] for i in kept]
    return Graph([replace(n, inputs=tuple(place[i] for i in n.inputs)) for n in nodes], graph.dtype)


def _needed(graph: Graph, last: int) -> list[int]:
    needed = {0, last}
    for i in range(last, -1, -1):
        if i in needed:
            needed.update(graph.nodes[i].inputs)
    return sorted(needed)


BRANCHES = "it reads a number that depends on the image, as `if`, float() and item() do"

EXITS = ("numpy", "__array__", "__dlpack__", "data_ptr", "untyped_storage", "storage", "__reduce_ex__")
"""Methods that hand out the memory of a tensor. While the model is recorded an image has none: it would be read raw."""


class _Inside(TorchFunctionMode):
    """Refuses what depends on the image and leaves torch. Instance norm by running statistics is batch norm by them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in EXITS and args and torch._is_functional_tensor(args[0]):
            raise InputError(
                f"the model cannot be traced, so it cannot be certified (it leaves torch by Tensor.{name}, where no "
                "bound follows)"
            )
        if func is F.instance_norm:
            given = signature(F.instance_norm).bind(*args, **(kwargs or {}))
            given.apply_defaults()
            own = dict(given.arguments)
            if own.pop("use_input_stats"):
                raise InputError(f"no bound is known of instance_norm, which divides by what the image decides: {ANY}")
            return F.batch_norm(**own)
        return func(*args, **(kwargs or {}))


@contextmanager
def _without_stacks() -> Iterator[None]:
    """Record no stack of Python calls with an operation, where torch leaves the choice: a quarter of the time."""
    config: Any = getattr(fx, "config", None)
    if not (before := getattr(config, "do_not_emit_stack_traces", True)):
        config.do_not_emit_stack_traces = True
    try:
        yield
    finally:
        if not before:
            config.do_not_emit_stack_traces = before


@contextmanager
def _one_shape_mode() -> Iterator[None]:
    """Find the shapes of all operations by one of torch's fake modes: it makes one for each otherwise, a third."""
    try:
        from torch._guards import TracingContext, tracing
        from torch._subclasses.fake_tensor import FakeTensorMode

        context: Any = tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True)))
    except (ImportError, AttributeError, TypeError):  # not public: another version may have none
        context = nullcontext()
    with context:
        yield


def _recorded(model: Callable[[Tensor], Tensor], probe: Tensor) -> fx.GraphModule:
    """The operations, with the module that holds each where torch can tell."""
    if isinstance(model, nn.Module):
        named: Any = torch.func.functionalize(lambda z: answer_of(model(z)))
        named._orig_mod = model  # make_fx records paths of modules from here
        with suppress(Exception):  # such as modules that are no submodules: without names, then
            return make_fx(named, record_module_stack=True)(probe)
    return make_fx(torch.func.functionalize(lambda z: answer_of(model(z))))(probe)


def _check_eager(model: Callable[[Tensor], Tensor]) -> None:
    """Compiled code may compute otherwise, such as by weights that were merged, and its rounding is not bounded.

    Raises:
        InputError: the model, or a module in it, is compiled.
    """
    parts: list[Any] = [model, *modules_of(model)]
    if any(hasattr(part, mark) for part in parts for mark in ("_orig_mod", "_torchdynamo_orig_callable")):
        raise InputError(
            "the model is compiled, so it cannot be certified: give what torch.compile took (model._orig_mod if that "
            "was a module)"
        )
    if any(getattr(part, "_compiled_call_impl", None) is not None for part in parts):
        raise InputError(
            "the model is compiled, so it cannot be certified: give a copy of it on which compile() was not called"
        )


def trace(model: Callable[[Tensor], Tensor], x: Tensor) -> Tracing:
    """Record the model's operations on a batch of images of x's shape.

    The model is taken in eval mode and left as it was.

    Args:
        model: an `nn.Module` or a function from images to logits (N, K).
        x: images (N, ...); only shape, type and device are used.

    Raises:
        InputError: the images are no floating-point tensor; the model branches on the values of the image, does not
            return one tensor, shows scores or labels only, is compiled, or has another type than the images.
    """
    check_batch(x)
    if getattr(model, "certifies_itself", False):
        raise InputError(f"{type(model).__name__} has a certificate of its own, under noise: model.certify(x)")
    check_open(model, "certificates and bounds")
    _check_eager(model)
    probe = torch.zeros(BATCH, *x.shape[1:], dtype=x.dtype, device=x.device)
    with looking(model, x.device), _Inside(), _without_stacks(), _one_shape_mode():
        try:
            module = _recorded(model, probe)
        except InputError:
            raise
        except Exception as error:
            check_place(model, x)
            if str(error).startswith(EXPORTED):
                raise InputError(
                    "the model was exported for one size of batch, so it cannot be certified: export it with "
                    "dynamic_shapes, or certify the module that was exported"
                ) from error
            said = BRANCHES if "value out of a tracing tensor" in str(error) else cause(error)
            advice = "; a single image needs the axis of the batch: x[None]" if x.ndim == 3 else ""
            raise InputError(f"the model cannot be traced, so it cannot be certified ({said}){advice}") from error
    module.graph.eliminate_dead_code()
    return Tracing(module, tuple(x.shape[1:]), x.dtype)
