"""Plants small faults in the sources, one at a time, and tells which of them no test notices. Run by hand:

    python tests/mutation.py --learn tests/core tests/evaluation --reached reached.json
    python tests/mutation.py core evaluation/measure --count 15 --seed 0 --reached reached.json
    python tests/mutation.py core/norms --count 40 --tests tests/core/test_norms.py tests/attacks

A fault is one changed operator, number, condition or call, or a statement left out. Each is tried in a process of its
own, until a test fails. Which tests: with `--reached`, those that run the line, the cheapest of each file first, as far
as the time allows; otherwise the test files that name the module or what it defines. Work in further processes
(torchrun, the command as a subprocess) sees no fault. What lives is either equal to the original, or a hole. A fault
that makes the tests take several times their time has made a loop endless, and is noticed.
"""

import argparse
import ast
import copy
import importlib.machinery
import os
import random
import re
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from helpers.reached import Only, Reached, learn

ROOT = Path(__file__).parents[1]
ROOMS = {"attacks", "defenses", "cli", "reproduction"}
"""Packages of advkit that lie in the root."""

FILES = 5
"""Test files that are tried."""

COMPARED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
JOINED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "amin": "amax", "amax": "amin", "argmax": "argmin",
         "minimum": "maximum", "maximum": "minimum", "floor": "ceil", "ceil": "floor", "sum": "mean"}  # fmt: skip


def changed(node: ast.AST) -> Iterator[ast.AST]:
    """Every fault that this node can have, as a node in its place."""
    new = copy.deepcopy(node)
    match new:
        case ast.Compare(ops=[op]) if type(op) in COMPARED:
            new.ops = [COMPARED[type(op)]()]
            yield new
        case ast.BinOp(op=op) if type(op) in JOINED:
            new.op = JOINED[type(op)]()
            yield new
        case ast.BoolOp(op=op):
            new.op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield new
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1 if isinstance(value, int) else value * 1.5 + (value == 0))
        case ast.If(test=test) | ast.IfExp(test=test):
            new.test = ast.UnaryOp(ast.Not(), test)
            yield new
        case ast.Call(func=ast.Name(id=name)) if name in NAMES:
            new.func = ast.Name(NAMES[name], ast.Load())
            yield new
        case ast.Call(func=ast.Attribute(attr=name)) if name in NAMES:
            new.func.attr = NAMES[name]
            yield new
        case ast.Call(func=ast.Attribute(attr="where"), args=[first, second, third]):
            new.args = [first, third, second]
            yield new
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            yield ast.Pass()


def places(tree: ast.Module) -> list[tuple[ast.AST, str, int | None, ast.AST]]:
    """(parent, field, index, new node) of every fault in the functions; not in annotations, errors and texts."""
    found: list[tuple[ast.AST, str, int | None, ast.AST]] = []

    def visit(parent: ast.AST, inside: bool) -> None:
        for field, value in ast.iter_fields(parent):
            if field in ("annotation", "returns", "decorator_list", "type_params"):
                continue
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(child, ast.AST) or isinstance(child, ast.Raise | ast.Assert | ast.JoinedStr):
                    continue
                if inside:
                    found.extend((parent, field, index, new) for new in changed(child))
                visit(child, inside or isinstance(child, ast.FunctionDef))

    visit(tree, False)
    return found


def planted(tree: ast.Module, place: tuple[ast.AST, str, int | None, ast.AST]) -> tuple[str, str]:
    """The source with a fault, and the fault in words; the tree is as before afterwards."""
    parent, field, index, new = place
    value = getattr(parent, field)
    old = value if index is None else value[index]
    ast.copy_location(new, old)

    def put(node: ast.AST) -> None:
        if index is None:
            setattr(parent, field, node)
        else:
            value[index] = node

    put(new)
    source = ast.unparse(ast.fix_missing_locations(copy.deepcopy(tree)))
    put(old)
    before, after = (ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).split("\n")[0] for node in (old, new))
    return source, f"{old.lineno}: {before}  ->  {after}"  # type: ignore[attr-defined]


