"""A watched run as JSON Lines: the check of the first batch, then one line a measured step."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

from fanin import layout
from fanin.errors import ArgumentError
from fanin.measure import record, steps
from fanin.measure.steps import StepRecord, Watched
from fanin.rules import finding, result
from fanin.rules.result import CheckResult
from fanin.text.files import PathLike, assert_place
from fanin.text.jsonable import jsonable
from fanin.text.names import clean
from fanin.text.reading import decode_json, read_bytes, read_fields, shown

__all__ = ["SCHEMA_VERSION", "Store", "is_run", "read_run"]

SCHEMA_VERSION = 1
_KIND = "fanin.watch"
_MODULES = (record, steps, finding, result, layout)


class Store:
    """A file that grows by a line for each measured step; what was written stays there if the run is killed."""

    def __init__(self, path: PathLike) -> None:
        assert_place(path)
        self._path = Path(path)
        self._begun = False

    def write(self, first: CheckResult, watched: Watched, step: StepRecord) -> None:
        """Add one step; the first one writes the check of the first batch before it."""
        lines = [_line(jsonable(step))]
        if not self._begun:
            head = {"kind": _KIND, "schema_version": SCHEMA_VERSION}
            run = replace(watched, steps=())
            lines.insert(0, _line({**head, "run": jsonable(run), "first_batch": jsonable(first)}))
        with self._path.open("a" if self._begun else "w", encoding="utf-8") as file:
            file.write("".join(lines))
        self._begun = True


def _line(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":")) + "\n"


def is_run(path: PathLike) -> bool:
    """Whether a file holds a watched run."""
    first = read_bytes(path).split(b"\n", 1)[0]
    return first.startswith(b'{"kind":"' + _KIND.encode() + b'"')


def read_run(path: PathLike) -> tuple[CheckResult, Watched]:
    """The check of the first batch and the steps of a stored run.

    A last line without its end is left out: the run was killed while it was written.

    Raises:
        ArgumentError: the file holds no such run; the message says why.
        InputError: the file cannot be read.
    """
    *lines, _ = read_bytes(path).split(b"\n")
    try:
        if not lines:
            raise ArgumentError("it has no whole line")
        head = decode_json(lines[0])
        if not isinstance(head, Mapping) or head.get("kind") != _KIND:
            raise ArgumentError("its first line is not that of a watched run")
        if head.get("schema_version") != SCHEMA_VERSION:
            raise ArgumentError(
                f"it has schema version {shown(head.get('schema_version'))}; this fanin reads {SCHEMA_VERSION}"
            )
        first = restored(CheckResult, head.get("first_batch"))
        run = restored(Watched, head.get("run"))
        found = [_step(restored(StepRecord, decode_json(line)), run) for line in lines[1:]]
    except ArgumentError as error:
        raise ArgumentError(f"'{clean(path)}' is no run that fanin.watch stored: {error}") from error
    return first, replace(run, steps=tuple(found))


def _step(step: StepRecord, run: Watched) -> StepRecord:
    """The step, if it has one value for each weight and for each layer of the run."""
    for name, values, owners in (
        ("updates", step.updates, run.weights),
        ("distances", step.distances, run.weights),
        ("activations", step.activations, run.layers),
        ("dead", step.dead, run.layers),
    ):
        if values and len(values) != len(owners):
            raise ArgumentError(f"{name} has {len(values)} values for {len(owners)} names")
    return step


def restored(cls: type, data: Any) -> Any:
    """An object of a dataclass of results from what `jsonable` made of it.

    Raises:
        ArgumentError: the data does not fit the class.
    """
    try:
        return cls(**read_fields(cls, data, _readers()))
    except (TypeError, ValueError, LookupError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(f"{cls.__name__}: {clean(error)}") from error


@functools.cache
def _readers() -> Mapping[type, Callable[[Any], Any]]:
    kinds = {
        kind
        for module in _MODULES
        for kind in vars(module).values()
        if isinstance(kind, type) and is_dataclass(kind) and dataclasses.fields(kind)
    }
    return {float: _number, **{kind: functools.partial(restored, kind) for kind in kinds}}


def _number(value: Any) -> float:
    """A float; JSON has no NaN and no infinity, so `jsonable` writes their names."""
    if value in ("nan", "inf", "-inf"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ArgumentError(f"{shown(value)} is no number")
    return float(value)
