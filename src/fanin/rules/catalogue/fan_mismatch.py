"""P502: weights whose scale does not fit their fan_in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import ClassVar

from fanin.measure.record import LossRecord, Measurements, ParameterRecord
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix, Severity
from fanin.rules.shared.biases import biased_maps
from fanin.rules.shared.gains import INIT, gain_ratio, maps
from fanin.rules.shared.inputs import chi_as_read
from fanin.rules.shared.places import places
from fanin.rules.shared.sizes import (
    STRAY,
    ElementwiseSize,
    MapSize,
    Stray,
    TableBeside,
    TableSize,
    elementwise_sizes,
    far_off,
    is_made_up_for,
    large_scales,
    large_tables,
    map_sizes,
    strays,
    tables_beside_signals,
)
from fanin.rules.shared.upstream import behind_norms, nearest_weights

__all__ = ["FanMismatch"]

_STDS = 3.0
_OUTWEIGHS = 2.0  # of a table over the signal that it joins: most of the sum is the same for every sample
_USUAL_TABLE = 1.5  # rms: 1 is the most that is usual
_SMALL_TABLE = 0.2  # rms below which a table is no large one
_FAR_OUT = 10.0  # rms of the last outputs, at which no loss is needed to see that they are too large
_EACH, _TOGETHER = math.log(1.25), math.log(4.0)  # what weights that are all too large are off by
_OUTWEIGHED = " Its units see little but their biases."
_DRIFTS = frozenset(("S201", "S202", "S203", "S204", "S205", "A302"))
_NOT_OF_WEIGHTS = frozenset(("D102", "D103", "P504"))  # they explain a trend by themselves


@dataclass(frozen=True, slots=True)
class _Shown:
    """What shows that a finding does harm that is harmless by itself, and what explains that without it."""

    by: frozenset[str]
    explained_by: frozenset[str] = _NOT_OF_WEIGHTS
    even_by_a_note: bool = True

    def beside(self, others: Mapping[str, Severity]) -> bool:
        """Whether one of these is found, and none that explains it."""
        worse = {code for code, severity in others.items() if severity != "note"}
        return bool(self.by & (others.keys() if self.even_by_a_note else worse)) and not self.explained_by & worse


# samples that are alike, a signal that is too large, a loss that is too high
_BESIDE = {
    "alike": _Shown(frozenset(("S205",)), _NOT_OF_WEIGHTS | {"G402", "A301", "P501", "P503", "S201", "N602"}),
    "large": _Shown(frozenset(("L801", "S202", "A302"))),
    "loss": _Shown(frozenset(("L801",)), even_by_a_note=False),
}
_MANY, _MOST = 4, 0.75  # weights, and the share of all, from which on they are off together
_SWAPPED_FROM = 1.5  # fan_in over fan_out, or the other way round, from which the two can be distinguished


def _is_swapped(parameter: ParameterRecord) -> bool:
    """Var(W) fits fan_out and not fan_in, to within the sampling error of a variance."""
    fans = (parameter.fan_out or 1.0) / (parameter.fan_in or 1.0)
    if max(fans, 1.0 / fans) < _SWAPPED_FROM:
        return False
    return abs(gain_ratio(parameter) ** 2 * fans - 1) < 0.02 + 5.0 * math.sqrt(2.0 / parameter.weight.numel)


class FanMismatch(Rule):
    """Weights whose scale does not fit their fan_in.

    What it does:
        Compares the std of each weight with gain / sqrt(fan_in) of the activation behind it (1 / sqrt(fan_in) where
        there is none), and the rms of each lookup table with 1. It names the weights that are far off while others are
        right, and says where a weight fits fan_out instead.

    Why:
        One weight at 30 times its std makes everything behind it 30 times too large: the first loss, the Jacobian and
        the gradients are its consequences. A table of std 50 before normalised residual branches leaves branches
        that add nothing. Weights that are all off by the same small factor are harmless in normalised and residual
        networks, so they are reported only together with S201 to S206 or L801.

    What is measured:
        r = rms(W) sqrt(fan_in) / gain, where W is what the operation reads (the parameter, or what the model
        makes of it), and the rms of the output over that of the input. A warning for weights with r >= 10, or r
        >= 5 (2.5 at the end of a residual branch) and at least 4 times all others, or r <= 0.1 and at most 1/8
        of all others, where the measured signal changes with them (not the first map before a smooth
        activation, where the outputs are of ordinary size all the same); for a table of rms above 5 that no
        normalisation reads first, and for a table that is the same for all samples and has 20 times the rms of
        what it joins; for weights of ten times the std of at least three others of their shape and place, or of
        a tenth of it (not for what is small, or unlike its like, by one factor in every block); for a vector of
        ten times 1 / sqrt(n) whose n products with a signal are summed, and for the scale of features that
        spreads each along an axis, of rms above 1.5 and 20 times that of what joins it; and where r^2 < 0.01
        and biases of rms up to 1 / sqrt(fan_in) are beyond three standard deviations of W x in more than half
        of the units. A note beside S201 to S205 and A302 for r^2 outside [0.15, 6.7] (torch's default nn.Linear
        and nn.Conv2d give 1/6 for ReLU) and for weights that fit fan_out; a warning beside L801 and S206, where
        the product of all r gives at least half of the excess (in logarithms). Outputs of the model count where
        their rms is 3 or more. At least four weights, three quarters of those before activations, each at r >=
        1.25 and together at 4 or more: a warning beside L801 and S206, and by itself where the last outputs
        have rms 10. Beside S205, a table of rms above 1.5 and twice that of what it joins; beside L801, S202
        and A302, the scale of a norm above 5. Of a table of rms below 0.2 the signal that it joins is named,
        which is too small.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> layers = [m for _ in range(6) for m in (nn.Linear(64, 64), nn.ReLU())]
        >>> model = nn.Sequential(*layers, nn.Linear(64, 10))
        >>> for layer in layers[::2]:
        ...     _ = nn.init.kaiming_normal_(layer.weight)
        >>> with torch.no_grad():
        ...     _ = model[4].weight.mul_(30)
        >>> report = fanin.check(model, torch.randn(64, 64), targets=torch.randint(0, 10, (64,)))
        >>> report.findings[0].name, report.findings[0].paths
        ('fan-mismatch', ('4.weight',))

    Fix:
        Draw with std gain / sqrt(fan_in); for a transposed convolution fan_in counts what one output sums.

    References:
        He et al. 2015 (arXiv 1502.01852, eq. 10 and 14).
    """

    code: ClassVar[str] = "P502"
    name: ClassVar[str] = "fan-mismatch"
    thresholds: ClassVar[dict[str, float]] = {"low": 0.15, "high": 6.7, "outweighed": 0.5, "table": 5.0, "beside": 20.0}
    source: ClassVar[str] = "He et al. 2015, arXiv 1502.01852, eq. 10"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a weight whose scale reaches the signal."""
        found = maps(context.measurements) or map_sizes(context.measurements) or strays(context.measurements)
        tables = large_tables(context.measurements, 0.0) or tables_beside_signals(context.measurements)
        return None if found or tables else "no weight meets a known activation directly"

    def beside(self, finding: Finding, others: Mapping[str, Severity]) -> Finding | None:
        """Weights that are all off explain a trend, which has its own rule; without a trend they are no fault."""
        if only := finding.evidence.get("only_beside"):
            return replace(finding, severity="warning") if _BESIDE[only].beside(others) else None
        if not finding.evidence.get("systematic"):
            return finding
        if others.keys() & _NOT_OF_WEIGHTS and finding.severity == "note":
            return None
        if others.keys() & _DRIFTS:  # which say themselves how far all weights are off
            return None if finding.evidence.get("compound") else replace(finding, severity="note")
        if any(others.get(code, "note") != "note" for code in finding.evidence["accounts"]):
            return replace(finding, severity="warning")
        return None if finding.severity == "note" else finding

    def check(self, context: Context) -> Iterator[Finding]:
        """One finding about tables, one about maps, one about maps unlike their like."""
        tables = large_tables(context.measurements, self.limit(context, "table"))
        if tables:
            yield self._table(context, tables)
        yield from self._beside(context, {t.parameter.path for t in tables})
        scales = large_scales(context.measurements, self.limit(context, "table"))
        if scales:
            yield self._scales(context, scales)
        factors = elementwise_sizes(context.measurements, self.limit(context, "beside"))
        if factors:
            yield self._factors(context, factors)
        sizes = [s for s in map_sizes(context.measurements) if not is_made_up_for(s, context.measurements)]
        off, apart = far_off(sizes)
        if off and apart:
            yield _where_the_loss_shows_it(self._outliers(context, off), off, context.measurements)
        else:
            for finding in self._systematic(context, off):
                yield _where_the_loss_shows_it(finding, off, context.measurements)
        named = {s.parameter.path for s in off}  # where the others are off, the one unlike them is right
        yield from self._unlike([s for s in strays(context.measurements) if not named & {s.parameter.path, *s.others}])

    def _unlike(self, found: list[Stray]) -> Iterator[Finding]:
        if not found:
            return
        worst = max(found, key=lambda s: abs(math.log(s.ratio)))
        more = f" ({len(found)} weights are)" if len(found) > 1 else ""
        yield self.finding(
            "warning",
            [s.parameter.path for s in found],
            f"{worst.parameter.path} has {worst.ratio:.3g} times the std of the {len(worst.others)} other weights of "
            f"its shape and place{more}. It learns at another rate than they do, also where a norm behind it hides the "
            "difference.",
            _fix(worst.parameter),
            value=worst.ratio,
            threshold=STRAY if worst.ratio > 1 else 1 / STRAY,
            unit="std over that of its like",
        )

    def _factors(self, context: Context, found: list[ElementwiseSize]) -> Finding:
        worst = found[0]
        more = f" ({len(found)} parameters are far off)" if len(found) > 1 else ""
        path = worst.parameter.path
        return self.finding(
            "warning",
            [s.parameter.path for s in found],
            f"{path}, which multiplies the signal number by number, has {worst.ratio:.3g} times {worst.wanted}{more}.",
            Fix(text=f"draw {path} smaller", code=INIT, recommends_start=True, recommends_scale=True),
            value=worst.ratio,
            threshold=worst.limit,
            unit="std over what it should be",
        )

    def _table(self, context: Context, tables: list[TableSize]) -> Finding:
        worst = max(tables, key=lambda t: t.rms)
        return self.finding(
            "warning",
            [t.parameter.path for t in tables],
            f"the rows of {worst.parameter.path} enter the network with rms {worst.rms:.3g}, where 1 is the most that "
            "is usual: what is added to them later hardly counts.",
            Fix(text=f"draw {worst.parameter.path} smaller", code=INIT, recommends_start=True, recommends_scale=True),
            value=worst.rms,
            threshold=self.limit(context, "table"),
            unit="rms of the rows",
        )

    def _beside(self, context: Context, named: set[str]) -> Iterator[Finding]:
        limit = self.limit(context, "beside")
        every = [t for t in tables_beside_signals(context.measurements) if t.path not in named]
        found = [t for t in every if t.ratio > limit]
        found = found or [t for t in every if t.ratio > _OUTWEIGHS and t.rms > _USUAL_TABLE]
        if not found:
            return
        worst: TableBeside = max(found, key=lambda t: t.ratio)
        path, alone = worst.path, worst.ratio > limit
        names = [t.path for t in found]
        if worst.joined is not None and worst.rms < _SMALL_TABLE:  # then the signal is too small
            where = places(nearest_weights([worst.joined.index], context.measurements), context.measurements)
            names = [*where, *names]
        yield self.finding(
            "warning" if alone else "note",
            dict.fromkeys(names),
            f"{path} has rms {worst.rms:.3g}, {worst.ratio:.3g} times that of the signal that it joins "
            f"({worst.signal:.3g}{_given_by(names, path)}). It is the same for every sample, so samples differ little "
            "behind it.",
            _as_large(path, drawn=path in {p.path for p in context.measurements.parameters})
            if names[0] == path
            else _larger(names[0]),
            value=worst.ratio,
            threshold=limit if alone else _OUTWEIGHS,
            unit="rms over that of the signal",
            evidence={} if alone else {"only_beside": "alike"},
        )

    def _scales(self, context: Context, found: list[ParameterRecord]) -> Finding:
        worst, limit = found[0], self.limit(context, "table")
        return self.finding(
            "note",
            [p.path for p in found],
            f"{worst.path} multiplies a normalised signal by {worst.weight.rms:.3g}, where 1 is usual.",
            Fix(text=f"start {worst.path} at one", code=INIT, recommends_start=True, recommends_scale=True),
            value=worst.weight.rms,
            threshold=limit,
            unit="rms of the scale",
            evidence={"only_beside": "large"},
        )

    def _outliers(self, context: Context, off: list[MapSize]) -> Finding:
        worst = off[0]
        more = f" ({len(off)} weights are far off)" if len(off) > 1 else ""
        return self.finding(
            "warning",
            [s.parameter.path for s in off],
            f"{worst.parameter.path} has {worst.ratio:.3g} times the std that keeps the signal, "
            f"{worst.wanted:.3g} / sqrt(fan_in), while other weights are near it{more}."
            + (_OUTWEIGHED if worst.parameter.path in self._outweighed(context) else ""),
            _fix(worst.parameter),
            value=worst.ratio**2,
            threshold=self.limit(context, "low" if worst.ratio < 1 else "high"),
            unit="Var(W) fan_in / gain^2",
            evidence={"sites": [s.site.index for s in off], "values": [s.ratio for s in off]},
        )

    def _systematic(self, context: Context, large: list[MapSize]) -> Iterator[Finding]:
        low, high = self.limit(context, "low"), self.limit(context, "high")
        ratios = {s.parameter.path: s.ratio**2 for s in map_sizes(context.measurements)}
        rated = [(ratios.get(p.path, gain_ratio(p) ** 2), p) for p in maps(context.measurements)]
        rated = [(r, p) for r, p in rated if p.path in ratios]
        swapped = [p for _, p in rated if _is_swapped(p)]
        swapped = swapped if len(swapped) > 1 else []
        normed, outweighed = behind_norms(context.measurements), self._outweighed(context)
        # A small map that reads a norm makes its branch small, and nothing fall from layer to layer.
        small = [p for r, p in rated if r < low and (p.path not in normed or p.path in outweighed)]
        off = [(r, p) for r, p in rated if r > high or p in small or p in swapped]
        off += [(s.ratio**2, s.parameter) for s in large if s.parameter not in [p for _, p in off]]
        index = {p.path: p.reader or 0 for _, p in off}
        off.sort(key=lambda r: (-round(abs(math.log(r[0])) / math.log(2.0)), index[r[1].path]))
        if not off:
            yield from self._compound(context, rated)
            return
        ratio, worst = next((r for r in off if r[1].path in outweighed), off[0])
        yield self.finding(
            "warning" if outweighed or any(not s.is_output for s in large) else "note",
            outweighed or [p.path for _, p in off],
            f"{worst.path} has {math.sqrt(ratio):.3g} times the std that keeps the signal"
            + ("; it fits fan_out instead of fan_in." if worst in swapped else ".")
            + (_OUTWEIGHED if outweighed else ""),
            _fix(worst),
            value=ratio,
            threshold=low if ratio < 1 else high,
            unit="Var(W) fan_in / gain^2",
            evidence={
                "systematic": not outweighed and not (large and len(off) == 1),
                "compound": False,
                "accounts": _accounts(context.measurements, [math.log(r) / 2 for r, _ in off]),
            },
        )

    def _compound(self, context: Context, rated: list[tuple[float, ParameterRecord]]) -> Iterator[Finding]:
        """Weights that are each a little too large, which multiplies with depth."""
        logs = [(math.log(ratio) / 2, p) for ratio, p in rated]
        side = [(x, p) for x, p in logs if x >= _EACH]
        total, together = sum(x for x, _ in logs), sum(x for x, _ in side)
        # what falls from layer to layer has rules of its own, which name the weights
        if total < _TOGETHER or len(side) < _MANY or len(side) < _MOST * len(logs):
            return
        reached = context.measurements.weight_sites()[-1].forward.rms
        far_out = reached >= _FAR_OUT and total >= 0.5 * math.log(reached)
        middle, (_, worst) = math.exp(median(x for x, _ in side)), max(side, key=lambda pair: pair[0])
        followers = [p.follower for _, p in side]
        name = max(set(followers), key=followers.count)
        yield self.finding(
            "warning" if far_out else "note",
            [p.path for _, p in side],
            f"{len(side)} weights before {name} have {middle:.3g} times the std that keeps the signal (median): "
            f"all together make x{math.exp(together):.3g}.",
            _fix(worst),
            value=middle**2,
            threshold=math.exp(2 * _EACH),
            unit="Var(W) fan_in / gain^2",
            evidence={
                "systematic": not far_out,
                "compound": True,
                "accounts": _accounts(context.measurements, [together]),
            },
        )

    def _outweighed(self, context: Context) -> list[str]:
        share = self.limit(context, "outweighed")
        small = [m for m in biased_maps(context.measurements) if m.has_small_weights]
        return [m.weight.path for m in small if m.share_beyond(_STDS, either_sign=True) > share]


