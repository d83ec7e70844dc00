"""JUnit XML: a test case a rule; findings at or above `fail_on` fail it, rules that did not run are skipped."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree

from fanin.report.rows import limit_of, where
from fanin.report.rulebook import RuleText, rule_texts
from fanin.rules.finding import Finding
from fanin.rules.result import CheckResult
from fanin.text.names import clean, one_line, sentence

__all__ = ["to_junit"]


def to_junit(result: CheckResult) -> str:
    """The check as one test suite."""
    rules = rule_texts(result)
    reasons = {rule.code: rule.reason for rule in result.not_run}
    failing = {f.code for f in result.failing}
    suite = ElementTree.Element(
        "testsuite",
        name="fanin",
        tests=str(len(rules)),
        failures=str(len(failing)),
        errors="0",
        skipped=str(len(reasons)),
        time=f"{result.header.seconds.get('total', 0.0):.3f}",
    )
    if result.header.batch_hash:
        properties = ElementTree.SubElement(suite, "properties")
        ElementTree.SubElement(properties, "property", name="batch", value=clean(result.header.batch))
        ElementTree.SubElement(properties, "property", name="batch hash", value=clean(result.header.batch_hash))
    for rule in rules:
        case = _case(suite, result, rule)
        if rule.code in failing:
            _failure(case, [f for f in result.failing if f.code == rule.code])
        elif rule.code in reasons:
            ElementTree.SubElement(case, "skipped", message=one_line(reasons[rule.code]))
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, result: CheckResult, rule: RuleText) -> ElementTree.Element:
    name = rule.code if rule.name == rule.code else f"{rule.code} {rule.name}"
    model = clean(result.header.model_class)
    return ElementTree.SubElement(suite, "testcase", classname=f"fanin.{model}", name=clean(name), time="0")


def _failure(case: ElementTree.Element, findings: Iterable[Finding]) -> None:
    found = list(findings)
    failure = ElementTree.SubElement(case, "failure", type=found[0].severity, message=one_line(found[0].message))
    failure.text = "\n".join(
        f"{where(f)}: {limit_of(f) or f.severity}. {sentence(f.message)} Fix: {sentence(f.fix.text)}" for f in found
    )
