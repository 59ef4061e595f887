"""Which test runs which line: what `tests/mutation.py` chooses its tests by. Needs coverage."""

import hashlib
import json
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import coverage
import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ["advkit", "attacks", "defenses", "cli"]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@dataclass
class Reached:
    """Processor seconds of every test, and the tests that run each line of each file.

    A fixture shared by several tests belongs to each of them. Further processes of a test are not seen.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Reached":
        return cls(**json.loads(path.read_text())) if path.exists() else cls()

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(vars(self)))

    def fresh(self, path: Path) -> bool:
        """Whether the file is as it was when its lines were counted."""
        return self.digests.get(str(path.relative_to(ROOT))) == digest(path)

    def tests(self, path: Path, first: int, last: int) -> list[str]:
        """The tests that run a line between two: those of files that the module's name is in come first.

        Those of a file come from the cheapest on, and the files in turn.
        """
        counted = self.lines.get(str(path.relative_to(ROOT)), {})
        found = set(chain.from_iterable(counted.get(str(line), ()) for line in range(first, last + 1)))
        by_file: dict[str, list[str]] = {}
        for test in sorted(found, key=lambda test: (self.seconds[test], test)):
            by_file.setdefault(test.split("::")[0], []).append(test)
        near = [by_file.pop(file) for file in list(by_file) if is_near(ROOT / file, path)]
        return [*in_turn(near), *in_turn(by_file.values())]

    def within(self, tests: list[str], seconds: float) -> list[str]:
        """The first of the tests that together take no longer than this many processor seconds; at least one."""
        used, chosen = 0.0, list[str]()
        for test in tests:
            if not chosen or used + self.seconds[test] <= seconds:
                chosen.append(test)
                used += self.seconds[test]
        return chosen


def is_near(test: Path, path: Path) -> bool:
    """Whether a test file is named after a module or imports it."""
    imported = rf"\b{path.stem} import |import .*\b{path.stem}\b"
    return path.stem.strip("_") in test.stem or re.search(imported, test.read_text()) is not None


def in_turn(files: Iterable[list[str]]) -> list[str]:
    """The first test of each file, then the second of each."""
    return [test for test in chain.from_iterable(zip_longest(*files)) if test is not None]


class Only:
    """A plugin of pytest that runs these tests and no others, in this order."""

    def __init__(self, tests: list[str]) -> None:
        self.places = {test: place for place, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        files = {test.split("::")[0]: place for test, place in reversed(self.places.items())}
        chosen = [item for item in items if item.nodeid in self.places]
        items[:] = sorted(chosen, key=lambda item: (files[item.nodeid.split("::")[0]], self.places[item.nodeid]))


class Learner:
    """A plugin of pytest that counts which lines each test runs; with a seed, files and tests come in another order."""

    def __init__(self, seed: int | None) -> None:
        self.seed, self.seconds, self.fixtures = seed, dict[str, float](), dict[str, set[str]]()
        self.coverage = coverage.Coverage(
            data_file=None, config_file=False, source=[str(ROOT / s) for s in SOURCES], messages=False
        )

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.seed is not None:
            dice = random.Random(self.seed)
            files = sorted({item.nodeid.split("::")[0] for item in items})
            rank = dict(zip(dice.sample(files, len(files)), range(len(files)), strict=True))
            dice.shuffle(items)
            items.sort(key=lambda item: rank[item.nodeid.split("::")[0]])

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        begun = time.process_time()
        with self.counted(item.nodeid):
            result = yield
        self.seconds[item.nodeid] = time.process_time() - begun
        self.fixtures[item.nodeid] = set(getattr(item, "fixturenames", ()))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        if fixturedef.scope == "function":
            return (yield)
        with self.counted(f"fixture {fixturedef.baseid} {fixturedef.argname}"):
            return (yield)

    @contextmanager
    def counted(self, name: str) -> Iterator[None]:
        before = self.name if hasattr(self, "name") else ""
        self.name = name
        self.coverage.switch_context(name)
        try:
            yield
        finally:
            self.name = before
            self.coverage.switch_context(before)

    def told(self, known: Reached) -> Reached:
        """What is known, and what these tests have shown."""
        data = self.coverage.get_data()
        users: dict[str, list[str]] = {}
        for test, names in self.fixtures.items():
            for name in names:
                users.setdefault(name, []).append(test)

        def tests(context: str) -> list[str]:
            if not context.startswith("fixture "):
                return [context] if context in self.seconds else []
            _, base, name = context.split(" ", 2)
            return [test for test in users.get(name, ()) if test.startswith(base)]

        for measured in data.measured_files():
            path = Path(measured)
            name = str(path.relative_to(ROOT))
            old = known.lines.get(name, {}) if known.fresh(path) else {}
            for line, contexts in data.contexts_by_lineno(measured).items():
                found = set(chain.from_iterable(map(tests, contexts)))
                old[str(line)] = sorted(found.union(old.get(str(line), ())))
            known.lines[name], known.digests[name] = old, digest(path)
        known.seconds |= self.seconds
        return known


def learn(paths: list[str], file: Path, seed: int | None, say: Callable[[str], None] = print) -> int:
    """Run these tests once and add to the file what lines each runs; pytest's exit code."""
    learner = Learner(seed)
    learner.coverage.start()
    code = int(pytest.main([*paths, "-q", "-n", "0", "-p", "no:cacheprovider", "--tb=short"], plugins=[learner]))
    learner.coverage.stop()
    learner.told(Reached.read(file)).write(file)
    say(f"{len(learner.seconds):,} tests, {sum(learner.seconds.values()):.0f} s of processor time, in {file}")
    return code
