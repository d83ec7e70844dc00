"""Run mutants: pending ones against the tests of the sample's commit, survivors against newer tests."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cosmic_ray.mutating import _make_diff, use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult

from tools.mutants.processes import copied_tree, run_pytest
from tools.mutants.reach import STORE, chosen_tests, every_test, package_of, traced
from tools.mutants.sample import ROOT

AGAIN = "killed by a test written since"
_LONG = 200.0  # seconds of a test file, above which it is not run whole


class Chosen:
    """A pytest plugin: run these tests alone, in this order (all where none are named), and write down what fails."""

    def __init__(self, names: Sequence[str], out: Path) -> None:
        self.rank, self.out = {name: i for i, name in enumerate(names)}, out

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Choose and order."""
        if self.rank:
            items[:] = sorted((i for i in items if i.nodeid in self.rank), key=lambda i: self.rank[i.nodeid])

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note a failure."""
        if report.failed:
            with self.out.open("a", encoding="utf-8") as file:
                file.write(f"{report.nodeid}\n")


def run_chosen(tree: Path, names: Sequence[str], seconds: float, *options: str) -> tuple[str, str, list[str]]:
    """How pytest ended with these tests in this order, its output, and the tests that failed."""
    return run_files(tree, list(dict.fromkeys(name.partition("::")[0] for name in names)), names, seconds, *options)


def run_files(
    tree: Path, files: Sequence[str], names: Sequence[str], seconds: float, *options: str
) -> tuple[str, str, list[str]]:
    """The same for these tests of some files, or for all of them."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "failed"
        ended, text = run_pytest(tree, [*options, *files], 30 + 6 * seconds, Chosen(names, out))
        return ended, text, out.read_text(encoding="utf-8").splitlines() if out.exists() else []


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


def judge(tree: Path, spec: MutationSpec, whole: Sequence[str]) -> WorkResult:
    """Whether a test notices a mutant: one of whole files, or where none are named of those that reach it.

    The output is the name of the test that does, or why it counts as noticed.
    """
    file = str(spec.module_path)
    if whole:
        names, files, seconds = [], [file, *whole], 300.0 / 6
    else:
        trace = traced(tree, package_of(file)).without(unsteady())
        names = chosen_tests(tree, file, spec.start_pos, trace)
        files, seconds = list(dict.fromkeys(n.partition("::")[0] for n in names)), sum(trace.seconds[n] for n in names)
    with mutated(tree, spec) as diff:
        ended, text, failed = run_files(tree, files, names, seconds)
    if ended == "passed":
        return WorkResult(WorkerOutcome.NORMAL, "", TestOutcome.SURVIVED, diff)
    said = failed[0] if failed else f"{ended}: {text[-400:]}"
    return WorkResult(WorkerOutcome.NORMAL, said, TestOutcome.KILLED, diff)


def pending(db: WorkDB, packages: Sequence[str]) -> list[WorkItem]:
    """Mutants that were not run yet, package by package, in the order of `packages`; of all where none is named."""
    done = {job for job, _ in db.results}
    left = [(package_of(str(i.mutations[0].module_path)), i) for i in db.work_items if i.job_id not in done]
    left = [(p, i) for p, i in left if not packages or p in packages]
    return [i for _, i in sorted(left, key=lambda pair: (_rank(pair[0], packages), pair[1].job_id))]


def _rank(package: str, packages: Sequence[str]) -> tuple[int, str]:
    return (packages.index(package) if packages else 0), package


def run_pending(db: WorkDB, commit: str, packages: Sequence[str], limit: int | None, whole: Sequence[str]) -> None:
    """Run mutants that were not run yet, at most `limit`, and then the killing tests on the unchanged source."""
    with copied_tree(commit) as tree:
        for item in pending(db, packages)[:limit]:
            spec, begin = item.mutations[0], time.monotonic()
            named = [t for t in whole if Path(t).parts[1] == package_of(str(spec.module_path))]
            result = judge(tree, spec, named)
            db.set_result(item.job_id, result)
            said = f"{item.job_id} {result.test_outcome.value} {spec.module_path}:{spec.start_pos[0]}"
            print(f"{said} {spec.operator_name} in {time.monotonic() - begin:.0f} s; {result.output[:100]}", flush=True)
            if result.test_outcome is TestOutcome.SURVIVED:
                print(result.diff, flush=True)
        take_back(db, tree)


# --- the killing tests on the unchanged source ----------------------------------------------------


def unsteady() -> frozenset[str]:
    """Tests that once failed on the unchanged source: they judge no mutant."""
    file = STORE / "unsteady.txt"
    return frozenset(file.read_text(encoding="utf-8").splitlines()) if file.exists() else frozenset()


