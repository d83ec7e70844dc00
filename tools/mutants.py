"""Change the source in small ways, one at a time, and see whether the tests notice.

python -m tools.mutants --sample 200 --seed 1 --out benchmarks/results/mutants.md   # draw, run, write the table
python -m tools.mutants --packages moments,rules --limit 40                         # the next 40 of these packages
python -m tools.mutants --again                                                     # survivors, against newer tests

cosmic-ray lists the mutants, makes them and keeps the session; this file draws the sample and chooses the tests:

* The sample is drawn over places in the source (a comparison, an arithmetic operator, a number, a condition, ...), then
  over what can be put there. Annotations are no places: they do not run. `is` and `==` are not exchanged.
* A mutant runs against the tests of its own package, ``tests/PACKAGE`` without the slow ones, and the doctests of its
  file. One run with a trace beforehand notes which tests enter which function. Tests that never enter the changed
  function, and start no process, cannot notice and are left out. At the top of a file all tests of the package run.
* Everything happens in a copy of the committed tree in a temporary folder. A run that takes five times as long as
  the unchanged tests counts as killed.

The session is in ``.mutants/``: a second call goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from importlib.metadata import version
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import _make_diff, use_mutation
from cosmic_ray.plugins import get_operator, operator_names
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult

ROOT = Path(__file__).parents[1]
STORE = ROOT / ".mutants"
REASONS = ROOT / "benchmarks" / "equivalent_mutants.json"
HEAVY = ("torch", "numpy", "scipy.stats", "scipy.special", "numba", "mpmath", "hypothesis", "jinja2", "rich", "typer")
ARITHMETIC = {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"}
PLAIN = ("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd")
PLAIN += ("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "NumberReplacer", "ZeroIterationForLoop")
_LONG = 200.0  # seconds of a test file, above which it is not run whole
AGAIN = "killed by a test written since"
EXPRESSIONS = {"arith_expr", "term", "power"}  # cosmic-ray also takes the star of `def f(*, x)` for a product


# --- drawing the sample ---------------------------------------------------------------------------


def families() -> dict[str, list[tuple[str, int]]]:
    """First operator of each family -> (operator, index among its mutants of one place) that change the same place."""
    out: dict[str, list[tuple[str, int]]] = {}
    for full in sorted(operator_names()):
        name = full.split("/")[-1]
        pair = re.fullmatch(r"Replace(Binary|Comparison|Unary)Operator_(\w+?)_(\w+)", name)
        if name in PLAIN:
            out[full] = [(full, i) for i in range(2 if name == "NumberReplacer" else 1)]
        elif pair and _sensible(*pair.groups()):
            first = "Delete_" + pair[3] if pair[2] == "Delete" else pair[2]
            out.setdefault(f"{pair[1]} {first}", []).append((full, 0))
    return {members[0][0]: members for members in out.values()}


def _sensible(kind: str, old: str, new: str) -> bool:
    if kind == "Binary":
        return {old, new} <= ARITHMETIC
    if kind == "Comparison":
        return (old in ("Is", "IsNot")) == (new in ("Is", "IsNot"))
    return (old in ("USub", "Delete") and new not in ("Not", "Invert")) or (old, new) == ("Delete", "Not")


def runs(node: Any) -> bool:
    """Whether a node is code that runs: no annotation, no star of a signature."""
    inner, outer = node, node.parent
    while outer is not None:
        kind = outer.type
        if kind == "annassign" and inner is outer.children[1]:
            return False
        if kind in ("param", "funcdef") and inner is outer.annotation:
            return False
        inner, outer = outer, outer.parent
    return True


def places(file: Path, groups: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """(file, first operator of a family, count of the place) for each place of a file that a family can change."""
    nodes = list(ast_nodes(get_ast(file.read_text(encoding="utf-8"))))
    for name in groups:
        operator, seen = get_operator(name)(), 0
        for node in nodes:
            found = len(list(operator.mutation_positions(node)))
            if found and runs(node) and ("BinaryOp" not in name or node.parent.type in EXPRESSIONS):
                yield str(file.relative_to(ROOT)), name, seen
            seen += found


def draw(sample: int, seed: int) -> list[WorkItem]:
    """`sample` mutants of `src/fanin`, uniform over places, then over what a place can become."""
    groups = families()
    everywhere = [p for f in sorted((ROOT / "src" / "fanin").rglob("*.py")) for p in places(f, groups)]
    rng = random.Random(seed)
    print(f"{len(everywhere)} places in src/fanin; {sample} drawn with seed {seed}", file=sys.stderr)
    return [_item(i, *place, rng.choice(groups[place[1]])) for i, place in enumerate(rng.sample(everywhere, sample))]


def _item(number: int, file: str, first: str, seen: int, choice: tuple[str, int]) -> WorkItem:
    name, index = choice
    occurrence = seen + index
    begin, end = next(
        spot
        for i, spot in enumerate(
            spot
            for node in ast_nodes(get_ast((ROOT / file).read_text(encoding="utf-8")))
            for spot in get_operator(name)().mutation_positions(node)
        )
        if i == occurrence
    )
    spec = MutationSpec(
        module_path=file, operator_name=name, operator_args={}, occurrence=occurrence, start_pos=begin, end_pos=end
    )
    return WorkItem.single(job_id=f"{number:04d}", mutation=spec)


# --- a copy of the tree, and processes that already have the heavy libraries ----------------------


@contextmanager
def copied_tree(commit: str) -> Iterator[Path]:
    """The tree of a commit in a temporary folder, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        subprocess.run(f"git archive {commit} | tar -x -C {folder}", shell=True, check=True, cwd=ROOT)
        yield Path(folder)


