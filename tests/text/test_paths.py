from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from fanin.text.paths import group_paths, sections


def bounds(piece: str) -> list[int]:
    numbers = [int(n) for n in piece.split("..")]
    return numbers if len(numbers) == 3 else [*numbers, 1]


def expand(pattern: str) -> set[str]:
    """All names that a pattern stands for (the slow, obvious way)."""
    found = re.search(r"\{([^{}]*)\}", pattern)
    if not found:
        return {pattern}
    indices: list[int] = []
    for piece in found[1].split(","):
        low, high, step = bounds(piece if ".." in piece else f"{piece}..{piece}")
        indices += range(low, high + 1, step)
    return {name for i in indices for name in expand(pattern[: found.start()] + str(i) + pattern[found.end() :])}


part = st.one_of(st.sampled_from(["blocks", "fc", "attn"]), st.integers(0, 12).map(str))
names = st.lists(st.lists(part, min_size=1, max_size=5).map(".".join), max_size=30)


@given(names)
def test_patterns_stand_for_exactly_the_names_given(paths):
    groups = group_paths(paths)
    assert [expand(g.pattern) for g in groups] == [set(g.members) for g in groups]
    assert sorted(m for g in groups for m in g.members) == sorted(set(paths))


def test_expand_can_fail():
    assert expand("a.{0..1,3,4..8..2}.b") == {f"a.{i}.b" for i in (0, 1, 3, 4, 6, 8)}


def test_a_key_keeps_names_apart():
    paths = [f"blocks.{i}.fc.weight" for i in range(4)]
    groups = group_paths(paths, key=lambda p: p == "blocks.0.fc.weight")
    assert [g.pattern for g in groups] == ["blocks.0.fc.weight", "blocks.{1..3}.fc.weight"]


def test_two_indices_make_a_grid_only_where_it_is_full():
    assert [g.pattern for g in group_paths([f"s.{i}.b.{j}" for i in (1, 2) for j in range(3)])] == ["s.{1..2}.b.{0..2}"]
    ragged = ["s.0.b.0", "s.0.b.1", "s.1.b.0"]
    assert [g.pattern for g in group_paths(ragged)] == ["s.0.b.{0..1}", "s.1.b.0"]


def test_numbers_that_are_no_index_stay_as_they_are():
    assert [g.pattern for g in group_paths(["a.007", "a.008", "a.٣"])] == ["a.007", "a.008", "a.٣"]


@given(names)
def test_sections_cover_every_place_once(paths):
    runs = sections(paths, limit=5)
    assert [i for _, first, end in runs for i in range(first, end)] == list(range(len(paths)))


def test_many_blocks_fall_back_to_the_first_part():
    assert sections([f"blocks.{i}.fc" for i in range(50)]) == (("blocks", 0, 50),)
