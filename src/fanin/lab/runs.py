"""Runs of a comparison as data, and the file that keeps them."""

from __future__ import annotations

import contextlib
import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from fanin.errors import ArgumentError, FaninError, FaninWarning
from fanin.text.files import assert_place, refusal
from fanin.text.names import clean
from fanin.text.numbers import counted
from fanin.text.reading import parse_json, read_fields, shown

__all__ = ["RunResult", "RunSpec", "RunStore"]

_SCHEMA = 2
_CLOSE = 1e-4  # relative; a loss computed on another machine differs by less


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
    experiments cannot mix. Every line is written and flushed to disk in one call. The file is locked while it is open.

    Args:
        path: the file; made where it does not exist. None keeps the runs in memory.
        settings: what all runs have in common, JSON-ready. Entries that the file lacks are added to it.

    Raises:
        ArgumentError: the file is something else, holds runs of other settings, or is in use by another process.
        OutputError: it cannot be written.

    Example:
        >>> store = RunStore(None, {"steps": 2})
        >>> store.add(RunSpec("t", "he", 0, 0.1), RunResult(losses=(1.0, 0.5), diverged=False, score=0.9))
        >>> len(store.runs)
        1
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.runs: dict[RunSpec, RunResult] = {}
        self._handle: int | None = None
        if path is None:
            return
        self._handle = _opened(path)
        try:
            self._begin(path, json.loads(json.dumps(settings, sort_keys=True)))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RunStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others use the file."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def __del__(self) -> None:
        self.close()

    def _begin(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Read what is there; nothing is changed before it is known to be a file of runs with these settings."""
        held = path.read_bytes()
        head = {"fanin": "compare", "schema": _SCHEMA, "settings": settings}
        whole, torn = held[: held.rfind(b"\n") + 1], held[held.rfind(b"\n") + 1 :]
        if not whole:
            if not _line(head).startswith(torn) and not torn.startswith(b'{"fanin": "compare"'):
                _header(torn, path)  # says what is wrong with it
            self._cut(0)
            self._append(head)
            return
        known = _header(whole.split(b"\n")[0], path)
        found = list(_entries(whole, path))
        for entry in found:
            known = {**entry.settings, **known}
        _assert_same(known, settings, path)
        self.runs = {e.spec: e.result for e in reversed(found) if e.spec is not None and e.result is not None}
        self._end(whole, torn)
        if more := {k: v for k, v in settings.items() if k not in known}:
            self._append({"settings": more})

    def _end(self, whole: bytes, torn: bytes) -> None:
        """Give the last line its end; where a kill came in the middle of it cut it off, and its run is done again."""
        if not torn:
            return
        try:
            last = _entry(torn)
        except FaninError:
            self._cut(len(whole))
            return
        self._write(b"\n")
        if last.spec is not None and last.result is not None:
            self.runs.setdefault(last.spec, last.result)

    def add(self, spec: RunSpec, result: RunResult) -> None:
        """Keep a run; adding one that is already there is an error, since it would be counted twice."""
        if spec in self.runs:
            raise ArgumentError(f"{spec} is already there; a run is never repeated")
        if self.path is not None:
            data = asdict(result)
            data["losses"] = [_encode(x) for x in result.losses]
            self._append({"run": asdict(spec), "result": data})
        self.runs[spec] = result

    def _append(self, line: Mapping[str, Any]) -> None:
        self._write(_line(line))

    def _write(self, rest: bytes) -> None:
        """Add bytes at the end, all or none."""
        if self._handle is None or self.path is None:
            raise ArgumentError("the file of runs is closed; open it again with RunStore(path, settings)")
        size = os.fstat(self._handle).st_size
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
            os.fsync(self._handle)
        except OSError as error:  # a full disk: the runs that were there are kept
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, size)
            raise refusal(self.path, error) from error

    def _cut(self, size: int) -> None:
        assert self._handle is not None  # noqa: S101
        os.ftruncate(self._handle, size)
        os.fsync(self._handle)


def _opened(path: Path) -> int:
    """The file, to append to, locked: nobody else can have it until it is closed.

    Raises:
        ArgumentError: another process has it, or it is no regular file.
        OutputError: it cannot be written.
    """
    assert_place(path)
    if path.exists() and not path.is_file():
        raise ArgumentError(f"'{clean(path)}' is no file that runs can be kept in; give the name of a regular file.")
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        raise refusal(path, error) from error
    try:
        _lock(handle)
    except OSError as error:
        os.close(handle)
        raise ArgumentError(
            f"another comparison is writing to '{clean(path)}'. Wait until it has ended, then start this one again: it "
            "takes the runs that are there. Or give another file name."
        ) from error
    return handle


def _lock(handle: int) -> None:
    """Lock an open file.

    Raises:
        OSError: somebody else has locked it.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a disk without locks
        return


def _line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, allow_nan=False).encode() + b"\n"


