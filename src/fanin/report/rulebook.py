"""Names, pages and limits of the rules, for the views that list or explain rules."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fanin.errors import UnknownNameError
from fanin.rules.result import CheckResult
from fanin.rules.table import get_rule

__all__ = ["RuleText", "rule_text", "rule_texts"]


@dataclass(frozen=True, slots=True)
class RuleText:
    """A rule by code and name, with the paragraphs of its page: empty where the rule book has none.

    Attributes:
        code: "S201".
        name: "forward-vanishing".
        title: the first line of its page.
        why: why it matters.
        measured: what is measured, and its limits.
        fix: what to do in general.
    """

    code: str
    name: str
    title: str = ""
    why: str = ""
    measured: str = ""
    fix: str = ""


def rule_text(code: str, name: str = "") -> RuleText:
    """The page of a rule; a code that is in no table keeps the given name.

    Example:
        >>> rule_text("S201").title
        'The signal shrinks with depth.'
        >>> rule_text("X999", "home-made")
        RuleText(code='X999', name='home-made', title='', why='', measured='', fix='')
    """
    try:
        rule = get_rule(code)
    except UnknownNameError:
        return RuleText(code, name or code)
    page = rule.page()
    return RuleText(
        code=rule.code,
        name=rule.name,
        title=page.splitlines()[0] if page else "",
        why=_paragraph(page, "Why"),
        measured=_paragraph(page, "What is measured"),
        fix=_paragraph(page, "Fix"),
    )


def rule_texts(result: CheckResult) -> tuple[RuleText, ...]:
    """The rules that a result names, in the order of their codes."""
    names = {code: code for code in result.checked}
    for finding in (*result.findings, *result.consequences, *result.ignored):
        names[finding.code] = finding.name
    names.update({rule.code: rule.name for rule in result.not_run})
    return tuple(rule_text(code, names[code]) for code in sorted(names))


def _paragraph(page: str, heading: str) -> str:
    """The indented text under a heading, as one line."""
    found = re.search(rf"^{re.escape(heading)}:\n((?:[ \t]+.*\n?|\n)*)", page, re.MULTILINE)
    return " ".join(found[1].split()) if found else ""