def take_back(db: WorkDB, tree: Path) -> None:
    """Run the tests that killed on the unchanged source; mutants killed by one that fails there wait again."""
    of = {i.job_id: package_of(str(i.mutations[0].module_path)) for i in db.work_items}
    for package in sorted(set(of.values())):
        kills = {job: r.output for job, r in db.results if of[job] == package and _is_test(r.output)}
        names = sorted(set(kills.values()) - steady())
        if not names:
            continue
        _, _, failed = run_chosen(tree, names, 100.0, "--maxfail=1000")
        _note("unsteady.txt", failed)
        _note("steady.txt", [n for n in names if n not in failed])
        if failed:
            print(f"fail on the unchanged source too, their mutants wait again: {failed}", flush=True)
            forget(db, [job for job, test in kills.items() if test in failed])


def _is_test(output: str) -> bool:
    return "::" in output and "\n" not in output


def steady() -> frozenset[str]:
    """Killing tests that passed on the unchanged source."""
    file = STORE / "steady.txt"
    return frozenset(file.read_text(encoding="utf-8").splitlines()) if file.exists() else frozenset()


def _note(name: str, tests: Sequence[str]) -> None:
    with (STORE / name).open("a", encoding="utf-8") as file:
        file.writelines(f"{test}\n" for test in tests)


def forget(db: WorkDB, jobs: Sequence[str]) -> None:
    """Take the results of these mutants out of the session: the others are written anew."""
    kept = [(job, result) for job, result in db.results if job not in jobs]
    items = list(db.work_items)
    db.clear()
    db.add_work_items(items)
    for job, result in kept:
        db.set_result(job, result)


# --- survivors, again -----------------------------------------------------------------------------


def git(*words: str) -> str:
    """Output of a git command on this repository."""
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def survivors(db: WorkDB) -> list[tuple[WorkItem, WorkResult]]:
    """Mutants that no test noticed, in the order of the sample."""
    pairs = sorted(db.completed_work_items, key=lambda p: p[0].job_id)
    return [(item, result) for item, result in pairs if result.test_outcome is TestOutcome.SURVIVED]


class Newer:
    """A pytest plugin: of these files, run the tests that have none of these names."""

    def __init__(self, known: Collection[str], whole: Collection[str]) -> None:
        self.known, self.whole = known, whole

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Choose."""
        whole = [i for i in items if i.nodeid.partition("::")[0] in self.whole]
        items[:] = [i for i in items if i.nodeid not in self.known and i not in whole] + whole


def run_again(db: WorkDB, commit: str, packages: Sequence[str], whole: Sequence[str]) -> None:
    """Survivors against the tests of their package that were written since the sample was drawn, and whole files."""
    changed = git("diff", "--name-only", "--diff-filter=d", commit, "HEAD", "--", "tests", "src").split()
    ended: dict[str, str] = {}  # how these tests end on the unchanged source
    with copied_tree("HEAD") as tree:
        for item, result in survivors(db):
            file = str(item.mutations[0].module_path)
            package = package_of(file)
            if packages and package not in packages:
                continue
            own = [t for t in changed if Path(t).match(f"tests/{package}/test_*.py")]
            named = [t for t in whole if Path(t).parts[1] == package]
            plugin, files = Newer(every_test(package), named), list(dict.fromkeys([file, *own, *named]))
            if package not in ended:
                ended[package], text = run_pytest(tree, files, 300, plugin)
                print("" if ended[package] == "passed" else f"fail on the unchanged source:\n{text}", flush=True)
            said = _against(tree, file, result.diff or "", files, plugin)
            if said in ("failed", "late") and ended[package] == "passed":
                db.set_result(item.job_id, WorkResult(WorkerOutcome.NORMAL, AGAIN, TestOutcome.KILLED, result.diff))
            print(f"{item.job_id} {file}: {said}", flush=True)


def _against(tree: Path, file: str, diff: str, tests: Sequence[str], plugin: object) -> str:
    """How these tests end with a mutant in the tree, or that it cannot be put there."""
    patch = ["patch", "-p1", "--no-backup-if-mismatch", "-r", "-"]
    made = subprocess.run(patch, input=f"{diff}\n", text=True, cwd=tree, capture_output=True)
    try:
        return "its lines are written differently now" if made.returncode else run_pytest(tree, tests, 300, plugin)[0]
    finally:
        (tree / file).write_text(git("show", f"HEAD:{file}") + "\n", encoding="utf-8")