# ------------------------------------------------------------------ reading
class _Entry(NamedTuple):
    """What one line holds: a run, or settings that were added later."""

    spec: RunSpec | None = None
    result: RunResult | None = None
    settings: Mapping[str, Any] = {}


def _header(line: bytes, path: Path) -> Mapping[str, Any]:
    """The settings in the first line.

    Raises:
        ArgumentError: the file does not begin like a file of runs.
    """
    try:
        head = parse_json(line)
    except ArgumentError as error:
        raise ArgumentError(
            f"line 1 of '{clean(path)}' is not JSON ({error}), so it is no file of runs. Give another file name."
        ) from error
    right = isinstance(head, dict) and head.get("fanin") == "compare" and head.get("schema") == _SCHEMA
    if not right or not isinstance(head.get("settings"), dict):
        raise ArgumentError(
            f"'{clean(path)}' does not begin like a file of runs (schema {_SCHEMA}); its first line is {shown(head)}. "
            "Give another file name."
        )
    settings: Mapping[str, Any] = head["settings"]
    return settings


def _entries(text: bytes, path: Path) -> Iterator[_Entry]:
    """The lines after the first one; those that hold neither a run nor settings are named in one warning."""
    wrong: list[str] = []
    for number, line in enumerate(text.split(b"\n")[1:], 2):
        if not line.strip():
            continue
        try:
            yield _entry(line)
        except FaninError as error:
            wrong.append(f"line {number}: {error}")
    if wrong:
        more = f"\n  and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        warnings.warn(
            f"{counted(len(wrong), 'line')} of '{clean(path)}' {'holds' if len(wrong) == 1 else 'hold'} no run; "
            "left as found, and what is missing is run again:\n  " + "\n  ".join(wrong[:5]) + more,
            FaninWarning,
            stacklevel=2,
        )


def _entry(line: bytes) -> _Entry:
    data = parse_json(line)
    if isinstance(data, dict) and set(data) == {"settings"} and isinstance(data["settings"], dict):
        return _Entry(settings=data["settings"])
    if not isinstance(data, dict) or set(data) != {"run", "result"}:
        raise ArgumentError(f"a mapping of a run and its result is needed; got {shown(data)}")
    spec = RunSpec(**read_fields(RunSpec, data["run"]))
    if not spec.lr > 0:
        raise ArgumentError(f"field 'lr' must be > 0; got {spec.lr!r}")
    return _Entry(spec, _result(data["result"]))


def _result(data: Any) -> RunResult:
    """A result from plain data, its numbers checked against each other."""
    if not isinstance(data, dict) or not isinstance(data.get("losses"), list):
        raise ArgumentError(f"field 'result' must be a mapping with a list of losses; got {shown(data)}")
    losses = tuple(map(_loss, data["losses"]))
    result = RunResult(**{**read_fields(RunResult, {**data, "losses": ()}), "losses": losses})
    finite = [math.isfinite(x) for x in losses]
    if not all(finite[:-1]) or (bool(losses) and finite[-1] == result.diverged):
        raise ArgumentError("field 'losses' holds numbers that are not finite elsewhere than where a run diverged")
    if result.setup_steps < 0 or (not losses and (not result.setup_steps or result.diverged)):
        raise ArgumentError("field 'losses' is empty, and the set-up has spent no steps")
    return result


def _loss(value: Any) -> float:
    if isinstance(value, str) and value in ("nan", "inf", "-inf"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArgumentError(f"field 'losses' must hold numbers; got {shown(value)}")
    return float(value)


def _assert_same(there: Mapping[str, Any], here: Mapping[str, Any], path: Path) -> None:
    """Raise where the file's settings and ours differ in an entry that both have."""
    changed = [k for k in sorted(here) if k in there and not _same(there[k], here[k])]
    if changed:
        every = [words for k in changed for words in _changes(k, there[k], here[k])]
        what = "; ".join(every[:6]) + ("; ..." if len(every) > 6 else "")
        raise ArgumentError(
            f"'{clean(path)}' holds runs made under other settings ({', '.join(map(clean, changed))} differ), and runs "
            f"of two experiments must not mix: {what}. Give another file name, or delete the file."
        )


def _changes(name: str, there: Any, here: Any) -> Iterator[str]:
    """What changed, in words: of mappings each entry by itself."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in sorted({**there, **here}):
            if there.get(key) != here.get(key):
                yield from _changes(f"{name}, {key}", there.get(key), here.get(key))
    else:
        yield f"{clean(name)} was {shown(there)} and is {shown(here)}"


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, float) and isinstance(two, float):
        return math.isclose(one, two, rel_tol=_CLOSE)
    return bool(one == two)
