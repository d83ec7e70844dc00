"""Runs of a comparison as data, and the file that keeps them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fanin.errors import ArgumentError

__all__ = ["RunResult", "RunSpec", "RunStore"]

_SCHEMA = 1


@dataclass(frozen=True, slots=True, order=True)
class RunSpec:
    """Which run: one task, started one way, under one seed and one learning rate."""

    task: str
    init: str
    seed: int
    lr: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What one run gave.

    Attributes:
        losses: loss of each step's batch before its update.
        diverged: whether a loss was not finite.
        score: held-out score after the last step (accuracy where none was given); None where there is none.
        setup_steps: updates spent before the first step (pre-training), taken from the run's budget.
        setup_seconds: wall time of drawing the weights and of pre-training.
        seconds: wall time of the steps.
    """

    losses: tuple[float, ...]
    diverged: bool
    score: float | None
    setup_steps: int = 0
    setup_seconds: float = field(default=0.0, compare=False)
    seconds: float = field(default=0.0, compare=False)

    @property
    def initial_loss(self) -> float:
        """Loss of the first batch, before any update."""
        return self.losses[0] if self.losses else math.inf

    def final_loss(self, last: int = 20) -> float:
        """Mean loss of the last steps; inf for a run that diverged."""
        if self.diverged or not self.losses:
            return math.inf
        tail = self.losses[-last:]
        return sum(tail) / len(tail)

    def steps_to(self, loss: float, *, window: int = 10) -> int | None:
        """First step at which the mean loss of the last `window` steps is at or below `loss`; None if never.

        Example:
            >>> RunResult(losses=(3.0, 2.0, 1.0, 0.5), diverged=False, score=None).steps_to(1.0, window=2)
            3
        """
        for step in range(len(self.losses)):
            tail = self.losses[max(0, step + 1 - window) : step + 1]
            if sum(tail) / len(tail) <= loss:
                return step + self.setup_steps
        return None

    def seconds_to(self, loss: float) -> float | None:
        """Wall time until `steps_to`, set-up included; None if never."""
        step = self.steps_to(loss)
        if step is None:
            return None
        return self.setup_seconds + self.seconds * (step - self.setup_steps + 1) / len(self.losses)


def _encode(value: float) -> float | str:
    return value if math.isfinite(value) else repr(value)


class RunStore:
    """An append-only JSON Lines file of runs; a run that is in it is never repeated, a torn last line never counts.

    The first line names the settings; opening the file under other settings is refused, so that results of two
    experiments cannot mix. Every line is written and flushed to disk in one call.

    Args:
        path: the file; made where it does not exist. None keeps the runs in memory.
        settings: what all runs have in common, JSON-ready.

    Example:
        >>> store = RunStore(None, {"steps": 2})
        >>> store.add(RunSpec("t", "he", 0, 0.1), RunResult(losses=(1.0, 0.5), diverged=False, score=0.9))
        >>> len(store.runs)
        1
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.runs: dict[RunSpec, RunResult] = {}
        self._settings = json.loads(json.dumps(settings, sort_keys=True))
        if path is None:
            return
        if path.exists() and path.stat().st_size:
            self._load(path)
        if not path.exists() or not path.stat().st_size:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append({"fanin": "compare", "schema": _SCHEMA, "settings": self._settings})

    def _load(self, path: Path) -> None:
        text = path.read_bytes()
        whole, torn = text[: text.rfind(b"\n") + 1], text[text.rfind(b"\n") + 1 :]
        if torn:  # a kill in the middle of a write: cut the line off, its run is done again
            with path.open("r+b") as file:
                file.truncate(len(whole))
                os.fsync(file.fileno())
        lines = list(_parse(whole, path))
        if not lines:
            return
        head = lines[0]
        if head.get("fanin") != "compare" or head.get("schema") != _SCHEMA:
            raise ArgumentError(
                f"{path} does not begin like a file of runs (schema {_SCHEMA}); its first line is {head!r}. "
                "Give another file name."
            )
        if head["settings"] != self._settings:
            changed = sorted(
                k
                for k in head["settings"].keys() | self._settings.keys()
                if head["settings"].get(k) != self._settings.get(k)
            )
            raise ArgumentError(
                f"{path} holds runs made under other settings ({', '.join(changed)} differ), and runs of two "
                "experiments must not mix. Give another file name, or delete the file."
            )
        for line in lines[1:]:
            spec = RunSpec(**line["run"])
            self.runs.setdefault(spec, _decode_result(line["result"]))

    def add(self, spec: RunSpec, result: RunResult) -> None:
        """Keep a run; adding one that is already there is an error, since it would be counted twice."""
        if spec in self.runs:
            raise ArgumentError(f"{spec} is already there; a run is never repeated")
        self.runs[spec] = result
        if self.path is not None:
            data = asdict(result)
            data["losses"] = [_encode(x) for x in result.losses]
            self._append({"run": asdict(spec), "result": data})

    def _append(self, line: Mapping[str, Any]) -> None:
        assert self.path is not None  # noqa: S101
        with self.path.open("ab") as file:
            file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _parse(text: bytes, path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise ArgumentError(
                f"line {number} of {path} is not JSON ({error.msg}). Every whole line of a file of runs is; "
                "give another file name, or mend the line."
            ) from error


def _decode_result(data: Mapping[str, Any]) -> RunResult:
    return RunResult(**{**data, "losses": tuple(float(x) for x in data["losses"])})
