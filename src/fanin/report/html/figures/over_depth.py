"""Values against depth: signal and gradient, gradient over weight."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from fanin.measure.record import Prediction, Site
from fanin.report.html.axes import DepthAxis
from fanin.report.html.charts.depth import Flag, Panel, depth_plot
from fanin.report.html.charts.markers import KIND_NAMES, legend
from fanin.report.html.figures.common import Figure, ends, mark
from fanin.report.html.svg import el
from fanin.report.rows import findings_by_severity, parameters_by_site, ratio_of, sites_of, size_of
from fanin.rules.result import CheckResult
from fanin.text.names import clean

__all__ = ["gradient_over_weight", "signal_over_depth"]


def signal_over_depth(result: CheckResult, sites: Sequence[Site], axis: DepthAxis) -> Figure | None:
    """The rms of every output and of the gradient there, expected and measured."""
    if not sites:
        return None
    kinds = tuple(mark(site) for site in sites)
    forward = tuple(size_of(site.forward) for site in sites)
    backward = tuple(size_of(site.backward) for site in sites)
    joined = "merge" if kinds.count("merge") > 2 else "weight"
    panels = [
        Panel(
            joined=joined,
            label="Forward: rms of the output",
            series="forward",
            measured=forward,
            kinds=kinds,
            predicted=tuple(_band(site.predicted) for site in sites),
        ),
        Panel(
            joined=joined,
            label="Backward: rms of the gradient at the output",
            series="backward",
            measured=backward,
            kinds=kinds,
            predicted=tuple(_band(site.predicted_backward) for site in sites),
        ),
    ]
    panels = [panel for panel in panels if any(value is not None for value in panel.measured)]
    drawing = depth_plot(
        panels,
        axis,
        id_="depth",
        title="Signal and gradient over depth",
        description=f"{ends('Output rms', forward)} {ends('Gradient rms', backward)} Every value: layer table.",
        flags=_flags(result, sites),
    )
    return Figure(
        id="depth",
        caption="Every operation of one forward and one backward pass",
        drawing=drawing,
        key=legend((*kinds, *_special(forward), *_special(backward)))
        + _band_key(joined, any(site.predicted or site.predicted_backward for site in sites)),
    )


def gradient_over_weight(result: CheckResult, sites: Sequence[Site], axis: DepthAxis) -> Figure | None:
    """How large the gradient of each weight is beside the weight."""
    records = parameters_by_site(sites, result.measurements.parameters)
    measured = tuple(ratio_of(records.get(place)) for place in range(len(sites)))
    if not any(value is not None for value in measured):
        return None
    kinds = tuple(mark(site) for site in sites)
    panel = Panel(label="rms of gradient ÷ rms of weight", series="backward", measured=measured, kinds=kinds, joined="")
    return Figure(
        id="ratio",
        caption="One mark a weight",
        drawing=depth_plot(
            [panel],
            axis,
            id_="ratio",
            title="Gradient over weight",
            description=ends("Gradient over weight", measured) + " The layer table has every value.",
        ),
        key=legend((*(kind for kind, value in zip(kinds, measured, strict=True) if value), *_special(measured))),
    )


def _special(values: Sequence[float | None]) -> list[str]:
    known = [value for value in values if value is not None]
    return ["zero"] * any(v == 0 for v in known) + ["nonfinite"] * any(not math.isfinite(v) for v in known)


def _band(predicted: Prediction | None) -> tuple[float, float, float] | None:
    """Two standard errors either side of the expected value."""
    if predicted is None or not (0 < predicted.rms < math.inf) or not math.isfinite(predicted.log_rms_std):
        return None
    factor = math.exp(min(2 * predicted.log_rms_std, 20.0))
    return predicted.rms / factor, predicted.rms, predicted.rms * factor


def _band_key(joined: str, any_predicted: bool) -> Markup:
    line = el("path", class_="line", d="M1 7h24")
    band = el("path", class_="band", d="M1 2h24v10h-24z") + el("path", class_="expected", d="M1 7h24")
    items = [(line, f"line through each {KIND_NAMES[joined]}")]
    items += [(band, "expected by theory, ± 2 standard errors")] if any_predicted else []
    return el("ul", *(el("li", _swatch(mark), words) for mark, words in items), class_="legend forward")


def _swatch(mark: Markup) -> Markup:
    return el("svg", mark, viewBox="0 0 26 14", class_="key wide", aria_hidden="true")


def _flags(result: CheckResult, sites: Sequence[Site]) -> list[Flag]:
    flags = []
    for number, finding in enumerate(findings_by_severity(result.findings)[:12], start=1):
        places = sites_of(finding, sites)
        if places:
            says = f"Finding {number}, {finding.severity}: {clean(finding.name)}"
            href = f"#finding-{number}"
            flags.append(Flag(column=places[0], label=str(number), href=href, severity=finding.severity, says=says))
    return flags
