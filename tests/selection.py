"""Which cases of a parametrized test belong to `make test`; the others run in `make test-all`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

__all__ = ["few"]


def few(cases: Collection[Any], *kept: Any, every: int | None = None) -> list[Any]:
    """The cases for `parametrize`: those in `kept`, or the first of each `every`, stay; the others are slow.

    A tuple holds the values of several names.

    Example:
        >>> [len(getattr(case, "marks", ())) for case in few(["tanh", "gelu", "elu"], "gelu")]
        [1, 0, 1]
        >>> [len(getattr(case, "marks", ())) for case in few(range(5), every=2)]
        [0, 1, 0, 1, 0]
    """
    missing = [k for k in kept if k not in cases]
    assert not missing, f"{missing} are no cases"  # a renamed case must not leave `make test` in silence
    stays = [c in kept if every is None else i % every == 0 for i, c in enumerate(cases)]
    assert any(stays), "no case stays"
    return [c if stay else _slow(c) for c, stay in zip(cases, stays, strict=True)]


def _slow(case: Any) -> Any:
    if hasattr(case, "marks"):  # a pytest.param
        return pytest.param(*case.values, marks=[*case.marks, pytest.mark.slow], id=case.id)
    return pytest.param(*(case if type(case) is tuple else (case,)), marks=pytest.mark.slow)
