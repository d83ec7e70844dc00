"""How often the way of a model through `fanin.plan` returns to a file that it has left.

python -m tools.walk            # the steps in order, and the count

A step is a call of a function of fanin that is given the model: a module of it, its captured `Graph`, or a dataclass
of fanin that holds one of these (as an argument, or in the variables that a nested function closes over). Each step
enters the file of its function. Left out are

* what a function calls more than once: loops over modules, operations and parameters work on parts of the model;
* methods of the records themselves: a record that is asked for its data is no further stay;
* what happens inside ``graph/recording/``: the recorder runs the model, and its back and forth is the model's own.

The count is the number of stays (consecutive steps in one file are one stay) less the number of files.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import fanin
from fanin.graph.ir import Graph

ROOT = Path(fanin.__file__).resolve().parent
ONE_STAY = ("graph/recording/",)
_DEPTH = 4


@dataclass
class Call:
    """One call of a function of fanin and the calls that it made."""

    file: str
    name: str
    line: int
    is_step: bool
    made: list[Call] = field(default_factory=list)


def traced(run: Callable[[], Any], model: torch.nn.Module) -> Call:
    """The calls of functions of fanin while `run` runs."""
    top = Call("", "", 0, False)
    stack = [top]
    modules = frozenset(map(id, model.modules()))

    def profile(frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event not in ("call", "return") or not file.startswith(str(ROOT)):
            return
        if event == "return":
            stack.pop()
            return
        code = frame.f_code
        call = Call(
            Path(file).relative_to(ROOT).as_posix(), code.co_name, code.co_firstlineno, _is_step(frame, modules)
        )
        stack[-1].made.append(call)
        stack.append(call)

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return top


def _is_step(frame: FrameType, modules: frozenset[int]) -> bool:
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    given = [frame.f_locals.get(name) for name in (*names, *code.co_freevars)]
    is_method = names[:1] == ("self",) and _holds(given[0], modules)
    return not is_method and not code.co_name.startswith("<") and any(_holds(value, modules) for value in given)


def _holds(value: Any, modules: frozenset[int], depth: int = _DEPTH) -> bool:
    if id(value) in modules or isinstance(value, Graph):
        return True
    kind = type(value)
    if not depth or not kind.__module__.startswith("fanin.") or not dataclasses.is_dataclass(kind):
        return False
    return any(_holds(getattr(value, f.name, None), modules, depth - 1) for f in dataclasses.fields(kind))


def steps(call: Call) -> Iterator[Call]:
    """The steps of a walk in order."""
    often = Counter((c.file, c.line) for c in call.made)
    for made in call.made:
        if often[made.file, made.line] > 1:
            continue
        if made.is_step:
            yield made
        if not made.file.startswith(ONE_STAY):
            yield from steps(made)


def stays(walk: list[Call]) -> list[list[Call]]:
    """Steps in a row that are in one file."""
    found: list[list[Call]] = []
    for step in walk:
        if found and found[-1][0].file == step.file:
            found[-1].append(step)
        else:
            found.append([step])
    return found


def returns() -> tuple[int, list[list[Call]]]:
    """How often a plan of a small network returns to a file, and its stays."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    inputs = torch.randn(3, 4)
    fanin.plan(model, inputs)  # all modules are imported before the walk
    found = stays(list(steps(traced(lambda: fanin.plan(model, inputs), model))))
    return len(found) - len({stay[0].file for stay in found}), found


def main() -> None:
    count, found = returns()
    seen: set[str] = set()
    for stay in found:
        back = "  <- again" if stay[0].file in seen else ""
        print(f"{stay[0].file:36}{', '.join(dict.fromkeys(c.name for c in stay))}{back}")
        seen.add(stay[0].file)
    print(f"{len(seen)} files, {len(found)} stays, {count} returns")


if __name__ == "__main__":
    main()
