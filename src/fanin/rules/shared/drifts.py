"""What the four drift rules share: a robust trend against a threshold and the finite-width band."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from fanin.measure.record import Measurements, Site
from fanin.model.operations import CONVOLUTIONS
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix, Severity
from fanin.rules.shared.depth import Drift, drift, finite_width_std
from fanin.rules.shared.gains import INIT, weight_words
from fanin.rules.shared.places import places

__all__ = ["DRIFT_THRESHOLDS", "MIN_SITES", "judge", "too_few"]

MIN_SITES = 4
_FEW_SITES = 6
_STEEP_SITES = 6  # in which the default of torch comes near the limit
DRIFT_THRESHOLDS = {"warning": 100.0, "error": 1e4, "tau": 0.6, "bands": 3.0}


def too_few(sites: Sequence[Site]) -> str | None:
    """Why no trend can be drawn; None where it can."""
    return None if len(sites) >= MIN_SITES else f"{len(sites)} weighted operations; a trend needs {MIN_SITES}"


def judge(
    rule: Rule,
    context: Context,
    sites: list[Site],
    values: list[float],
    *,
    growing: bool,
    what: str,
    capped: bool = False,
) -> Iterator[Finding]:
    """The finding of one direction, if the trend is steep, steady and wider than finite width explains.

    What shrinks within six layers has to pass its limit by one standard deviation of what finite width does: the
    default of torch shrinks gradients by sqrt(6) a ReLU layer, 88 in six, and draws of it scatter around that. Over
    more layers that default is beyond the limit, and so slow a drift as one that reaches it in 30 does harm: 30 ReLU
    layers that shrink by 110 train to 1.23 where He's train to .74 (digits, Adam, 200 steps).

    Args:
        rule: whose thresholds count.
        sites: in the order along which `values` are compared.
        growing: look for growth (else for decay) along that order.
        what: "signal" or "gradient", for the message.
        capped: at most a warning, from the limit "normalised" on.
    """
    trend = drift(values)
    by_width = finite_width_std([_width(s) for s in sites])
    band = rule.limit(context, "bands") * by_width
    size = trend.log_factor if growing else -trend.log_factor
    if len(values) < _FEW_SITES:  # the median slope of so few can exceed what was measured from end to end
        size = min(size, math.log(max(values) / min(values)))
    least = rule.limit(context, "normalised" if capped else "warning")
    sure = size if growing or len(values) > _STEEP_SITES else size - by_width
    if sure <= math.log(least) or size <= band or abs(trend.tau) <= rule.limit(context, "tau"):
        return
    severe = size > math.log(rule.limit(context, "error")) and not capped
    severity: Severity = "error" if severe else "warning"
    limit = rule.limit(context, "error") if severe else least
    yield rule.finding(
        severity,
        _worst(sites, values, context.measurements),
        _message(trend, sites, what, context.measurements),
        _fix(context.measurements, growing=growing),
        value=trend.factor,
        threshold=limit if growing else 1.0 / limit,
        unit=f"x over {trend.num_sites} weighted operations",
        evidence={"sites": [s.index for s in sites], "values": values, "tau": trend.tau, "band": math.exp(band)},
    )


def _width(site: Site) -> float:
    if len(site.shape) < 2:
        return 1.0
    return float(site.shape[1] if site.op in CONVOLUTIONS else site.shape[-1])


def _worst(sites: list[Site], values: list[float], measurements: Measurements) -> list[str]:
    """Paths from the far end of the trend back to where it begins."""
    ordered = sorted(zip(values, sites, strict=True), key=lambda pair: -abs(math.log(pair[0] / values[0])))
    return places((site for _, site in ordered), measurements)


def _message(trend: Drift, sites: list[Site], what: str, measurements: Measurements) -> str:
    step = math.exp(trend.log_factor / max(trend.num_sites - 1, 1))
    verb = "grows" if trend.log_factor > 0 else "shrinks"
    towards = "towards the input" if what == "gradient" else "with depth"
    factor = f"{trend.factor:.2g}" if trend.factor < 1e4 else f"{trend.factor:.0e}"
    why = weight_words(measurements, growing=trend.log_factor > 0)
    return f"the {what} {verb} {towards} by x{step:.3g} per layer, x{factor} over {trend.num_sites} layers" + (
        f"; {why}." if why else "."
    )


def _fix(measurements: Measurements, *, growing: bool) -> Fix:
    if "sigmoid" in _between_layers(measurements):
        return Fix(
            text="draw the weights for sigmoid, whose slope is at most 1/4; or replace it between layers by tanh or "
            "ReLU, or normalise",
            code=INIT,
            recommends_start=True,
        )
    more = "lower" if growing else "raise"
    return Fix(
        text=f"{more} the weights' std, or add normalisation or skip connections",
        code=INIT,
        recommends_start=True,
        recommends_scale=True,
    )


def _between_layers(measurements: Measurements) -> set[str]:
    """Activations whose output another weight reads: neither outputs of the model nor gates beside a signal."""
    read = {i for s in measurements.weight_sites() for i in s.inputs}
    return {s.op for s in measurements.sites if s.kind == "activation" and s.index in read and not s.multiplied}
