"""The sample: places in the source that an operator of cosmic-ray can change, and one change for each that is drawn."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.plugins import get_operator, operator_names
from cosmic_ray.work_item import MutationSpec, WorkItem

ROOT = Path(__file__).parents[2]
ARITHMETIC = {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"}
PLAIN = ("AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd")
PLAIN += ("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "NumberReplacer", "ZeroIterationForLoop")
EXPRESSIONS = {"arith_expr", "term", "power"}  # cosmic-ray also takes the star of `def f(*, x)` for a product


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