def run_pytest(tree: Path, arguments: Sequence[str], limit: float, plugin: object = None) -> tuple[str, str]:
    """How pytest ended in a forked process that imports fanin afresh: "passed", "failed" or "late"; and its output."""
    with tempfile.TemporaryFile("w+") as log:
        child = os.fork()
        if child == 0:
            _in_child(tree, arguments, log.fileno(), plugin)
        ended = _wait(child, limit)
        log.seek(0)
        text = log.read()[-4000:]
    return ("late" if ended is None else "passed" if ended in (0, 5) else "failed"), text


def _in_child(tree: Path, arguments: Sequence[str], log: int, plugin: object) -> None:
    code = 70
    try:
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(tree)
        sys.path[:0] = [str(tree / "src"), str(tree)]
        os.environ["PYTHONPATH"] = f"{tree / 'src'}:{tree}"
        import pytest

        fixed = [
            "-n0",
            "-x",
            "-q",
            "-m",
            "not slow",
            "-p",
            "no:randomly",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
        ]
        code = int(pytest.main([*fixed, *arguments], plugins=[plugin] if plugin else []))
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _wait(child: int, limit: float) -> int | None:
    """Exit status of a child, None if it was stopped after `limit` seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


# --- which tests enter which function -------------------------------------------------------------


class Tracing:
    """A pytest plugin: for every test its seconds, the functions it enters, and whether it starts a process."""

    def __init__(self, tree: Path, out: Path) -> None:
        self.src, self.out = str(tree / "src" / "fanin"), out
        self.codes: dict[int, CodeType] = {}
        self.seen: set[int] = set()
        self.tests: dict[str, dict[str, Any]] = {}
        self.spawned = False
        self.made: dict[object, set[int]] = {}
        sys.addaudithook(self._hook)

    def _hook(self, event: str, _: object) -> None:
        if event in ("subprocess.Popen", "os.fork", "os.posix_spawn"):
            self.spawned = True

    def _enter(self, frame: FrameType, _event: str, _arg: object) -> None:
        code = frame.f_code
        if id(code) not in self.codes:
            self.codes[id(code)] = code
        self.seen.add(id(code))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """What a fixture enters counts for every test that uses it, not for the first alone."""
        before, self.seen = self.seen, set()
        yield
        self.made.setdefault(fixturedef, set()).update(self.seen)
        self.seen |= before

    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> bool:
        """One test under the trace."""
        from _pytest.runner import runtestprotocol

        self.seen, self.spawned, begin = set(), False, time.monotonic()
        sys.settrace(self._enter)
        try:
            reports = runtestprotocol(item, nextitem=nextitem)
        finally:
            sys.settrace(None)
        for definitions in item._fixtureinfo.name2fixturedefs.values():
            self.seen = self.seen.union(*(self.made.get(d, set()) for d in definitions))
        inside = [c for c in map(self.codes.__getitem__, self.seen) if c.co_filename.startswith(self.src)]
        self.tests[item.nodeid] = {
            "seconds": time.monotonic() - begin,
            "spawned": self.spawned,
            "passed": not any(r.failed for r in reports),
            "functions": sorted({f"{c.co_filename[len(self.src) + 1 :]}:{c.co_firstlineno}" for c in inside}),
        }
        return True

    def pytest_sessionfinish(self) -> None:
        """Write what was seen."""
        self.out.write_text(json.dumps(self.tests), encoding="utf-8")


def package_tests(tree: Path, package: str) -> list[str]:
    """What pytest is given for a package: its folder of tests, or its one file."""
    folder = tree / "tests" / package
    return [f"tests/{package}"] if folder.is_dir() else [f"tests/test_{package}.py"]


def traced(tree: Path, package: str) -> dict[str, dict[str, Any]]:
    """The tests of a package as `Tracing` saw them, kept in the session."""
    out = STORE / f"tests-{package}.json"
    if not out.exists():
        if not (tree / package_tests(tree, package)[0]).exists():
            return {}
        begin = time.monotonic()
        ended, text = run_pytest(tree, ["--maxfail=1000", *package_tests(tree, package)], 3000, Tracing(tree, out))
        if not out.exists():
            raise RuntimeError(f"the unchanged tests of {package} did not end ({ended}):\n{text}")
        print(f"traced the tests of {package} in {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    tests: dict[str, dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))
    return {name: test for name, test in tests.items() if test["passed"]}


def enclosing(source: str, line: int) -> frozenset[int]:
    """First lines of the innermost named function around a line and of what has no name inside it; none at the top."""
    found: list[CodeType] = []
    stack = [compile(source, "x", "exec", dont_inherit=True)]
    while stack:
        code = stack.pop()
        stack.extend(c for c in code.co_consts if isinstance(c, CodeType))
        if code.co_flags & 2 and code.co_firstlineno <= line <= _last_line(code):  # 2: no module and no class body
            found.append(code)
    named = max((c.co_firstlineno for c in found if not c.co_name.startswith("<")), default=0)
    return frozenset(c.co_firstlineno for c in found if c.co_firstlineno >= named)


def _last_line(code: CodeType) -> int:
    inner = [_last_line(c) for c in code.co_consts if isinstance(c, CodeType)]
    return max([code.co_firstlineno, *(n for *_, n in code.co_lines() if n), *inner])


def entering(tree: Path, spec: MutationSpec, tests: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The tests that enter the changed function; at the top of a file those that enter any function of it."""
    file = str(spec.module_path)
    inside = file.removeprefix("src/fanin/")
    lines = enclosing((tree / file).read_text(encoding="utf-8"), spec.start_pos[0])
    wanted = {f"{inside}:{line}" for line in lines}
    return {
        name
        for name, test in tests.items()
        if any(f in wanted if lines else f.startswith(f"{inside}:") for f in test["functions"])
    }


