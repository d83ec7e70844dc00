"""The command: begin a session or go on with it, and write its table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosmic_ray.work_db import WorkDB

import tools.mutants
from tools.mutants.judge import git, run_again, run_pending
from tools.mutants.processes import import_heavy
from tools.mutants.reach import STORE
from tools.mutants.sample import draw
from tools.mutants.table import page


def session(sample: int, seed: int) -> tuple[WorkDB, dict[str, Any]]:
    """The session in `.mutants/`, begun if there is none."""
    STORE.mkdir(exist_ok=True)
    about = STORE / "about.json"
    db = WorkDB(STORE / "session.sqlite", WorkDB.Mode.create)
    if not about.exists():
        db.clear()
        db.add_work_items(draw(sample, seed))
        about.write_text(json.dumps({"sample": sample, "seed": seed, "commit": git("rev-parse", "HEAD")}))
    return db, json.loads(about.read_text())


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=tools.mutants.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", type=int, default=200, help="mutants to draw when a session begins")
    parser.add_argument("--seed", type=int, default=1, help="seed of the draw")
    parser.add_argument("--packages", default="", help="run these alone, in this order, separated by commas")
    parser.add_argument("--limit", type=int, help="run at most so many now")
    parser.add_argument("--again", action="store_true", help="run survivors against tests written since the draw")
    parser.add_argument("--tests", default="", help="files of tests that are run whole, separated by commas")
    parser.add_argument("--out", type=Path, help="write the table into this file")
    options = parser.parse_args(words)
    db, about = session(options.sample, options.seed)
    import_heavy()
    packages = [p for p in options.packages.split(",") if p]
    whole = [t for t in options.tests.split(",") if t]
    if options.again:
        run_again(db, about["commit"], packages, whole)
    elif options.limit != 0:
        run_pending(db, about["commit"], packages, options.limit, whole)
    text = page(db, about)
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