def _where_the_loss_shows_it(finding: Finding, off: list[MapSize], measurements: Measurements) -> Finding:
    """The finding, for outputs alone under a loss with a baseline: that tells whether they are too large."""
    alone = bool(off) and all(s.is_output for s in off) and not finding.evidence.get("systematic")
    if not alone or measurements.loss.baseline is None:
        return finding
    return replace(finding, severity="note", evidence={**finding.evidence, "only_beside": "loss"})


def _given_by(names: list[str], path: str) -> str:
    """Who gives a signal that is too small, where that is named first."""
    return "" if names[0] == path else f", given by {names[0]}: far too little"


def _larger(path: str) -> Fix:
    return Fix(text=f"draw {path} larger", code=INIT, recommends_start=True, recommends_scale=True)


def _as_large(path: str, *, drawn: bool) -> Fix:
    """A buffer is no draw of a plan: its maker scales it."""
    if not drawn:
        return Fix(text=f"make {path} as large as that signal", recommends_scale=True)
    return Fix(text=f"draw {path} as large as that signal", code=INIT, recommends_start=True, recommends_scale=True)


def _accounts(measurements: Measurements, logs: list[float]) -> list[str]:
    """The findings that the product of the ratios gives: at least half of what outputs or Jacobian are off by."""
    total, chi, outputs = sum(logs), chi_as_read(measurements), _excess_of_outputs(measurements.loss)
    wanted = {"L801": outputs, "S206": math.log(chi) / 2 if chi else 0.0}
    return [
        code for code, w in wanted.items() if abs(w) > math.log(2) and total * math.copysign(1.0, w) >= 0.5 * abs(w)
    ]


def _excess_of_outputs(loss: LossRecord) -> float:
    """Logarithm of the spread of logits over classes, or of the size of predictions beside targets of size one."""
    if loss.logit_std:
        return math.log(loss.logit_std)
    if loss.prediction is None or loss.targets is None or loss.prediction.rms <= 0:
        return 0.0
    return math.log(loss.prediction.rms / max(loss.targets.rms, 1.0))


def _fix(parameter: ParameterRecord) -> Fix:
    if parameter.fan_in is None:
        return Fix(text=f"draw {parameter.path} as its like in the other blocks", code=INIT, recommends_start=True)
    fan_in = f"{parameter.fan_in:.0f}"
    text = f"draw {parameter.path} with the std that its fan_in of {fan_in} and what it reads call for"
    return Fix(text=text, code=INIT, recommends_start=True)