def chosen_tests(tree: Path, spec: MutationSpec, tests: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], float]:
    """The tests that can notice a mutant, likely ones first, and the seconds they take when nothing is changed."""
    at_top = not enclosing((tree / spec.module_path).read_text(encoding="utf-8"), spec.start_pos[0])
    direct = entering(tree, spec, tests)
    others = {n for n, t in tests.items() if n not in direct and (at_top or t["spawned"])}
    ordered = [n for group in (direct, others) for n in sorted(group, key=lambda n: float(tests[n]["seconds"]))]
    return ordered, sum(float(tests[n]["seconds"]) for n in ordered)


# --- running --------------------------------------------------------------------------------------


def package_of(file: str) -> str:
    return Path(file).parts[2].removesuffix(".py")


@contextmanager
def mutated(tree: Path, spec: MutationSpec) -> Iterator[str]:
    """The diff of a mutant while it is in the tree, with a new time stamp, so that no older compiled file is used."""
    path = tree / spec.module_path
    stamp = path.stat()
    with use_mutation(path, get_operator(spec.operator_name)(), spec.occurrence) as (old, new):
        if new is None:
            raise RuntimeError(f"{spec} is not in the source any more: begin a new session")
        os.utime(path, (stamp.st_atime, time.time() + 10))
        yield "\n".join(_make_diff(old, new, spec.module_path)[1:])
    os.utime(path, (stamp.st_atime, stamp.st_mtime))


