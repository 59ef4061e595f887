"""Registries: registration by decorator, look-up by pattern, creation from a name or a spec string.

A spec string is `name` or `name(option=value, ...)`; values are literals, fractions such as `8/255`, words, or nested
specs. It is parsed and never evaluated.
"""

import ast
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import partial
from importlib import import_module
from typing import Any, Generic, TypeVar

from advkit.core.errors import InputError, check_given, unknown
from advkit.core.option_names import NamedOptions, check_option_place, unknown_option
from advkit.core.option_numbers import WORDS, check_kinds, check_name, is_huge, number_in_spec
from advkit.core.words import cause

T = TypeVar("T")
Factory = TypeVar("Factory", bound=Callable[..., Any])
Wrap = TypeVar("Wrap", bound=Callable[..., Any])


@dataclass(frozen=True)
class Spec:
    """A parsed spec string: a name and its options."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


EXAMPLE = "pgd(eps=0.1, steps=9)"
"""The spec that a message shows where the family is not known."""


def parse_spec(text: str, *, example: str = EXAMPLE, parameters: Callable[[str], Iterable[str]] | None = None) -> Spec:
    """`"pgd(eps=8/255, steps=40)"` -> `Spec("pgd", {"eps": 8 / 255, "steps": 40})`.

    An attack of another library has the library's name in front: `"foolbox:LinfPGD(steps=40)"`.

    Args:
        text: the spec string.
        example: spec that an error shows.
        parameters: function that returns the options of a name, for a spec that leaves their names out; the error
            then shows this spec with the names.

    Raises:
        InputError: the text is no spec string, or it gives an option twice.
    """
    library, colon, rest = text.partition(":")
    foreign = bool(colon) and library.strip().isidentifier()
    try:
        spec = _spec((rest if foreign else text).strip())
        return Spec(f"{library.strip()}:{spec.name}", spec.options) if foreign else spec
    except InputError:
        raise
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        shown = _with_names(text, parameters) or example
        expected = f"expected NAME or NAME(option=value, ...), such as {shown!r}"
        several = "; give several apart, not in one text with commas" if _several(text) else ""
        raise InputError(f"cannot read the spec {text!r}: {expected}{several}") from error


def _with_names(text: str, parameters: Callable[[str], Iterable[str]] | None) -> str:
    """The spec with a name for each value that has none; empty where there is no such spec."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if parameters is None or not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            return ""
        free = [name for name in parameters(node.func.id) if name not in {k.arg for k in node.keywords}]
        named = [ast.keyword(name, value) for name, value in zip(free, node.args, strict=False)]
        again = ast.unparse(ast.Call(node.func, [], [*named, *node.keywords])).replace(" / ", "/")
        parse_spec(again)
        return again if len(named) == len(node.args) else ""
    except (InputError, SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return ""


def _several(text: str) -> bool:
    try:
        return isinstance(ast.parse(text.strip(), mode="eval").body, ast.Tuple)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _spec(text: str, node: ast.expr | None = None) -> Spec:
    """What a text says, or a node within it."""
    node = ast.parse(text, mode="eval").body if node is None else node
    if isinstance(node, ast.Name):
        return Spec(node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
        read = partial(_value, text)
        options = {k.arg: number_in_spec(k.arg, k.value, read, text) for k in node.keywords if k.arg is not None}
        names = [k.arg for k in node.keywords]
        if twice := [name for name in options if names.count(name) > 1]:
            raise InputError(f"expected every option once, got {twice[0]}= several times in a spec")
        if len(options) == len(node.keywords):
            return Spec(node.func.id, options)
    raise ValueError("not a spec")


def _value(text: str, node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _value(text, node.left) / _value(text, node.right)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Name):
        check_name(node.operand)
    if isinstance(node, ast.Name):
        check_name(node)
    if isinstance(node, ast.Name) and node.id in WORDS:
        return WORDS[node.id]
    if isinstance(node, ast.Name | ast.Call):
        return _spec(text, node)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
        return ast.unparse(node)  # the name of a layer, such as features.c1
    return ast.literal_eval(node)


class Registry(Generic[T]):
    """The objects of one family, by name.

    Args:
        kind: name of an entry in messages, such as "attack".
        package: the package whose import registers the family; imported at the first look-up.
        example: spec of an entry, for messages.
        values: an example of what an option may be, as a spec writes it, for the options that have no default.
    """

    def __init__(
        self, kind: str, package: str, *, example: str = EXAMPLE, values: Mapping[str, str] | None = None
    ) -> None:
        self.kind, self.package, self.example, self.values = kind, package, example, values or {}
        self._factories: dict[str, Callable[..., T]] = {}
        self._libraries: dict[str, Callable[..., T]] = {}
        self._wraps: dict[str, tuple[int, Callable[[T, Any], T]]] = {}

    def register(self, name: str) -> Callable[[Factory], Factory]:
        """Decorator: `@ATTACKS.register("fgsm")` above a class or a factory."""

        def keep(factory: Factory) -> Factory:
            if name in self._factories:
                raise ValueError(f"{self.kind} {name!r} is registered already")
            self._factories[name] = factory
            return factory

        return keep

    def library(self, prefix: str) -> Callable[[Factory], Factory]:
        """Decorator: `@ATTACKS.library("foolbox")` above a function (name, **options) -> entry, for that library's."""

        def keep(make: Factory) -> Factory:
            self._libraries[prefix] = make
            return make

        return keep

    def wrapper(self, option: str, *, rank: int) -> Callable[[Wrap], Wrap]:
        """Decorator: `@ATTACKS.wrapper("restarts", rank=2)` above a function (entry, value) -> entry.

        The option works for every entry that does not define it itself: the entry is created and then wrapped. If a
        spec names several wrappers, the one of the lowest rank is the innermost.
        """

        def keep(wrap: Wrap) -> Wrap:
            self._wraps[option] = rank, wrap
            return wrap

        return keep

    @property
    def wrappers(self) -> dict[str, Callable[[T, Any], T]]:
        """The wrappers by option, the innermost first."""
        ordered = sorted(self._wraps.items(), key=lambda item: (item[1][0], item[0]))
        return {option: wrap for option, (_, wrap) in ordered}

    def names(self, pattern: str = "*") -> list[str]:
        """Return the registered names that match a shell pattern, in alphabetical order."""
        check_given("pattern", pattern, str, "text such as 'p*'")
        import_module(self.package)
        return sorted(name for name in self._factories if fnmatch(name, pattern))

    def factory(self, name: str) -> Callable[..., T]:
        """Return the class or function registered under `name`.

        Raises:
            UnknownNameError: there is no such name; the message suggests the nearest.
        """
        check_given(self.kind, name, str, "a name")
        library, colon, inside = name.partition(":")
        if colon:
            import_module(self.package)
            if library not in self._libraries:
                raise unknown(f"library of {self.kind}s", library, self._libraries)
            return partial(self._libraries[library], inside)
        if name not in self.names():
            raise unknown(self.kind, name, self._factories)
        return self._factories[name]

    def read(self, text: str) -> Spec:
        """Return the parsed spec of an entry; an error shows an example of this family.

        Args:
            text: name or spec of an entry.

        Raises:
            InputError: the text is no spec string, or it gives an option twice.
        """
        return parse_spec(text, example=self.example, parameters=self._parameters)

    def _parameters(self, name: str) -> Iterable[str]:
        parameters = inspect.signature(self.factory(name)).parameters
        positional = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        return positional or [option for option in ("eps",) if option in parameters]

    def create(self, spec: str | Spec, **options: Any) -> T:
        """Build an entry from its name or spec; `options` override those of the spec.

        Raises:
            InputError: the name or an option is unknown, or the entry refuses a value.
        """
        if not isinstance(spec, str | Spec):
            raise InputError(f"expected {self.kind} as a name or a spec, got {type(spec).__name__}")
        spec = self.read(spec) if isinstance(spec, str) else spec
        factory = self.factory(spec.name)
        options = {name: self._option(value) for name, value in {**spec.options, **options}.items()}
        own = inspect.signature(factory).parameters
        around = {name: options.pop(name) for name in self.wrappers if name in options and name not in own}
        self.check_options(spec.name, factory, options)
        entry = self._made(spec.name, factory, options)
        for name, value in around.items():
            entry = self.wrappers[name](entry, value)
        return entry

    def _made(self, name: str, factory: Callable[..., T], options: dict[str, Any]) -> T:
        """The entry; a number that it refuses in its own words, or takes though it is none, is the caller's mistake."""
        numbers = [o for o, value in options.items() if isinstance(value, int | float) and not isinstance(value, bool)]
        try:
            check_kinds(f"{self.kind} {name!r}", factory, {o: v for o, v in options.items() if is_huge(v)})
            entry = factory(**options)
        except InputError:
            raise
        except (AttributeError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            check_kinds(f"{self.kind} {name!r}", factory, options)
            if not numbers:
                raise
            raise InputError(
                f"{self.kind} {name!r} refuses its options ({', '.join(numbers)}): {cause(error)}"
            ) from error
        check_kinds(f"{self.kind} {name!r}", factory, options)
        return entry

    def _option(self, value: Any) -> Any:
        """A word without brackets is a word; with options it is an entry of its own."""
        if not isinstance(value, Spec):
            return value
        return self.create(value) if value.options else value.name

    def check_options(self, name: str, factory: Callable[..., T], options: dict[str, Any]) -> None:
        """Raise an error for an option that the factory does not take, or for one that it needs and did not get."""
        parameters = inspect.signature(factory).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            for option in options:
                if option not in parameters:
                    if isinstance(factory, type) and issubclass(factory, NamedOptions):
                        check_option_place(option, options[option], factory, None, "")
                    raise unknown_option(f"option of {self.kind} {name!r}", option, [*parameters, *self.wrappers])
        required = (
            p for p in parameters.values() if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        )
        for parameter in required:
            if parameter.name not in options:
                value = self.values.get(parameter.name, "...")
                raise InputError(
                    f"{self.kind} {name!r} needs {parameter.name}=: give it, as in '{name}({parameter.name}={value})'"
                )
