"""The house: which layer may import which, and what is written in one place only. Read from the sources."""

import ast
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest

import advkit

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "advkit": "advkit",
    "advkit.attacks": "attacks",
    "advkit.defenses": "defenses",
    "advkit.reproduction": "reproduction",
    "advkit.cli": "cli",
}
LAYERS = {
    "core": 0,
    "goals": 1,
    "_version": 0,
    "models": 1,
    "data": 1,
    "certification": 1,
    "evaluation": 2,
    "insight": 3,
    "figures": 4,
    "training": 2,
    "attacks": 3,
    "defenses": 4,
    "reproduction": 5,
    "cli": 6,
    "testing": 5,
}
EXCEPTIONS = {"advkit.__main__", "advkit"}
"""`python -m advkit` is the command line; the package itself is the lazy table of its public names.

The third, the registry, names no package: it imports the one it is given.
"""


def sources() -> list[tuple[str, Path]]:
    """(module, file) of everything that ships."""
    found = []
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            inner = path.relative_to(ROOT / folder).with_suffix("").parts
            found.append((".".join([package, *(part for part in inner if part != "__init__")]), path))
    return found


SOURCES = sources()
NAMES = [module for module, _ in SOURCES]


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text())


def over(files: list[tuple[str, Path]]) -> Callable[[Callable[[str, Path], None]], Callable[[], None]]:
    """Make a rule about one file a test of all these files, which names every file that breaks the rule."""

    def test_of(rule: Callable[[str, Path], None]) -> Callable[[], None]:
        def test() -> None:
            assert files
            broken = []
            for module, path in files:
                try:
                    rule(module, path)
                except AssertionError as error:
                    broken.append(f"{module}: {error}")
            assert not broken, "\n".join(broken)

        test.__name__, test.__doc__ = rule.__name__, rule.__doc__
        return test

    return test_of


def imports(tree: ast.AST) -> Iterator[tuple[str, int, int]]:
    """(module, relative level, line) of every import, `import_module("...")` included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level, node.lineno
            if node.module == "advkit":
                yield from ((f"advkit.{alias.name}", 0, node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value), 0, node.lineno


def dynamic_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Whole strings that name a package of ours: tables for a later import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("advkit."):
            head = node.value.split(".")[1]
            if head in LAYERS and all(part.isidentifier() for part in node.value.split(".")):
                yield node.value, node.lineno


def layer(module: str) -> int | None:
    parts = module.split(".")
    if parts[0] != "advkit" or len(parts) < 2:
        return None
    return LAYERS.get(parts[1])


def family(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_a_rule_names_every_file_that_breaks_it() -> None:
    @over(SOURCES[:3])
    def rule(module: str, path: Path) -> None:
        assert module == NAMES[1], path.name

    with pytest.raises(AssertionError, match=rf"{NAMES[0]}: (?s:.*){NAMES[2]}: "):
        rule()


@over(SOURCES)
def test_imports_point_downwards_only(module: str, path: Path) -> None:
    if module in EXCEPTIONS:
        return
    own = layer(module)
    assert own is not None, f"{module} belongs to no layer: add it to LAYERS"
    tree = parsed(path)
    for name, level, line in imports(tree):
        assert level == 0, f"{path.name}:{line}: relative import"
        assert name.split(".")[0] not in ("attacks", "defenses", "reproduction", "cli"), (
            f"{path.name}:{line}: {name}, not advkit.{name}"
        )
        other = layer(name)
        if other is not None and family(name) != family(module):
            assert other < own, f"{path.name}:{line}: layer {own} imports {name} of layer {other}"


@over([*SOURCES, *((path.stem, path) for path in sorted((ROOT / "tests").glob("*/*.py")))])
def test_every_import_of_ours_names_a_file(module: str, path: Path) -> None:
    """A file that was renamed while another was written is found here, without an import of either."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom | ast.Import):
            for alias in node.names:
                name = alias.name if isinstance(node, ast.Import) else node.module or ""
                if name.startswith("advkit."):
                    assert name in NAMES, f"{path.name}:{node.lineno}: {name}"