def judge(tree: Path, spec: MutationSpec, tests: Mapping[str, Mapping[str, Any]]) -> WorkResult:
    names, seconds = chosen_tests(tree, spec, tests)
    with mutated(tree, spec) as diff:
        ended, text = run_pytest(tree, [str(spec.module_path)], 120)  # doctests of the file
        if ended == "passed" and names:
            ended, text = run_pytest(tree, names, 60 + 5 * seconds)
    outcome = TestOutcome.SURVIVED if ended == "passed" else TestOutcome.KILLED
    return WorkResult(worker_outcome=WorkerOutcome.NORMAL, output=text, test_outcome=outcome, diff=diff)


def pending(db: WorkDB, packages: Sequence[str]) -> list[WorkItem]:
    """Mutants that were not run yet, in the order of the packages; of all packages where none is named."""
    done = {job for job, _ in db.results}
    left = [(package_of(str(i.mutations[0].module_path)), i) for i in db.work_items if i.job_id not in done]
    left = [(p, i) for p, i in left if not packages or p in packages]
    return [i for _, i in sorted(left, key=lambda pair: (packages.index(pair[0]) if packages else 0, pair[1].job_id))]


def run_pending(db: WorkDB, commit: str, packages: Sequence[str], limit: int | None) -> None:
    with copied_tree(commit) as tree:
        for item in pending(db, packages)[:limit]:
            if item.job_id in {job for job, _ in db.results}:
                continue  # a second process was faster
            spec, begin = item.mutations[0], time.monotonic()
            result = judge(tree, spec, traced(tree, package_of(str(spec.module_path))))
            db.set_result(item.job_id, result)
            said = f"{item.job_id} {result.test_outcome.value} {spec.module_path}:{spec.start_pos[0]}"
            print(f"{said} {spec.operator_name} in {time.monotonic() - begin:.0f} s", flush=True)
            if result.test_outcome is TestOutcome.SURVIVED:
                print(result.diff, flush=True)


def _entered_files(spec: MutationSpec) -> list[str]:
    """Whole test files with a test that enters the changed function, while they take few minutes."""
    trace = STORE / f"tests-{package_of(str(spec.module_path))}.json"
    tests = json.loads(trace.read_text(encoding="utf-8")) if trace.exists() else {}
    found = {name.partition("::")[0] for name in entering(ROOT, spec, tests)}
    seconds = {f: sum(float(t["seconds"]) for n, t in tests.items() if n.startswith(f"{f}::")) for f in found}
    return [f for f in sorted(found, key=lambda f: seconds[f]) if seconds[f] < _LONG]


def run_again(db: WorkDB, commit: str, packages: Sequence[str]) -> None:
    """Survivors against changed test files of their package, and the whole files that enter what they change."""
    changed = _git("diff", "--name-only", "--diff-filter=d", commit, "HEAD", "--", "tests").split()
    with copied_tree("HEAD") as tree:
        for item, result in survivors(db):
            file = str(item.mutations[0].module_path)
            own = [t for t in changed if Path(t).match(f"tests/{package_of(file)}/test_*.py")]
            own += [t for t in _entered_files(item.mutations[0]) if t not in own and (tree / t).exists()]
            if not own or (packages and package_of(file) not in packages):
                continue
            patch = ["patch", "-p1", "--no-backup-if-mismatch", "-r", "-"]
            diff = {"input": f"{result.diff}\n", "text": True, "cwd": tree, "capture_output": True}
            if subprocess.run(patch, **diff).returncode:
                print(f"{item.job_id} {file}: its lines are written differently now", flush=True)
            elif run_pytest(tree, [file, *own], 900)[0] == "passed":
                print(f"{item.job_id} survives {file}", flush=True)
            else:
                db.set_result(item.job_id, WorkResult(WorkerOutcome.NORMAL, AGAIN, TestOutcome.KILLED, result.diff))
                print(f"{item.job_id} killed now {file}", flush=True)
            (tree / file).write_text(_git("show", f"HEAD:{file}") + "\n", encoding="utf-8")


def survivors(db: WorkDB) -> list[tuple[WorkItem, WorkResult]]:
    pairs = sorted(db.completed_work_items, key=lambda p: p[0].job_id)
    return [(item, result) for item, result in pairs if result.test_outcome is TestOutcome.SURVIVED]


# --- the table ------------------------------------------------------------------------------------


