"""`Report`: what a check gives the user, over the result that holds all data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.errors import CheckFailedError
from fanin.rules.finding import SEVERITIES, Finding, Severity
from fanin.rules.result import CheckResult

if TYPE_CHECKING:
    from fanin.measure.record import Measurements

__all__ = ["Report"]


class Report:
    """What `fanin.check` found.

    Attributes:
        result: all data behind the report.

    Example:
        >>> import torch, fanin
        >>> model = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
        >>> report = fanin.check(model, torch.randn(32, 20), targets=torch.randint(0, 3, (32,)))
        >>> report.ok, report.findings
        (True, ())
        >>> report
        <Report of Sequential: healthy: ... checks, ... not run>
    """

    __slots__ = ("result",)

    def __init__(self, result: CheckResult) -> None:
        self.result: CheckResult = result

    @property
    def ok(self) -> bool:
        """At least one rule ran, and no finding is at or above the severity that fails."""
        return self.result.ok

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Root causes, worst first."""
        return self.result.findings

    @property
    def consequences(self) -> tuple[Finding, ...]:
        """Findings that follow from one of those."""
        return self.result.consequences

    @property
    def measurements(self) -> Measurements:
        """Everything that was measured."""
        return self.result.measurements

    @property
    def verdict(self) -> str:
        """One sentence: healthy, or how many findings of which severity."""
        return self.result.verdict

    def show(self, *, verbose: bool = False) -> None:
        """Print the report.

        Args:
            verbose: also name each rule that did not run, with the reason.
        """
        from fanin.report import terminal

        terminal.show(self.result, verbose=verbose)

    def save(self, path: str | Path) -> Path:
        """Write the report; the suffix gives the format (.html, .json, .sarif, .xml for JUnit, .md, .txt).

        Returns:
            The path written.

        Raises:
            ArgumentError: no format has this suffix.
        """
        from fanin.report.formats import save

        return save(self.result, path)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return self.result.to_dict()

    def raise_for_findings(self, fail_on: Severity | None = None) -> None:
        """Raise if anything was found at or above a severity; for a test suite.

        Args:
            fail_on: "note", "warning" or "error"; the severity given to `check` where None.

        Raises:
            CheckFailedError: with the whole report as its message; also where no rule ran.
        """
        level = SEVERITIES.index(fail_on or self.result.fail_on)
        found = (*self.findings, *self.consequences)
        if not self.result.checked or any(SEVERITIES.index(f.severity) >= level for f in found):
            from fanin.report import terminal

            raise CheckFailedError(f"{self.verdict}\n{terminal.to_text(self.result)}")

    def __str__(self) -> str:
        from fanin.report import terminal
        from fanin.text.console import prose_width

        return terminal.to_text(self.result, width=prose_width())

    def __repr__(self) -> str:
        return f"<Report of {self.result.header.model_class}: {self.verdict}>"

    def _repr_html_(self) -> str:
        from fanin.report.formats import notebook

        return notebook(self.result)