ROOMS = {"measure": 0, "runs": 1, "show": 2}
"""The rooms of the evaluation: what is counted, what is kept of it in a folder, what is shown of that."""


def room(module: str) -> int:
    """The floor of a room in the evaluation; what lies beside the rooms is above all."""
    return ROOMS.get([*module.split("."), ""][2], len(ROOMS))


@over([s for s in SOURCES if s[0].startswith("advkit.evaluation.")])
def test_the_rooms_of_the_evaluation_stand_above_each_other(module: str, path: Path) -> None:
    for name, _, line in imports(parsed(path)):
        if name.startswith("advkit.evaluation."):
            assert room(name) <= room(module), f"{path.name}:{line}: {name}"


def attack_room(module: str) -> str:
    """`parts` and `around`, or the paper: a file, or a folder where it has several."""
    return [*module.split("."), "", ""][2]


ATTACK_FILES = [s for s in SOURCES if s[0].startswith("advkit.attacks.")]
SHARED_ROOMS = {"parts": {"parts"}, "around": {"parts", "around"}}
"""What the rooms of the attacks that are no papers may import of the attacks."""


@over([(path.stem, path) for path in sorted((ROOT / "attacks").glob("*.py"))])
def test_the_files_of_the_attacks_are_papers(module: str, path: Path) -> None:
    if path.name != "__init__.py":
        classes = [node for node in parsed(path).body if isinstance(node, ast.ClassDef)]
        calls = [d for c in classes for d in c.decorator_list if isinstance(d, ast.Call)]
        assert [getattr(d.func, "id", "") for d in calls].count("register_attack") == 1, f"{path.name} is no attack"
        assert "arXiv" in (ast.get_docstring(parsed(path)) or ""), f"{path.name} names no paper"


@over([s for s in ATTACK_FILES if attack_room(s[0]) in SHARED_ROOMS])
def test_wrappers_and_shared_parts_import_no_paper(module: str, path: Path) -> None:
    for name in needed(module, path):
        if name.startswith("advkit.attacks."):
            assert attack_room(name) in SHARED_ROOMS[attack_room(module)], f"{path.name}: {name}"


def test_every_part_is_shared() -> None:
    """A part serves two papers or wrappers at least; what serves one lies in its folder."""
    clients: dict[str, set[str]] = {m: set() for m, p in ATTACK_FILES if ".parts." in m}
    for module, path in ATTACK_FILES:
        for name in clients.keys() & set(needed(module, path)):
            clients[name].add(module if attack_room(module) in SHARED_ROOMS else attack_room(module))
    assert [part for part, users in clients.items() if len(users) < 2] == []


def test_no_circle_between_files() -> None:
    graph = {module: {name for name in needed(module, path) if name != module} for module, path in SOURCES}
    cycles = [group for group in strongly_connected(graph) if len(group) > 1]
    assert cycles == []