def module_of(path: Path) -> str:
    """`advkit.core.threat` of `advkit/core/threat.py`, `advkit.attacks.pgd` of `attacks/pgd.py`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts if parts[0] == "advkit" else ("advkit", *parts))


def tests_of(path: Path) -> list[str]:
    """The test files of the same room that most often name the module, its folder or what it defines."""
    module = module_of(path)
    inner = module.split(".")[2:] or [path.stem]  # of `core/norms/l2.py`: norms, l2
    modules = [module, module.rpartition(".")[0]][: len(inner)]
    body = ast.parse(path.read_text()).body
    public = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    public = [rf"\b{name}" for name in public if name[0] != "_"]
    words = re.compile("|".join(rf"{name}\b" for name in [*map(re.escape, modules), *public]))
    room = path.relative_to(ROOT).parts[path.relative_to(ROOT).parts[0] == "advkit"].removesuffix(".py")
    own = sorted((ROOT / "tests" / room).glob("test_*.py"))

    def stemmed(file: Path) -> bool:
        return any(part.strip("_") in file.stem for part in inner)

    weights = {file: len(words.findall(file.read_text())) + 100 * stemmed(file) for file in own}
    named = sorted((file for file in own if weights[file]), key=lambda file: -weights[file])
    return [str(file) for file in (named or own)[:FILES]]


class Planted(importlib.machinery.SourceFileLoader):
    """Loads a module from a changed text."""

    text = ""

    def get_code(self, fullname: str) -> object:  # type: ignore[override]
        return compile(self.text, self.path, "exec")


class Finder:
    """Finds one module by `Planted`."""

    def __init__(self, module: str, text: str) -> None:
        self.module, self.text = module, text

    def find_spec(self, name: str, path: object, target: object = None) -> object:
        if name != self.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)  # type: ignore[arg-type]
        assert spec is not None
        assert spec.origin is not None
        spec.loader = Planted(name, spec.origin)
        spec.loader.text = self.text  # type: ignore[attr-defined]
        return spec


def statement(tree: ast.Module, line: int) -> tuple[int, int]:
    """The first and the last line of the smallest simple statement, or of the head of the block, around a line."""
    around = [(line, line)]
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or line):
            body = getattr(node, "body", None)
            last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or line
            if line <= last:
                around.append((node.lineno, last))
    return max(around[1:] or around)


def tests_that_run(reached: Reached, path: Path, tree: ast.Module, line: int, seconds: float) -> tuple[list[str], int]:
    """The tests that run a line and are tried in this time, and how many run it."""
    if not reached.fresh(path):
        return [], 0
    found = reached.tests(path, line, line) or reached.tests(path, *statement(tree, line))
    return reached.within(found, seconds), len(found)


def tried(module: str, text: str, tests: list[str], seconds: int) -> str:
    """Whether it "lives", was "killed" or took longer than the tests can: "time"."""
    child = os.fork()
    if child == 0:
        os.chdir(ROOT)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        sys.meta_path.insert(0, Finder(module, text))  # type: ignore[arg-type]
        import pytest

        named = [Only(tests)] if any("::" in test for test in tests) else []
        files = list(dict.fromkeys(test.split("::")[0] for test in tests))
        options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--assert=plain"]
        os._exit(int(pytest.main([*files, *options], plugins=named)))
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return "time"
    return "lives" if os.WEXITSTATUS(status) in (0, 5) else "killed"  # 5: no test was found


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="*", help="folders or files of advkit, as core or core/threat.py")
    parser.add_argument("--count", type=int, default=15, help="faults in each")
    parser.add_argument(
        "--seed", type=int, help="of the faults (default: 0), or of the order of the tests to learn from"
    )
    parser.add_argument("--seconds", type=int, default=60, help="processor seconds for the tests of a fault")
    parser.add_argument("--tests", nargs="*", help="test files, in place of those that are found")
    parser.add_argument(
        "--only", nargs="*", help="of the faults that are drawn, those whose line has one of these texts"
    )
    parser.add_argument("--learn", nargs="*", metavar="TESTS", help="run these tests, and keep which lines each runs")
    parser.add_argument("--reached", type=Path, help="the file where that is kept")
    return parser.parse_args()


FOREIGN = (
    "numpy", "pytest", "hypothesis", "torch", "torch._dynamo", "torchvision", "scipy.stats", "matplotlib.pyplot",
    "click.testing", "rich.progress", "jinja2", "safetensors.torch", "torch.fx.experimental.proxy_tensor",
)  # fmt: skip
"""What the tests import and no fault is in: imported before the forks, it is paid for once."""


def main() -> None:
    """Plant and tell."""
    asked = options()
    if asked.learn is not None:
        sys.exit(learn(asked.learn, asked.reached, asked.seed))
    reached = Reached.read(asked.reached) if asked.reached else Reached()
    for name in FOREIGN:
        importlib.import_module(name)
    sys.modules["torch"].set_num_threads(1)
    for room in asked.rooms:
        home = ROOT / room if room.split("/")[0] in ROOMS else ROOT / "advkit" / room
        paths = sorted(home.rglob("*.py")) if home.is_dir() else [home]
        trees = {path: ast.parse(path.read_text()) for path in paths}
        faults = [(path, place) for path, tree in trees.items() for place in places(tree)]
        dice, found = random.Random(asked.seed or 0), list[str]()
        chosen = dice.sample(faults, min(asked.count, len(faults)))
        for path, place in chosen:
            text, said = planted(trees[path], place)
            if asked.only and not any(part in f"{path.relative_to(ROOT)}:{said}" for part in asked.only):
                continue
            tests, running = tests_that_run(reached, path, trees[path], int(said.split(":")[0]), asked.seconds)
            tests = asked.tests or tests or tests_of(path)
            begun = time.monotonic()
            outcome = tried(module_of(path), text, tests, 3 * asked.seconds)
            found.append(outcome)
            by = f"{len(tests)} of {running}" if running else "by name"
            print(
                f"{outcome:6} {time.monotonic() - begun:4.0f} s {by:>12}  {path.relative_to(ROOT)}:{said}", flush=True
            )
        noticed, lives = len(found) - found.count("lives"), found.count("lives")
        print(f"{room}: of {len(found)} out of {len(faults):,} faults {noticed} noticed, {lives} not", flush=True)


if __name__ == "__main__":
    main()
