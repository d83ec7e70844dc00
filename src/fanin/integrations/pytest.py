"""`fanin.check` inside a test suite: a fixture, a marker, and a report per test.

The fixture `fanin_check` is `fanin.check` with [tool.fanin] of the project and the test's marker applied; it fails the
test on findings, one sub-failure a rule. Use it as::

    @pytest.mark.fanin(ignore=["G403"])
    def test_the_model_starts_well(fanin_check):
        fanin_check(make_model(), inputs, targets=labels)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fanin.checking.report import Report

__all__ = ["fanin_check", "pytest_addoption", "pytest_configure"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--fanin-html DIR`: keep an HTML report of every check."""
    group = parser.getgroup("fanin")
    group.addoption(
        "--fanin-html", metavar="DIR", default=None, help="write an HTML report of every fanin check into DIR"
    )
    group.addoption(
        "--fanin-fail-on",
        choices=("note", "warning", "error"),
        default=None,
        help="lowest severity of a fanin finding that fails a test",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "fanin(**settings): settings of fanin.check for the fixture fanin_check (select, ignore, thresholds, ...)",
    )


@pytest.fixture
def fanin_check(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """`fanin.check` that fails the test on findings, one sub-test a rule where pytest has sub-tests (9 and later).

    Settings come from [tool.fanin] of the project, then from the marker `fanin`, then from the call.
    """
    count = 0

    def check(model: Any, inputs: Any = None, *args: Any, **settings: Any) -> Report:
        from fanin.checking.check import check as run

        nonlocal count
        count += 1
        marked = {k: v for mark in reversed(list(request.node.iter_markers("fanin"))) for k, v in mark.kwargs.items()}
        asked = {"config": request.config.rootpath, "fail_on": request.config.getoption("--fanin-fail-on"), **marked}
        report = run(model, inputs, *args, **{**asked, **settings})
        _keep(request, report, count)
        _fail(request, report)
        return report

    return check


def _fail(request: pytest.FixtureRequest, report: Report) -> None:
    """One sub-failure a failing finding, the last with the whole report; fails wherever the report is not ok.

    One failure with everything where there are no sub-tests.
    """
    if report.ok:
        return
    failing = (*report.result.failing, *report.result.failing_consequences)
    lines = [f"{f.code} {f.name} [{f.severity}] {f.pattern}: {f.message}" for f in failing]
    try:
        subtests = request.getfixturevalue("subtests")
    except pytest.FixtureLookupError:
        pytest.fail("\n".join([*lines, "", str(report)]), pytrace=False)
    for finding, line in zip(failing, lines, strict=True):
        with subtests.test(msg=f"{finding.code} {finding.name}"):
            pytest.fail(line, pytrace=False)
    pytest.fail(str(report), pytrace=False)


def _keep(request: pytest.FixtureRequest, report: Report, number: int) -> None:
    folder = request.config.getoption("--fanin-html")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        name = "".join(c if c.isalnum() or c in "-_" else "_" for c in request.node.nodeid)[-100:]
        report.save(Path(folder) / f"{name}-{number}.html")
