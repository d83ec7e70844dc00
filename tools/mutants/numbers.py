"""Move every number of some source files, up and down, and see whether a test notices.

python -m tools.mutants.numbers src/fanin/recipes/auto src/fanin/recipes/engine --out build/numbers.md

A float becomes 1.2 times as large and as small, an integer one more and one less. Left out are 0, indices and slices,
and what stands in for a missing value (``fan_in or 1.0``). The tests are chosen as for mutants.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.mutants.judge import git, run_chosen
from tools.mutants.processes import copied_tree, import_heavy
from tools.mutants.reach import chosen_tests, package_of, traced
from tools.mutants.sample import ROOT

FACTOR = 1.2


@dataclass(frozen=True)
class Place:
    """A number in a file."""

    file: str
    line: int
    column: int
    written: str
    value: float

    def moved(self) -> tuple[str, str]:
        """What is put in its place: the larger and the smaller one."""
        if isinstance(self.value, int):
            return repr(self.value + 1), repr(self.value - 1)
        return repr(self.value * FACTOR), repr(self.value / FACTOR)


def places_of(file: str, source: str) -> list[Place]:
    r"""The numbers of a file.

    >>> [p.written for p in places_of("x.py", "LIMIT = 0.5\ny = rows[2] * (fan_in or 1.0) ** 2 + 0")]
    ['0.5', '2']
    """
    tree = ast.parse(source)
    skipped = {id(n) for node in ast.walk(tree) for n in _skipped(node)}
    found = [
        Place(file, n.lineno, n.col_offset, ast.get_source_segment(source, n) or "", n.value)
        for n in ast.walk(tree)
        if isinstance(n, ast.Constant) and type(n.value) in (int, float) and n.value and id(n) not in skipped
    ]
    return sorted(found, key=lambda p: (p.line, p.column))


def _skipped(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Subscript):
        yield from ast.walk(node.slice)
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        yield from node.values


@contextmanager
def changed(tree: Path, place: Place, text: str) -> Iterator[None]:
    """The tree with another number in one place."""
    path = tree / place.file
    source, stamp = path.read_text(encoding="utf-8"), path.stat()
    lines = source.splitlines(keepends=True)
    line = lines[place.line - 1].encode()
    end = place.column + len(place.written.encode())
    lines[place.line - 1] = (line[: place.column] + text.encode() + line[end:]).decode()
    try:
        path.write_text("".join(lines), encoding="utf-8")
        os.utime(path, (stamp.st_atime, time.time() + 10))
        yield
    finally:
        path.write_text(source, encoding="utf-8")
        os.utime(path, (stamp.st_atime, stamp.st_mtime))


def noticed_by(tree: Path, place: Place, text: str) -> str:
    """The test that fails when a number is moved; "" where none does."""
    trace = traced(tree, package_of(place.file), f"tests-{git('rev-parse', '--short', 'HEAD')}")
    names = chosen_tests(tree, place.file, (place.line, place.column), trace)
    with changed(tree, place, text):
        ended, _, failed = run_chosen(tree, names, sum(trace.seconds[n] for n in names))
    return "" if ended == "passed" else failed[0] if failed else ended


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, help="files or folders, from the root of the repository")
    parser.add_argument("--out", type=Path, help="write the table into this file")
    options = parser.parse_args(words)
    files = [f for p in options.paths for f in (sorted((ROOT / p).glob("*.py")) if (ROOT / p).is_dir() else [ROOT / p])]
    import_heavy()
    rows = []
    with copied_tree("HEAD") as tree:
        for file in files:
            name = str(file.relative_to(ROOT))
            for place in places_of(name, (tree / name).read_text(encoding="utf-8")):
                up, down = (noticed_by(tree, place, text) for text in place.moved())
                rows.append(f"| {name.removeprefix('src/fanin/')}:{place.line} | {place.written} | {up} | {down} |")
                print(rows[-1], flush=True)
    head = (
        f"# Numbers that were moved\n\n`python -m tools.mutants.numbers {' '.join(map(str, options.paths))}`, commit "
    )
    table = ["| place | number | moved up, noticed by | moved down, noticed by |", "|---|---|---|---|", *rows]
    if options.out:
        options.out.write_text(f"{head}{git('rev-parse', '--short', 'HEAD')}.\n\n" + "\n".join(table) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
