"""Forward and backward rules of one family are in files of one name."""

from __future__ import annotations

import importlib
import pkgutil

from fanin.moments import backward, forward
from fanin.moments.backward import BACKWARD
from fanin.moments.forward import FORWARD


def files(package) -> set[str]:
    return {m.name for m in pkgutil.iter_modules(package.__path__)}


def table(package, name: str) -> set[str]:
    return set(getattr(importlib.import_module(f"{package.__name__}.{name}"), "RULES", ()))


def with_rules(package) -> set[str]:
    return {name for name in files(package) if table(package, name)}


def test_the_folders_have_rules_in_the_same_files():
    # what only one way needs (where a convolution is padded, how sizes differ by place) is in files without rules
    assert with_rules(backward) == with_rules(forward)


def test_an_operation_is_in_the_same_file_both_ways():
    there = {op: name for name in files(forward) for op in table(forward, name)}
    back = {op: name for name in files(backward) for op in table(backward, name)}
    assert set(there) == set(FORWARD)
    assert set(back) == set(BACKWARD)
    apart = {op: (there[op], back[op]) for op in there.keys() & back.keys() if there[op] != back[op]}
    assert apart == {}
