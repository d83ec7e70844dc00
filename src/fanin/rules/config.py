"""What a user may say about rules.

Select, ignore, thresholds, per module; in code or in [tool.fanin] of a pyproject.toml.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fanin.errors import ArgumentError, UnknownNameError, did_you_mean
from fanin.rules.base import Rule
from fanin.rules.finding import SEVERITIES, Severity
from fanin.rules.table import RULES, get_rule
from fanin.text.names import clean
from fanin.text.reading import read_fields, shown

__all__ = ["Config", "load_config", "selected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Which rules run, how strict they are, and where they keep quiet.

    Attributes:
        select: codes, prefixes ("S2", "G") or names; empty for all.
        extend_select: added to `select`.
        ignore: codes, prefixes or names that do not run.
        per_module_ignores: glob over module or parameter paths -> codes ignored there.
        thresholds: code -> threshold name -> value.
        fail_on: lowest severity that fails a check.

    Example:
        >>> [r.code for r in selected(Config(select=("S20",), ignore=("forward-exploding",)))]
        ['S207', 'S201', 'S203', 'S204', 'S205', 'S206']
    """

    select: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    per_module_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    fail_on: Severity = "warning"

    def __post_init__(self) -> None:
        for entry in (*self.select, *self.extend_select, *self.ignore, *_flat(self.per_module_ignores.values())):
            _known(entry)
        if self.fail_on not in SEVERITIES:
            raise ArgumentError(f"fail_on is {self.fail_on!r}; allowed: {', '.join(SEVERITIES)}")
        for code, limits in self.thresholds.items():
            _check_thresholds(get_rule(code), limits)


def _flat(groups: Iterable[Iterable[str]]) -> list[str]:
    return [entry for group in groups for entry in group]


def _known(entry: str) -> None:
    if not entry or not any(covers(entry, rule) for rule in RULES):
        known = [r.code for r in RULES] + [r.name for r in RULES]
        raise UnknownNameError(f"no rule has the code, prefix or name {entry!r}; {did_you_mean(entry, known)}")


def _check_thresholds(rule: Rule, limits: Mapping[str, float]) -> None:
    for name, value in limits.items():
        if name not in rule.thresholds:
            allowed = ", ".join(rule.thresholds) or "none"
            raise UnknownNameError(f"{rule.code} ({rule.name}) has no threshold {name!r}; it has: {allowed}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ArgumentError(f"threshold {name!r} of {rule.code} is {value!r}; a number is needed")


def covers(entry: str, rule: Rule) -> bool:
    """An entry is a code, a prefix of one, a name, or "ALL"."""
    return entry == "ALL" or rule.code.startswith(entry.upper()) or entry == rule.name


def selected(config: Config) -> tuple[Rule, ...]:
    """Rules that run, in causal order."""
    wanted = (*(config.select or ("ALL",)), *config.extend_select)
    return tuple(
        r
        for r in RULES
        if any(covers(entry, r) for entry in wanted) and not any(covers(entry, r) for entry in config.ignore)
    )


def load_config(path: str | Path | None = None, **changes: Any) -> Config:
    """The [tool.fanin] table of a pyproject.toml, with changes on top.

    Args:
        path: the file, or a folder to search upwards from; None for no file at all.
        **changes: fields of `Config` that win over the file; None leaves the file's value.

    Raises:
        ArgumentError: the file cannot be read, or a key is unknown.
    """
    table = _table(Path(path)) if path is not None else {}
    known = {f.name for f in fields(Config)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known:
            raise ArgumentError(f"[tool.fanin] has an unknown key {key!r}; {did_you_mean(name, known)}")
        values[name] = _listed(name, value)
    values |= {k: _listed(k, v) for k, v in changes.items() if v is not None}
    return replace(Config(), **read_fields(Config, values))


def _listed(name: str, value: Any) -> Any:
    """A single code as a list of one."""
    if name in ("select", "extend_select", "ignore"):
        return [value] if isinstance(value, str) else value
    if name == "per_module_ignores" and isinstance(value, Mapping):
        return {k: [v] if isinstance(v, str) else v for k, v in value.items()}
    return value


def _table(path: Path) -> dict[str, Any]:
    file = _find(path)
    if file is None:
        return {}
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]
    try:
        with file.open("rb") as stream:
            document = tomllib.load(stream)
    except (OSError, ValueError, RecursionError) as error:  # not TOML, or not UTF-8
        raise ArgumentError(
            f"'{clean(file)}' cannot be read as TOML: {clean(error)}. Correct it, or run without it."
        ) from error
    tool = document.get("tool", {})
    table = tool.get("fanin", {}) if isinstance(tool, dict) else tool
    if not isinstance(table, dict):
        raise ArgumentError(f"[tool.fanin] in '{clean(file)}' is a table of settings; got {shown(table)}")
    return table


def _find(path: Path) -> Path | None:
    if path.is_file():
        return path
    if not path.exists():
        raise ArgumentError(f"there is no file or folder '{clean(path)}' to read settings from; correct its name")
    return next((f for p in (path, *path.resolve().parents) if (f := p / "pyproject.toml").is_file()), None)
