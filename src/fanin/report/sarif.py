"""SARIF 2.1.0: module paths are logical locations; a source line is given only where it is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from fanin._version import __version__
from fanin.report.json_view import dumps
from fanin.report.places import source_of
from fanin.report.rows import findings_by_severity, limit_of, where
from fanin.report.rulebook import RuleText, rule_texts
from fanin.rules.finding import Finding
from fanin.rules.result import CheckResult, Header
from fanin.text.names import clean, one_line, sentence

__all__ = ["to_sarif"]

_LEVELS: Mapping[str, str] = MappingProxyType({"error": "error", "warning": "warning", "note": "note"})


def to_sarif(result: CheckResult) -> str:
    """The findings as a SARIF 2.1.0 log; consequences are notes, ignored findings carry a suppression."""
    rules = rule_texts(result)
    index = {rule.code: place for place, rule in enumerate(rules)}
    found = [_result(f, result.header, index) for f in findings_by_severity(result.findings)]
    found += [{**_result(f, result.header, index), "level": "note"} for f in result.consequences]
    found += [{**_result(f, result.header, index), "suppressions": [{"kind": "external"}]} for f in result.ignored]
    run = {
        "tool": {"driver": {"name": "fanin", "semanticVersion": __version__, "rules": [_rule(rule) for rule in rules]}},
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(result, index)],
        "results": found,
        **_batch(result.header),
    }
    return dumps({"version": "2.1.0", "runs": [run]}) + "\n"


def _batch(header: Header) -> dict[str, Any]:
    """The batch that training started with, where that is known."""
    if not header.batch_hash:
        return {}
    return {"properties": {"batch": clean(header.batch), "batchHash": clean(header.batch_hash)}}


def _rule(rule: RuleText) -> dict[str, Any]:
    texts = {"shortDescription": rule.title, "fullDescription": rule.why, "help": rule.fix}
    described = {key: {"text": one_line(text)} for key, text in texts.items() if text}
    return {"id": clean(rule.code), "name": clean(rule.name), **described}


def _result(finding: Finding, header: Header, index: Mapping[str, int]) -> dict[str, Any]:
    return {
        "ruleId": clean(finding.code),
        "ruleIndex": index[finding.code],
        "level": _LEVELS[finding.severity],
        "message": {"text": _message(finding)},
        "locations": [_location(finding, header)],
        "partialFingerprints": {"codeAndPattern/v1": clean(finding.fingerprint)},
        "properties": _properties(finding),
    }


def _message(finding: Finding) -> str:
    limit = limit_of(finding)
    parts = (sentence(finding.message), f"{where(finding)}: {limit}." if limit else "", sentence(finding.fix.text))
    return " ".join(part for part in parts if part) or clean(finding.name)


def _location(finding: Finding, header: Header) -> dict[str, Any]:
    location: dict[str, Any] = {"logicalLocations": _logical(finding.paths or ("",))}
    place = source_of(finding, header.source_lines)
    if place is not None:
        file, line = place
        location["physicalLocation"] = {"artifactLocation": {"uri": _uri(file)}, "region": {"startLine": line}}
    return location


def _logical(paths: Sequence[str]) -> list[dict[str, Any]]:
    return [{"fullyQualifiedName": clean(path) or "the model", "kind": "module"} for path in paths]


def _uri(file: str) -> str:
    """A relative path stays relative; an absolute one gets the file scheme. Everything unusual is percent-escaped."""
    path = PurePath(file)
    written = quote(path.as_posix())
    return f"file://{written}" if path.is_absolute() else written


def _properties(finding: Finding) -> dict[str, Any]:
    numbers = {"value": finding.value, "threshold": finding.threshold}
    finite = {key: number for key, number in numbers.items() if number is not None and math.isfinite(number)}
    because = {"becauseOf": [clean(code) for code in finding.because_of]} if finding.because_of else {}
    return {
        **finite,
        "unit": clean(finding.unit),
        "confidence": finding.confidence,
        "seeds": list(finding.seeds),
        "fixCode": "\n".join(clean(line) for line in finding.fix.code.splitlines()),
        **because,
    }


def _invocation(result: CheckResult, index: Mapping[str, int]) -> dict[str, Any]:
    notifications = [
        {
            "level": "note",
            "message": {"text": f"{clean(rule.code)} {clean(rule.name)} did not run: {one_line(rule.reason)}"},
            "associatedRule": {"id": clean(rule.code), "index": index[rule.code]},
        }
        for rule in result.not_run
    ]
    return {"executionSuccessful": True, "toolExecutionNotifications": notifications}
