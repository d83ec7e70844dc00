"""A watched run as JSON Lines: the check of the first batch, then one line a measured step."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any

from fanin import layout
from fanin.errors import ArgumentError
from fanin.measure import record, steps
from fanin.measure.steps import StepRecord, Watched
from fanin.rules import finding, result
from fanin.rules.base import Optimizer
from fanin.rules.result import CheckResult
from fanin.text.files import PathLike, assert_place
from fanin.text.jsonable import jsonable
from fanin.text.names import clean
from fanin.text.reading import decode_json, read_bytes, read_fields, shown

__all__ = ["SCHEMA_VERSION", "Store", "StoredRun", "read_run"]

SCHEMA_VERSION = 1
_KIND = "fanin.watch"
_MODULES = (record, steps, finding, result, layout)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """What a file holds.

    Attributes:
        first: the check of the first batch.
        watched: the steps.
        optimizer: what the rules knew of the optimizer; None where the first batch was not checked.
        cut: whether the file ends in the middle of a line, which is left out.
    """

    first: CheckResult
    watched: Watched
    optimizer: Optimizer | None
    cut: bool


class Store:
    """A file that grows by a line for each measured step; what was written stays there if the run is killed."""

    def __init__(self, path: PathLike) -> None:
        assert_place(path)
        self._path = Path(path)
        self._begun = False

    def write(self, first: CheckResult, watched: Watched, step: StepRecord, optimizer: Optimizer | None) -> None:
        """Add one step; the first one writes the check of the first batch before it."""
        lines = [_line(jsonable(step))]
        if not self._begun:
            head = {"kind": _KIND, "schema_version": SCHEMA_VERSION}
            run = replace(watched, steps=())
            known = {"run": run, "first_batch": first, "optimizer": optimizer}
            lines.insert(0, _line({**head, **{name: jsonable(value) for name, value in known.items()}}))
        with self._path.open("a" if self._begun else "w", encoding="utf-8") as file:
            file.write("".join(lines))
        self._begun = True


def _line(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":")) + "\n"


def read_run(path: PathLike) -> StoredRun:
    """The check of the first batch and the steps of a stored run.

    A last line that is not whole is left out: the run was stopped while it was written.

    Raises:
        ArgumentError: the file holds no such run; the message says why.
        InputError: the file cannot be read.
    """
    head, *lines = read_bytes(path).split(b"\n")
    try:
        if not lines and head.startswith(b'{"kind":"' + _KIND.encode()):
            raise ArgumentError("the run stopped before its first step was written")
        run = _head(head)
        steps, cut = _steps(lines, run.watched)
    except ArgumentError as error:
        raise ArgumentError(
            f"'{clean(path)}' is no run that fanin.watch stored: {error}. Give a file that fanin.watch(..., "
            "out=FILE) wrote"
        ) from error
    return replace(run, watched=replace(run.watched, steps=steps), cut=cut)


def _head(line: bytes) -> StoredRun:
    """A run without its steps, from its first line."""
    if not line.strip():
        raise ArgumentError("its first line is empty")
    head = decode_json(line)
    if not isinstance(head, Mapping) or head.get("kind") != _KIND:
        raise ArgumentError("its first line is not that of a watched run")
    if head.get("schema_version") != SCHEMA_VERSION:
        raise ArgumentError(
            f"it has schema version {shown(head.get('schema_version'))}; this fanin reads {SCHEMA_VERSION}"
        )
    return StoredRun(
        first=restored(CheckResult, head.get("first_batch")),
        watched=restored(Watched, head.get("run")),
        optimizer=None if head.get("optimizer") is None else restored(Optimizer, head.get("optimizer")),
        cut=False,
    )


def _steps(lines: Sequence[bytes], run: Watched) -> tuple[tuple[StepRecord, ...], bool]:
    """The steps, one a line, and whether the last line is not whole."""
    found: list[StepRecord] = []
    for place, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            found.append(_step(restored(StepRecord, decode_json(line)), run))
        except ArgumentError as error:
            if place == len(lines) - 1:  # nothing ends it: it was being written
                return tuple(found), True
            raise ArgumentError(f"line {place + 2}: {error}") from error
    return tuple(found), False


def _step(step: StepRecord, run: Watched) -> StepRecord:
    """The step, if it has one value for each weight and for each layer of the run."""
    for name, values, owners in (
        ("updates", step.updates, run.weights),
        ("distances", step.distances, run.weights),
        ("outside", step.outside, run.weights),
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
