"""The plots of a report page: each takes a result and gives a figure, or None where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from fanin.measure.record import Site
from fanin.report.html.axes import DepthAxis
from fanin.report.html.figures.common import MAX_COLUMNS, Figure, page_sites
from fanin.report.html.figures.histograms import distributions, magnitudes
from fanin.report.html.figures.likeness import attention_heads, sample_cosines
from fanin.report.html.figures.over_depth import gradient_over_weight, signal_over_depth
from fanin.report.html.figures.over_steps import steps_figures
from fanin.report.html.figures.units import unit_activity
from fanin.report.rows import sites_of
from fanin.report.steps import QUANTITIES
from fanin.rules.result import CheckResult

__all__ = ["MAX_COLUMNS", "Figure", "all_figures", "page_sites", "plots_of"]

# Where the evidence of a family of rules is drawn besides the depth plot.
_PLOTS = MappingProxyType(
    {
        "A3": "units",
        "G4": "ratio",
        "P5": "ratio",
        "T7": "attention",
        "S205": "samples",
        **{quantity.code: f"steps-{quantity.name}" for quantity in QUANTITIES if quantity.code},
        "W903": "steps-loss",
        "W905": "steps-loss",
    }
)


def plots_of(code: str) -> tuple[str, ...]:
    """Ids of the plots that show what a rule is about, the depth plot first."""
    return ("depth", *(plot for prefix, plot in _PLOTS.items() if code.startswith(prefix)))


def all_figures(result: CheckResult, sites: Sequence[Site]) -> Mapping[str, Figure]:
    """Every figure that has something to show, by id."""
    axis = DepthAxis(
        names=tuple(site.path or site.module_class for site in sites),
        sites=tuple(site.index for site in sites),
        flagged=tuple(sorted({place for f in result.findings for place in sites_of(f, sites)[:1]})),
    )
    made = (
        signal_over_depth(result, sites, axis),
        magnitudes(sites, axis, "forward"),
        magnitudes(sites, axis, "backward"),
        distributions(sites, "forward"),
        distributions(sites, "backward"),
        gradient_over_weight(result, sites, axis),
        unit_activity(sites, axis),
        sample_cosines(sites),
        attention_heads(sites, axis),
        *steps_figures(result),
    )
    return {figure.id: figure for figure in made if figure is not None}
