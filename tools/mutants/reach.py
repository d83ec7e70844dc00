"""Which tests run which lines, and which of them can notice a mutant."""

from __future__ import annotations

import ast
import itertools
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coverage
import pytest

from tools.mutants.processes import run_pytest
from tools.mutants.sample import ROOT

STORE = ROOT / ".mutants"
_QUICK = 0.3  # seconds of a test, below which it runs before the slower ones of other files
_BUDGET = 10.0  # seconds of tests after which a mutant counts as survived
_TRACED = 100.0  # seconds of processor time after which no further test of a package is traced


class Tracing:
    """A pytest plugin: for every test its seconds, the lines that it runs, and whether it starts a process."""

    def __init__(self, tree: Path, out: Path) -> None:
        self.src, self.out = tree / "src" / "fanin", out
        self.cover = coverage.Coverage(data_file=None, source=[str(self.src)], config_file=False)
        self.tests: dict[str, dict[str, Any]] = {}
        self.contexts: dict[str, list[str]] = {}  # context of coverage -> the tests that it counts for
        self.context, self.spawned = "", False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, _: object) -> None:
        if event in ("subprocess.Popen", "os.fork", "os.posix_spawn"):
            self.spawned = True

    def pytest_sessionstart(self) -> None:
        """Begin to trace."""
        self.cover.start()

    def _switch(self, context: str) -> str:
        before, self.context = self.context, context
        self.cover.switch_context(context)
        return before

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """What a fixture runs counts for every test that uses it, not for the first alone."""
        before = self._switch(f"fixture {id(fixturedef)}")
        yield
        self._switch(before)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        """One test under its own context."""
        fixtures = [f"fixture {id(d)}" for ds in item._fixtureinfo.name2fixturedefs.values() for d in ds]
        for context in (item.nodeid, *fixtures):
            self.contexts.setdefault(context, []).append(item.nodeid)
        self.tests[item.nodeid] = {"passed": True}
        self.spawned, begin = False, time.process_time()
        self._switch(item.nodeid)
        yield
        self._switch("")
        self.tests[item.nodeid] |= {"seconds": time.process_time() - begin, "spawned": self.spawned}
        if time.process_time() > _TRACED:
            item.session.shouldstop = f"{_TRACED:g} s of tests are traced"

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A test that fails on the unchanged source judges no mutant."""
        if report.failed:
            self.tests[report.nodeid]["passed"] = False

    def pytest_sessionfinish(self) -> None:
        """Write what was seen."""
        self.cover.stop()
        names = {name: i for i, name in enumerate(self.tests)}
        lines: dict[str, dict[str, list[int]]] = {}
        data = self.cover.get_data()
        for file in data.measured_files():
            found = lines[str(Path(file).relative_to(self.src))] = {}
            for line, contexts in data.contexts_by_lineno(file).items():
                found[str(line)] = sorted({names[t] for c in contexts for t in self.contexts.get(c, ())})
        self.out.write_text(json.dumps({"tests": self.tests, "lines": lines}), encoding="utf-8")


@dataclass(frozen=True)
class Trace:
    """The tests of a package on the unchanged source: name -> seconds, which start a process, file -> line -> names."""

    seconds: Mapping[str, float]
    spawned: frozenset[str]
    lines: Mapping[str, Mapping[int, frozenset[str]]]

    def running(self, file: str, lines: Sequence[int]) -> set[str]:
        """The tests that run one of these lines."""
        seen = self.lines.get(file, {})
        return {name for line in lines for name in seen.get(line, ())}

    def without(self, tests: frozenset[str]) -> Trace:
        """The same without some tests."""
        kept = {name: s for name, s in self.seconds.items() if name not in tests}
        lines = {f: {n: names - tests for n, names in ls.items()} for f, ls in self.lines.items()}
        return Trace(kept, self.spawned - tests, lines)


def package_of(file: str) -> str:
    """`src/fanin/rules/base.py` -> rules."""
    return Path(file).parts[2].removesuffix(".py")


def package_tests(tree: Path, package: str) -> list[str]:
    """What pytest is given for a package: its folder of tests, or its one file; its doctests."""
    folder = tree / "tests" / package
    source = tree / "src" / "fanin" / package
    tests = [f"tests/{package}"] if folder.is_dir() else [f"tests/test_{package}.py"]
    return [*(t for t in tests if (tree / t).exists()), f"src/fanin/{package}" + ("" if source.is_dir() else ".py")]


def traced(tree: Path, package: str, name: str = "tests") -> Trace:
    """The tests of a package as `Tracing` saw them, kept in the session under a name."""
    STORE.mkdir(exist_ok=True)
    out = STORE / f"{name}-{package}.json"
    if not out.exists():
        begin = time.monotonic()
        ended, text = run_pytest(tree, ["--maxfail=1000", *package_tests(tree, package)], 3000, Tracing(tree, out))
        if not out.exists():
            raise RuntimeError(f"the unchanged tests of {package} did not end ({ended}):\n{text}")
        print(f"traced the tests of {package} in {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    return read_trace(out)


def read_trace(file: Path) -> Trace:
    """A trace that `Tracing` wrote, without the tests that failed."""
    data = json.loads(file.read_text(encoding="utf-8"))
    names, tests = list(data["tests"]), {n: t for n, t in data["tests"].items() if t["passed"]}
    return Trace(
        seconds={n: t["seconds"] for n, t in tests.items()},
        spawned=frozenset(n for n, t in tests.items() if t["spawned"]),
        lines={
            file: {int(line): frozenset(names[i] for i in seen) & tests.keys() for line, seen in lines.items()}
            for file, lines in data["lines"].items()
        },
    )


def every_test(package: str) -> frozenset[str]:
    """The tests of a package when it was traced, those that failed included; none if it was not."""
    file = STORE / f"tests-{package}.json"
    return frozenset(json.loads(file.read_text(encoding="utf-8"))["tests"]) if file.exists() else frozenset()


# --- which of them can notice a mutant ------------------------------------------------------------


def around(source: str, line: int, column: int) -> tuple[range, bool]:
    r"""Lines of the innermost statement (of a compound one: its head) or lambda at a place, and if it is in a function.

    >>> around("def f(x):\n    if x:\n        return (1 +\n            2)", 4, 12)
    (range(3, 5), True)
    """
    found, inside = range(line, line + 1), False
    for node in ast.walk(ast.parse(source)):
        lines = _own_lines(node)
        if lines and _contains(node, line, column) and line in lines:
            found = lines
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside |= node.body[0].lineno <= line <= (node.end_lineno or 0)
        if isinstance(node, ast.Lambda):
            inside |= _contains(node.body, line, column)
    return found, inside


def _own_lines(node: ast.AST) -> range | None:
    """Lines of a statement without the statements inside it; of a lambda's body; None for anything else."""
    if isinstance(node, ast.Lambda):
        return range(node.body.lineno, (node.body.end_lineno or 0) + 1)
    if not isinstance(node, ast.stmt):
        return None
    inner = [n.lineno for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)]
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    return range(first, max(min(inner), first + 1) if inner else (node.end_lineno or node.lineno) + 1)


