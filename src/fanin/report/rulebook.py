"""What the rules say of themselves, for the views that list rules."""

from __future__ import annotations

from dataclasses import dataclass

from fanin.rules.result import CheckResult

__all__ = ["RuleText", "rule_texts"]


@dataclass(frozen=True, slots=True)
class RuleText:
    """A rule by code and name, with its one-line title and its explanation where the rule book has them."""

    code: str
    name: str
    title: str = ""
    explanation: str = ""


def rule_texts(result: CheckResult) -> tuple[RuleText, ...]:
    """The rules that a result speaks of, in the order of their codes."""
    names = {code: code for code in result.checked}
    for finding in (*result.findings, *result.consequences, *result.ignored):
        names[finding.code] = finding.name
    names.update({rule.code: rule.name for rule in result.not_run})
    return tuple(RuleText(code, names[code]) for code in sorted(names))