def changed_line(diff: str) -> str:
    """The changed lines of a diff, as `old => new`: what a reason is filed under."""
    old = [line[1:].strip() for line in diff.splitlines() if line.startswith("-") and not line.startswith("---")]
    new = [line[1:].strip() for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++")]
    return f"{' '.join(old)} => {' '.join(new)}"


def reasons() -> dict[str, str]:
    """`file: old => new` -> why no test can notice."""
    found: dict[str, str] = json.loads(REASONS.read_text(encoding="utf-8")) if REASONS.exists() else {}
    return found


def page(db: WorkDB, head: str) -> str:
    """The table of a session, its survivors, and why some of them are equivalent."""
    known, results = reasons(), dict(db.results)
    rows: dict[str, list[str]] = {}
    named: dict[str, list[str]] = {"survived": [], "killed since": [], "equivalent": []}
    for item in sorted(db.work_items, key=lambda i: i.job_id):
        file = str(item.mutations[0].module_path)
        kind, key = _ended(file, results.get(item.job_id), known)
        rows.setdefault(package_of(file), []).append(kind)
        if kind in named:
            named[kind].append(f"- `{key.replace('`', chr(39))}`" + (f": {known[key]}" if kind == "equivalent" else ""))
    rows = {**dict(sorted(rows.items())), "all": [k for r in rows.values() for k in r]}
    columns = ("package", "drawn", "run", "killed", "equivalent", "survived", "killed of those not equivalent")
    table = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *(_row(n, kinds) for n, kinds in rows.items())]
    return (
        "\n".join(
            [
                head,
                "",
                *table,
                *_section("Survivors", named["survived"]),
                *_section("Survived first, killed by a test written since", named["killed since"]),
                *_section("Equivalent, and why", named["equivalent"]),
            ]
        )
        + "\n"
    )


def _ended(file: str, result: WorkResult | None, known: Mapping[str, str]) -> tuple[str, str]:
    """How a mutant ended, and the key that its reason would be filed under."""
    if result is None:
        return "pending", ""
    key = f"{file}: {changed_line(result.diff or '')}"
    if result.test_outcome is TestOutcome.SURVIVED:
        return ("equivalent" if key in known else "survived"), key
    return ("killed since" if result.output == AGAIN else "killed"), key


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *(lines or ["None."])]


def _row(name: str, kinds: Sequence[str]) -> str:
    run = [k for k in kinds if k != "pending"]
    killed, equal = run.count("killed") + run.count("killed since"), run.count("equivalent")
    share = f"{killed / (len(run) - equal):.0%}" if len(run) > equal else ""
    return f"| {name} | {len(kinds)} | {len(run)} | {killed} | {equal} | {run.count('survived')} | {share} |"


# --- the command ----------------------------------------------------------------------------------


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _head(about: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("cosmic-ray", "pytest", "torch", "numpy"))
    return (
        "# Mutants\n\nSmall changes of the source, each run against the tests of its own package; the head of\n"
        "`tools/mutants.py` says how.\n"
        f"Command: `make mutants` (`python -m tools.mutants --sample {about['sample']} --seed {about['seed']}`, then "
        f"`--again` after tests were written).\nDrawn at commit {about['commit'][:7]}, table of commit "
        f"{_git('rev-parse', '--short', 'HEAD')}, {versions}, Python {sys.version.split()[0]}, {date.today()}."
    )


def session(sample: int, seed: int) -> tuple[WorkDB, dict[str, Any]]:
    """The session in `.mutants/`, begun if there is none."""
    STORE.mkdir(exist_ok=True)
    about = STORE / "about.json"
    db = WorkDB(STORE / "session.sqlite", WorkDB.Mode.create)
    if not about.exists():
        db.clear()
        db.add_work_items(draw(sample, seed))
        about.write_text(json.dumps({"sample": sample, "seed": seed, "commit": _git("rev-parse", "HEAD")}))
    return db, json.loads(about.read_text())


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=200, help="mutants to draw when a session begins")
    parser.add_argument("--seed", type=int, default=1, help="seed of the draw")
    parser.add_argument("--packages", default="", help="run these alone, in this order, separated by commas")
    parser.add_argument("--limit", type=int, help="run at most so many now")
    parser.add_argument("--again", action="store_true", help="run survivors against tests changed since the draw")
    parser.add_argument("--out", type=Path, help="write the table into this file")
    options = parser.parse_args(words)
    db, about = session(options.sample, options.seed)
    for name in HEAVY:
        __import__(name)
    packages = [p for p in options.packages.split(",") if p]
    if options.again:
        run_again(db, about["commit"], packages)
    elif options.limit != 0:
        run_pending(db, about["commit"], packages, options.limit)
    text = page(db, _head(about))
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
