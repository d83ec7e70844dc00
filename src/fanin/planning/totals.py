"""Totals of a plan per module, as data: how many numbers each holds, and how they start."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass

from fanin.planning.assignment import Assignment
from fanin.planning.data import PlanData
from fanin.planning.rows import law_words
from fanin.text.paths import PathGroup, group_paths

__all__ = ["ModuleTotal", "module_totals"]

_Inside = Mapping[str, Assignment]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleTotal:
    """What one module holds, everything inside it included; equal modules of a row of blocks are added up.

    Attributes:
        pattern: path from the module around it, such as "layers.{0..11}"; empty for the whole model.
        depth: 0 for the whole model, 1 for what lies directly in it.
        modules: how many modules the row adds up.
        parameters: number of parameters in all of them.
        numel: number of elements in all of them.
        kept: how many of these elements stay as they are.
        laws: the initializers inside, each once, in the order of the model.
    """

    pattern: str
    depth: int
    modules: int
    parameters: int
    numel: int
    kept: int
    laws: tuple[str, ...]


def module_totals(plan: PlanData) -> tuple[ModuleTotal, ...]:
    """The modules of a plan, each below the one around it; a tied parameter counts once, at its first name.

    Example:
        >>> import fanin, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
        >>> [(t.pattern, t.modules, t.numel) for t in module_totals(fanin.plan(model, recipe="torch"))]
        [('', 1, 50), ('{0..1}', 2, 40), ('2', 1, 10)]
    """
    inside = dict(plan.assignments)
    return (_total("", 0, 1, inside), *_below(inside, depth=1, times=1))


def _below(inside: _Inside, *, depth: int, times: int) -> Iterator[ModuleTotal]:
    children = _children(inside)
    for group in _equal(children):
        pattern, modules, held = _joined(group.pattern, times * len(group.members), children[group.members[0]])
        yield _total(pattern, depth, modules, held)
        yield from _below(held, depth=depth + 1, times=modules)


def _joined(pattern: str, modules: int, inside: _Inside) -> tuple[str, int, _Inside]:
    """A module that holds one group of equal modules and nothing else, together with that group."""
    children = _children(inside)
    groups = _equal(children)
    if len(groups) != 1 or sum(map(len, children.values())) != len(inside):
        return pattern, modules, inside
    group = groups[0]
    return _joined(f"{pattern}.{group.pattern}", modules * len(group.members), children[group.members[0]])


def _children(inside: _Inside) -> dict[str, dict[str, Assignment]]:
    """The modules directly inside, by name, with their parameters by the rest of their names."""
    found: dict[str, dict[str, Assignment]] = {}
    for name, a in inside.items():
        child, dot, rest = name.partition(".")
        if dot:
            found.setdefault(child, {})[rest] = a
    return found


def _equal(children: Mapping[str, _Inside]) -> tuple[PathGroup, ...]:
    return group_paths(children, key=lambda child: _signature(children[child]))


def _signature(inside: _Inside) -> Hashable:
    return tuple((rest, a.shape, a.action, law_words(a)) for rest, a in inside.items())


def _total(pattern: str, depth: int, modules: int, inside: _Inside) -> ModuleTotal:
    held = inside.values()
    return ModuleTotal(
        pattern=pattern,
        depth=depth,
        modules=modules,
        parameters=modules * len(inside),
        numel=modules * sum(a.numel for a in held),
        kept=modules * sum(a.numel for a in held if a.action == "keep"),
        laws=tuple(dict.fromkeys(law_words(a) for a in held)),
    )