def _contains(node: Any, line: int, column: int) -> bool:
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    begins = (line, column) >= (node.lineno, node.col_offset) or first <= line < node.lineno
    return begins and (line, column) < (node.end_lineno, node.end_col_offset)


def chosen_tests(tree: Path, file: str, place: tuple[int, int], trace: Trace) -> list[str]:
    """The tests that can notice a change at a line and column of a file, likely ones first, for as long as `_BUDGET`.

    Where later tests are left out, a mutant can count as survived that one of them would notice, never the other way
    round.
    """
    inside = file.removeprefix("src/fanin/")
    lines, in_function = around((tree / file).read_text(encoding="utf-8"), *place)
    doctests = {n for n in trace.seconds if n.partition("::")[0] == file}
    direct = trace.running(inside, lines) | doctests
    wider = trace.running(inside, list(trace.lines.get(inside, {}))) | trace.spawned
    others = set() if in_function and wider > doctests else set(trace.seconds)
    groups = direct, wider - direct, others - wider - direct
    return within(_BUDGET, [n for group in groups for n in in_order(group, trace.seconds)], trace.seconds)


def within(budget: float, names: Sequence[str], seconds: Mapping[str, float]) -> list[str]:
    """The first of some tests, as many as a number of seconds allows."""
    ends = itertools.accumulate(seconds[n] for n in names)
    return [name for name, end in zip(names, ends, strict=True) if end <= budget]


def in_order(names: set[str], seconds: Mapping[str, float]) -> list[str]:
    """Quick tests first, then the others; in each half file by file, so that what a file shares is made once."""
    costs: dict[tuple[bool, str], float] = defaultdict(float)
    for name in names:
        costs[_half(name, seconds)] += seconds[name]
    return sorted(names, key=lambda n: (_half(n, seconds)[0], costs[_half(n, seconds)], _half(n, seconds), seconds[n]))


def _half(name: str, seconds: Mapping[str, float]) -> tuple[bool, str]:
    return seconds[name] > _QUICK, name.partition("::")[0]
