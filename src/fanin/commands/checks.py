"""What `fanin check`, `fanin explain RULE` and `fanin diff` do, without the command line."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanin.checking.check import Report, check
from fanin.commands.targets import quiet
from fanin.errors import ArgumentError, TargetError, UnknownNameError
from fanin.rules.table import get_rule

__all__ = ["Difference", "check_target", "compare_reports", "is_report", "rule_page"]

_FACTOR = 2.0  # a statistic that moved by less is not worth a line


def check_target(target: str, *, shape: str | None = None, weights: Path | None = None, **settings: Any) -> Report:
    """Check what a command-line target gives.

    What the model prints goes to stderr, and it finds no standard input to wait for.

    Args:
        target: "file.py:callable" or "package.module:callable"; called once per seed.
        shape: shape of a random input, where the target gives none.
        weights: a .safetensors file to load into the model first.
        **settings: as `fanin.check` takes them.

    Raises:
        TargetError: the target cannot be loaded, or gives no inputs.
    """
    from fanin.commands.targets import load_target

    def make() -> tuple[Any, ...]:
        loaded = load_target(target, input_shape=shape)
        if loaded.inputs is None:
            raise TargetError(
                f"{target!r} gave no inputs; return (model, inputs), or give their shape: --input 8,3,224,224"
            )
        if weights is not None:
            _load_weights(loaded.model, weights)
        return tuple(part for part in (loaded.model, loaded.inputs, loaded.targets, loaded.loss) if part is not None)

    with quiet(), _progress(f"checking {target}"):
        return check(make, target=target, **settings)


def _load_weights(model: Any, path: Path) -> None:
    if path.suffix != ".safetensors":
        raise TargetError(f"weights are read from .safetensors only (never unpickled); got {str(path)!r}")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise TargetError(f"{path} cannot be loaded into the model: {error}") from error


@contextlib.contextmanager
def _progress(words: str) -> Iterator[None]:
    """A line on stderr while a slow model runs; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(escape(words)):
        yield


def rule_page(name: str) -> str:
    """The page of a rule, by code or name; "" where no rule has this name.

    Example:
        >>> print(rule_page("S205").splitlines()[0])
        S205 sample-collapse
    """
    try:
        rule = get_rule(name)
    except UnknownNameError:
        return ""
    limits = ", ".join(f"{k} = {v:g}" for k, v in rule.thresholds.items()) or "none"
    return f"{rule.code} {rule.name}\n\n{rule.page()}\n\nThresholds: {limits}\nSource: {rule.source}"


def is_report(path: str | Path) -> bool:
    """Whether a file is a report saved as JSON or as a page."""
    try:
        _read(Path(path))
    except ArgumentError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What changed between two reports.

    Attributes:
        new: fingerprints of findings that only the second has.
        gone: fingerprints of findings that only the first has.
        moved: (operation, statistic, before, after) of statistics that changed by more than a factor of two.
        verdicts: of both.
    """

    new: tuple[str, ...]
    gone: tuple[str, ...]
    moved: tuple[tuple[str, str, float, float], ...]
    verdicts: tuple[str, str]

    @property
    def worse(self) -> bool:
        """There are findings that were not there before."""
        return bool(self.new)

    def to_text(self) -> str:
        """One line a change."""
        lines = [f"before: {self.verdicts[0]}", f"after:  {self.verdicts[1]}"]
        lines += [f"new   {entry}" for entry in self.new] + [f"gone  {entry}" for entry in self.gone]
        lines += [f"moved {site} {name}: {a:.3g} -> {b:.3g} (x{b / a:.3g})" for site, name, a, b in self.moved]
        return "\n".join(lines if len(lines) > 2 else [*lines, "nothing changed"])


def compare_reports(old: Path, new: Path) -> Difference:
    """What changed between two reports saved as JSON or as pages.

    A page of a large model carries only part of its statistics; findings it has all of.

    Raises:
        ArgumentError: a file is no such report.
    """
    before, after = _read(old), _read(new)
    had, has = _fingerprints(before), _fingerprints(after)
    return Difference(
        new=tuple(f for f in has if f not in had),
        gone=tuple(f for f in had if f not in has),
        moved=tuple(_moved(before, after)),
        verdicts=(str(before["verdict"]), str(after["verdict"])),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        document: dict[str, Any] = _of_page(text) if text.lstrip().startswith("<") else json.loads(text)
        _ = document["findings"], document["verdict"], document["measurements"]["sites"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArgumentError(
            f"{path} is no report ({type(error).__name__}: {error}). Make one with: fanin check TARGET --format json "
            "(or html)"
        ) from error
    return document


def _of_page(text: str) -> dict[str, Any]:
    """The document in a page, which leaves out what is empty."""
    from fanin.report.html.document import data_of

    document = dict(data_of(text))
    if "verdict" not in document:
        raise ArgumentError("the page is not that of a check")
    measurements = {"sites": [], **document.get("measurements", {})}
    return {"findings": [], **document, "measurements": measurements}


def _fingerprints(document: Mapping[str, Any]) -> list[str]:
    found = [f for f in document["findings"] if f["severity"] != "note"]
    return [f"{f['code']} {f['name']} {f.get('pattern') or (f.get('paths') or [''])[0]}" for f in found]


def _moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[tuple[str, str, float, float]]:
    old, new = _statistics(before), _statistics(after)
    for key, a in old.items():
        b = new.get(key)
        if b is not None and abs(math.log(b / a)) > math.log(_FACTOR):
            yield (*key, a, b)


def _statistics(document: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """(operation, statistic) -> positive finite number, of weighted operations."""
    found: dict[tuple[str, str], float] = {}
    for site in document["measurements"]["sites"]:
        if site["kind"] == "weight":
            name = f"{site.get('path', '')}:{site['op']}" + (f"#{site['call']}" if site.get("call") else "")
            for statistic, where in (("rms", "forward"), ("gradient", "backward")):
                found[name, statistic] = (site.get(where) or {}).get("rms") or 0.0
    return {k: v for k, v in found.items() if isinstance(v, float) and math.isfinite(v) and v > 0}
