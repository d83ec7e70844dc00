"""The table of a session, its survivors, and why some of them are equivalent."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from typing import Any

from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import TestOutcome, WorkResult

from tools.mutants.judge import AGAIN, git
from tools.mutants.reach import package_of
from tools.mutants.sample import ROOT

REASONS = ROOT / "benchmarks" / "equivalent_mutants.json"


def changed_line(diff: str) -> str:
    """The changed lines of a diff, as `old => new`: what a reason is filed under."""
    old = [line[1:].strip() for line in diff.splitlines() if line.startswith("-") and not line.startswith("---")]
    new = [line[1:].strip() for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++")]
    return f"{' '.join(old)} => {' '.join(new)}"


def reasons() -> dict[str, str]:
    """`file: old => new` -> why no test can notice."""
    found: dict[str, str] = json.loads(REASONS.read_text(encoding="utf-8")) if REASONS.exists() else {}
    return found


def page(db: WorkDB, about: Mapping[str, Any]) -> str:
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
                head(about),
                "",
                *table,
                "",
                _when_killed(rows["all"]),
                *_section("Survivors", named["survived"]),
                *_section("Survived first, killed by a test written since", named["killed since"]),
                *_section("Equivalent, and why", named["equivalent"]),
            ]
        )
        + "\n"
    )


def _when_killed(kinds: Sequence[str]) -> str:
    at_once, since = kinds.count("killed"), kinds.count("killed since")
    return (
        f"{at_once} were killed by the tests of the commit they were drawn at, within the time that a mutant gets: the "
        f"share to\nexpect of other mutants. {since} survived that and are killed by tests written since."
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


def head(about: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("cosmic-ray", "pytest", "torch", "numpy"))
    return (
        "# Mutants\n\nSmall changes of the source, each run against the tests of its own package; the head of\n"
        "`tools/mutants/__init__.py` says how.\n"
        f"Command: `make mutants` (`python -m tools.mutants --sample {about['sample']} --seed {about['seed']}`, then "
        f"`--again` after tests were written).\nDrawn at commit {about['commit'][:7]}, table of commit "
        f"{git('rev-parse', '--short', 'HEAD')}, {versions}, Python {sys.version.split()[0]}, {date.today()}."
    )
