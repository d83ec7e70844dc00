"""S205: every sample looks the same at the output."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar

from fanin.measure.kinds import CHANNEL_FIRST
from fanin.measure.record import Cosine, Measurements, Site
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix, Severity
from fanin.rules.shared.alike import apart, narrowest
from fanin.rules.shared.gains import CLOSED_GATE, INIT, weight_words
from fanin.rules.shared.places import place, places

__all__ = ["SampleCollapse"]


_SCALE = "draw the weights anew with zero biases, or add normalisation or skip connections"
_DRAW = "draw {} at random: zeros pass no signal on, and no gradient back"
_ONES = "set {} to ones: a norm of scale zero passes no signal on, and no gradient back"
_NEARLY_ALL = 0.75
_SHIFTS = frozenset(("bias", "norm_shift", "shift", "rnn_bias", "attn_bias"))


class SampleCollapse(Rule):
    """Different inputs give (almost) the same output.

    What it does:
        Compares the output vectors of the samples of a batch: their mean cosine, and the share of the energy that
        differs between samples.

    Why:
        In the ordered phase (chi_1 < 1, or a bias that outweighs the signal) the cosine between any two samples
        converges to one exponentially in depth. The network is then a constant: whatever the labels, gradients agree,
        and training stalls at the prior. It is the most telling single number at step zero.

    What is measured:
        1 - mean cosine and between-sample energy share of the last weighted output: warning where both are below 1e-3,
        error below 1e-5. Where the head reads an average over P positions, which can hide differences, the value is
        multiplied by P, at most up to its value before the average. A zero output (a head closed by design) is left
        out. A warning where a zero map or a zero scale of a norm alone makes the outputs equal and has a gradient: the
        first step repairs it. The message names the one operation that takes off most of what differs, where there is
        one. Where a multiplicative gate almost closes the branches (LayerScale), the network opens as
        the gates grow: a note.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> layers = [m for _ in range(12) for m in (nn.Linear(64, 64), nn.ReLU())]
        >>> x, y = torch.randn(64, 64), torch.randint(0, 10, (64,))
        >>> report = fanin.check(nn.Sequential(*layers, nn.Linear(64, 10)), x, targets=y)
        >>> "sample-collapse" in [f.name for f in report.findings + report.consequences]
        True

    Fix:
        Initialize at the activation's gain with zero biases, normalise, add skip connections, or centre the inputs.

    References:
        Poole et al. 2016 (arXiv 1606.05340, eq. 5), Schoenholz et al. 2017 (arXiv 1611.01232).
    """

    code: ClassVar[str] = "S205"
    name: ClassVar[str] = "sample-collapse"
    thresholds: ClassVar[dict[str, float]] = {"warning": 1e-3, "error": 1e-5}
    source: ClassVar[str] = "Schoenholz et al. 2017, arXiv 1611.01232"

    needs_samples: ClassVar[int] = 2

    def cannot_run(self, context: Context) -> str | None:
        """Needs the outputs of at least two samples."""
        if _last(context.measurements) is None:
            return "no output with two or more non-zero samples"
        return None if _inputs_differ(context.measurements) else "the samples of the batch are equal"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        found = _last(context.measurements)
        if found is None:
            return
        site, one_minus, share = found
        value = _before_pooling(context.measurements, site, max(one_minus, share))
        if value >= self.limit(context, "warning"):
            return
        gates = [p.path for p in context.measurements.parameters if p.gate and p.weight.rms <= CLOSED_GATE]
        severity: Severity = "error" if value < self.limit(context, "error") else "warning"
        begins = _begins(context.measurements, site, self.limit(context, "warning"))
        since = "" if begins is site else f" from {place(begins, context.measurements)} on"
        zeros = _zeros_before(context.measurements, begins)
        if zeros and _all_move(context.measurements, zeros):
            severity = "warning"
        why = f"{zeros[0]} is all zeros" if zeros else _why(context.measurements, site)
        words = f"; {why}" if why and not gates else ""
        yield self.finding(
            "note" if gates else severity,
            places((begins, site), context.measurements),
            f"outputs of different samples differ by 1 - cosine = {one_minus:.2g}: the network is "
            f"nearly a constant{since}" + (f" until its gates open ({gates[0]})." if gates else f"{words}."),
            _cure(context.measurements, zeros),
            value=value,
            threshold=self.limit(context, "warning" if severity == "warning" else "error"),
            unit="1 - cosine",
            evidence=_series(context.measurements),
        )


def _why(measurements: Measurements, last: Site) -> str:
    """The one operation that makes samples alike, or how far all weights are off."""
    narrow = narrowest(measurements, last)
    if narrow is None:
        return weight_words(measurements, growing=False)
    where = place(narrow.site, measurements)
    return f"they differ by {narrow.before:.2g} before {where} and by {narrow.behind:.2g} behind it"


def _cure(measurements: Measurements, zeros: list[str]) -> Fix:
    if not zeros:
        return Fix(text=_SCALE, code=INIT, recommends_start=True)
    words = _DRAW if zeros[0] in _zero_weights(measurements) else _ONES
    return Fix(text=words.format(zeros[0]), code=INIT, recommends_start=True)


def _all_move(measurements: Measurements, names: list[str]) -> bool:
    """Whether all of these parameters have a gradient, so that the first step makes samples differ."""
    return all(p.state == "nonzero" for p in measurements.parameters if p.path in names)


def _last(measurements: Measurements) -> tuple[Site, float, float] | None:
    """The last weighted operation that is not closed by design, its mean 1 - cosine, and the share between samples."""
    silent = measurements.output is not None and measurements.output.rms == 0
    zero = _zero_weights(measurements)
    for site in reversed(measurements.weight_sites()):
        if set(site.parameters) & zero:
            continue  # a head or gate closed by design
        if silent and site.forward.rms == 0:
            return site, 0.0, 0.0  # it reads nothing but zeros, and so gives nothing
        seen = site.sample_cosine
        if seen is not None and site.forward.rms > 0 and not site.forward.any_nonfinite:
            return site, seen.one_minus_mean, max(seen.between_share, _without_bias(measurements, site, seen))
    return None


def _without_bias(measurements: Measurements, site: Site, seen: Cosine) -> float:
    """Share of the energy that differs between samples, of W x alone; 0 where the bias is not most of the output.

    A head with a bias of ln(p / (1 - p)) gives nearly the same output everywhere, and W x differs as it should.
    """
    weight = next((p for p in measurements.parameters if p.path in site.parameters and p.is_map), None)
    read = [s.forward.rms for s in measurements.sites if s.index in site.inputs]
    if weight is None or not read or len(site.parameters) < 2:
        return 0.0
    energy = (max(read) * weight.rms_read) ** 2 * (weight.fan_in or 1.0)
    total = site.forward.rms**2
    return min(seen.between_share * total / energy, 1.0) if 0 < energy < 0.1 * total else 0.0


def _zero_weights(measurements: Measurements) -> set[str]:
    return {p.path for p in measurements.parameters if p.weight.rms == 0 and len(p.shape) > 1}


def _zeros_before(measurements: Measurements, begins: Site) -> list[str]:
    """All-zero parameters that leave an operation without signal.

    Its own weights, the scale of a norm right before it, or the tables of a network that starts from nothing.
    """
    by_index = {s.index: s for s in measurements.sites}
    norms = [s for s in _read_through_activations(begins, by_index) if s.kind == "norm"]
    starts = [s for s in measurements.weight_sites() if max(s.inputs, default=-1) < 0 and s.forward.rms == 0]
    maps = _zero_weights(measurements)
    scales = {p.path for p in measurements.parameters if p.weight.rms == 0 and p.role not in _SHIFTS}
    found = [(s, maps) for s in (begins, *starts)] + [(s, scales) for s in norms]
    return [name for site, zero in found for name in site.parameters if name in zero]


def _read_through_activations(site: Site, by_index: Mapping[int, Site]) -> list[Site]:
    """What an operation reads, and where that is an activation or a pooling, what these read."""
    read = [s for i in site.inputs if (s := by_index.get(i)) is not None]
    inner = [t for s in read if s.kind in ("activation", "pool") for t in _read_through_activations(s, by_index)]
    return read + inner


def _begins(measurements: Measurements, last: Site, limit: float) -> Site:
    """The first weighted operation from which on nearly all have samples that near to each other, the last included."""
    near = [
        (site, near)
        for site in measurements.weight_sites()
        if site.index <= last.index and (near := _is_near(site, last, limit)) is not None
    ]
    for position, (site, _) in enumerate(near):
        after = [n for _, n in near[position:]]
        if after[0] and sum(after) >= _NEARLY_ALL * len(after):
            return site
    return last


def _is_near(site: Site, last: Site, limit: float) -> bool | None:
    """None where nothing is known, or a branch beside the stream is closed."""
    if site.index == last.index:
        return True
    if site.forward.rms == 0:
        return True if last.forward.rms == 0 else None
    value = apart(site)
    return None if value is None else value < limit


def _before_pooling(measurements: Measurements, head: Site, value: float) -> float:
    """The value as it would be without an average over positions right before the head."""
    fan_in = next((p.fan_in for p in measurements.parameters if p.path in head.parameters and p.is_map), None)
    earlier = [s for s in measurements.weight_sites() if s.index < head.index and s.sample_cosine is not None]
    if not earlier or len(head.shape) != 2:
        return value
    last = earlier[-1]
    units, positions = _units(last)
    pooled = fan_in is not None and fan_in <= units  # or gated; flattened, it would be units times positions
    if positions < 2 or not pooled or last.sample_cosine is None:
        return value
    before = apart(last)
    return value if before is None else max(value, min(before, value * positions))


def _units(site: Site) -> tuple[float, int]:
    """Units of an operation's output, and positions that share them."""
    units = site.shape[1] if site.op in CHANNEL_FIRST else site.shape[-1]
    return float(units), math.prod(site.shape[1:]) // max(units, 1)


def _inputs_differ(measurements: Measurements) -> bool:
    return any(i.stats.std > 0 for i in measurements.inputs) or not measurements.inputs


def _series(measurements: Measurements) -> dict[str, list[float]]:
    found = [
        (s.index, s.sample_cosine.one_minus_mean) for s in measurements.weight_sites() if s.sample_cosine is not None
    ]
    return {"sites": [float(i) for i, _ in found], "values": [v for _, v in found]}