def needed(module: str, path: Path) -> Iterator[str]:
    """The files of ours that a file imports, also within functions; a package that a file of its own asks is left out.

    `from advkit.x import y` is an import of `advkit.x.y` where that is a file.
    """
    for node in ast.walk(parsed(path)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [part if part in NAMES else node.module or "" for part in parts]
        yield from (name for name in names if name in NAMES and not module.startswith(f"{name}."))


def strongly_connected(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of files that reach each other."""
    reach = {node: reachable(graph, node) for node in graph}
    groups = {frozenset(other for other in reach[node] if node in reach[other]) | {node} for node in graph}
    return [sorted(group) for group in groups]


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    found, open_ = set(), [start]
    while open_:
        fresh = graph.get(open_.pop(), set()) - found
        found |= fresh
        open_ += fresh
    return found


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert [group for group in strongly_connected(graph) if len(group) > 1] == [["a", "b", "c"]]


TWICE = {"goals": "advkit.goals is the public door of core.goals", "registry": "every family may have its own"}
"""File names that stand more than once, with the reason."""


def test_a_file_name_stands_once() -> None:
    """But for the commands, called as what they run, and entries of two families that are registered under one name."""
    stems: dict[str, list[str]] = {}
    for module, path in SOURCES:
        if path.stem not in ("__init__", "__main__") and ".cli." not in module:
            stems.setdefault(path.stem.lstrip("_"), []).append(module)
    entries = {stem for stem, modules in stems.items() if all(f'("{stem}")' in text(m) for m in modules)}
    twice = {stem: modules for stem, modules in stems.items() if len(modules) > 1 and stem not in entries}
    assert {stem: modules for stem, modules in twice.items() if stem not in TWICE} == {}
    assert set(twice) == set(TWICE), "a name in TWICE stands once: take it out"


def text(module: str) -> str:
    return dict(SOURCES)[module].read_text()


@over([s for s in SOURCES if layer(s[0]) is not None])
def test_names_for_dynamic_imports_point_downwards_too(module: str, path: Path) -> None:
    own = layer(module)
    assert own is not None
    for name, line in dynamic_names(parsed(path)):
        other = layer(name)
        if family(name) == family(module) or (module.startswith("advkit.core") and is_registry_argument(path, line)):
            continue
        assert other is not None
        assert other < own, f"{path.name}:{line}: {name!r} of layer {other} in layer {own}"


def is_registry_argument(path: Path, line: int) -> bool:
    """The exception of the design: a registry of core is told the package that fills it."""
    return "Registry" in path.read_text().splitlines()[line - 1]


def test_every_folder_is_in_a_layer() -> None:
    folders = {p.name for p in (ROOT / "advkit").iterdir() if (p / "__init__.py").exists()}
    assert folders <= LAYERS.keys()


HOUSE_WIDE = {
    "mutation",
    "conftest",
    "test_house",
    "test_howto",
    "test_links",
    "test_other_libraries",
    "test_pages",
    "test_readme",
    "test_reference_pages",
    "test_shell_blocks",
    "test_visible",
    "test_contributing",
    "test_docstrings",
    "test_project",
    "test_public_names",
}


def test_the_folders_of_the_tests_mirror_the_house() -> None:
    tests = ROOT / "tests"
    rooms = {path.name for path in tests.iterdir() if path.is_dir() and list(path.glob("test_*.py"))}
    assert rooms - {"outsider"} <= LAYERS.keys()  # a project of its own, which a test runs
    assert {path.stem for path in tests.glob("*.py")} == HOUSE_WIDE


CLOCKS = {
    "evaluation/test_runs_cannot_lie.py": "one of two processes sleeps to be slower; no figure depends on it",
    "training/test_resume.py": "a parent looks for a file of its child, which waits to be killed",
    "mutation.py": "a tool that is run by hand",
    "helpers/reached.py": "part of that tool",
}
MACHINE = {"time", "psutil", "socket"}
ASKED = {"getrusage", "getloadavg", "cpu_count", "VmHWM", "default_rng()", "random.Random()"}


@over([(str(path.relative_to(ROOT / "tests")), path) for path in sorted((ROOT / "tests").rglob("*.py"))])
def test_no_test_asks_for_the_time_or_the_machine(module: str, path: Path) -> None:
    """What looks at a clock, a load or the memory of the machine is a benchmark; see CONTRIBUTING."""
    imported = {name.split(".")[0] for node in ast.walk(parsed(path)) for name in names_of(node)}
    text = path.read_text() if path != Path(__file__) else ""
    assert module in CLOCKS or not (imported & MACHINE or [word for word in ASKED if word in text])


def names_of(node: ast.AST) -> list[str]:
    """The modules that an import names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


def test_nothing_installs_a_top_level_package_of_a_common_name() -> None:
    installed = [d for d in distributions(name="advkit") if d.read_text("RECORD")]  # no egg-info of a build
    assert installed
    files = [file for found in installed for file in found.files or []]
    tops = {str(f).split("/")[0] for f in files if "dist-info" not in str(f) and str(f).endswith(".py")}
    assert tops.isdisjoint({"attacks", "defenses", "reproduction", "cli", "tests"})
    for name in ("attacks", "defenses", "reproduction", "cli"):
        assert "advkit" not in packages_distributions().get(name, [])


def test_the_packages_live_where_the_design_draws_them() -> None:
    if not Path(advkit.__file__).resolve().is_relative_to(ROOT):
        pytest.skip("an installed wheel is tested")
    from advkit import attacks, cli, defenses, reproduction

    for package in (attacks, defenses, reproduction, cli):
        folder = package.__name__.rpartition(".")[2]
        assert Path(package.__file__ or "").resolve().parent == ROOT / folder


def compares(tree: ast.AST, words: set[str]) -> Iterator[int]:
    """Lines of `if` tests and conditional expressions that compare something called by one of these words."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp | ast.While):
            for inner in ast.walk(node.test):
                if isinstance(inner, ast.Compare):
                    sides = [inner.left, *inner.comparators]
                    names = {getattr(s, "id", getattr(s, "attr", None)) for s in sides}
                    texts = any(isinstance(s, ast.Constant) and isinstance(s.value, str) for s in sides)
                    if names & words and texts:
                        yield inner.lineno
        elif isinstance(node, ast.Match) and getattr(node.subject, "attr", getattr(node.subject, "id", "")) in words:
            yield node.lineno


NUMERICS = [
    s
    for s in SOURCES
    if s[0].startswith(
        ("advkit.core", "advkit.attacks", "advkit.defenses", "advkit.evaluation", "advkit.certification")
    )
]


@over(NUMERICS)
def test_no_norm_is_asked_for_by_name_outside_norms(module: str, path: Path) -> None:
    if not module.startswith("advkit.core.norms"):
        assert list(compares(parsed(path), {"norm", "p", "ord"})) == []


@over(NUMERICS)
def test_nobody_asks_whether_a_goal_is_targeted_outside_goals(module: str, path: Path) -> None:
    if module == "advkit.core.goals":
        return
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.If | ast.IfExp):
            words = {getattr(n, "id", getattr(n, "attr", "")) for n in ast.walk(node.test)}
            assert not words & {"targeted", "untargeted", "is_targeted", "sign"}, f"{path.name}:{node.lineno}"


MAY_GUARD = {"advkit.core.classify", "advkit.core.driver", "advkit.core.guard"}


@over(SOURCES)
def test_only_classify_and_the_driver_enter_guard(module: str, path: Path) -> None:
    """Everyone else looks at a model through `classify`, or through `looking` for several passes."""
    if module not in MAY_GUARD:
        words = {getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(parsed(path))}
        names = {
            alias.name for node in ast.walk(parsed(path)) if isinstance(node, ast.ImportFrom) for alias in node.names
        }
        assert "guard" not in words | names


LIBRARY = [s for s in SOURCES if not s[0].startswith("advkit.cli")]


@over(LIBRARY)
def test_the_library_prints_nothing(module: str, path: Path) -> None:
    calls = (n for n in ast.walk(parsed(path)) if isinstance(n, ast.Call))
    assert [c.lineno for c in calls if getattr(c.func, "id", "") in ("print", "breakpoint")] == []


@over(SOURCES)
def test_every_file_begins_with_a_sentence(module: str, path: Path) -> None:
    text = ast.get_docstring(parsed(path))
    assert text is not None, f"{path} has no header"
    assert text.splitlines()[0].rstrip().endswith((".", ":", ";", ",")) or len(text.splitlines()) > 1


ATTACKS = [s for s in SOURCES if s[0].startswith("advkit.attacks.") and not s[0].split(".")[-1].startswith("_")]


@over(ATTACKS)
def test_attacks_leave_the_loop_over_steps_to_the_driver(module: str, path: Path) -> None:
    tree = parsed(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in ("init", "step"):
            loops = [n.lineno for n in ast.walk(node) if isinstance(n, ast.For | ast.While)]
            assert loops == [], f"{path.name}: a loop in {node.name}"
