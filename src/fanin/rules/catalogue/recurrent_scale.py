"""P506: recurrent weights that blow a state up, or saturate it, over the steps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from fanin.measure.kinds import BOUNDED
from fanin.measure.record import Measurements, ParameterRecord, Site
from fanin.model.operations import RECURRENT
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix, Severity
from fanin.rules.shared.gains import INIT
from fanin.rules.shared.sizes import without_biases
from fanin.text.numbers import counted

__all__ = ["RecurrentScale"]

_USUAL = 2.0  # of rms(W) sqrt(fan_in); torch's default has 0.58, an orthogonal start 1
_FAR = 5.0  # of a recurrent matrix: ten times torch's default, five times orthogonal
_ENTERS = 0.25  # of the input over all steps, up to which a gate is closed to it
_RELU = frozenset(("rnn_relu", "rnn_relu_cell"))


@dataclass(frozen=True, slots=True)
class _Loop:
    """A matrix of a recurrent layer, the operation that steps it, and how often."""

    weight: ParameterRecord
    site: Site
    steps: int
    reads: float  # rms of what the matrix multiplies

    @property
    def ratio(self) -> float:
        """rms(W) sqrt(fan_in): of a random square matrix, the spectral radius."""
        return self.weight.rms_read * math.sqrt(self.weight.fan_in or 1.0)

    @property
    def is_bounded(self) -> bool:
        return self.site.op not in _RELU

    @property
    def is_recurrent(self) -> bool:
        return self.weight.role == "rnn_hh"

    @property
    def is_large_loop(self) -> bool:
        """Whether a state is multiplied by a matrix far above the usual start, as the gradient is at every step."""
        return self.is_recurrent and self.ratio > _USUAL

    @property
    def added_std(self) -> float:
        """Std of what the matrix adds to a pre-activation."""
        return self.ratio * self.reads

    @property
    def log_growth(self) -> float:
        """Logarithm of the factor that the state's rms takes over the steps, for ReLU."""
        return 0.5 * self.steps * math.log(max(self.ratio**2 / 2.0, 1e-300))


@dataclass(frozen=True, slots=True)
class _Way:
    """A way through a cell that gates can close.

    Attributes:
        open_by: the letters of the gates, and the sign of a bias that opens it.
        said: what is left after a step.
        start: where the bias should start.
        over_steps: whether what passes adds up over the steps.
    """

    open_by: Mapping[str, float]
    said: str
    start: str
    over_steps: bool = False


_WAYS = (
    _Way(
        {"f": 1.0, "z": 1.0, "e": -1.0, "u": -1.0},
        "the gate that keeps the state has a bias of {mean:.3g} in {path}: {left:.2g} of the state is left after each "
        "step, and of its gradient.",
        "1 (a forget gate) or 0",
    ),
    _Way(
        {"i": 1.0, "z": -1.0, "u": 1.0},
        "the gate that lets the input in has a bias of {mean:.3g} in {path}: {left:.2g} of it enters the state at each "
        "step.",
        "0",
        over_steps=True,
    ),
    _Way(
        {"o": 1.0},
        "the gate that lets the state out has a bias of {mean:.3g} in {path}: {left:.2g} of the state is read, and "
        "of its gradient.",
        "0",
    ),
)


@dataclass(frozen=True, slots=True)
class _Biased:
    """A gate of one cell, the mean of what its biases give it, the bias that gives most, and how often it runs."""

    tag: str
    mean: float
    bias: ParameterRecord
    steps: int

    def passes(self, way: _Way) -> float:
        """What is let through at each step."""
        return 1.0 / (1.0 + math.exp(min(-way.open_by[self.tag] * self.mean, 700.0)))


def _loops(measurements: Measurements) -> list[_Loop]:
    fused = [p for p in measurements.parameters if p.is_recurrent and p.op in RECURRENT]
    matrices = {p.path: p for p in fused if p.is_map and p.weight.rms > 0}
    calls: dict[str, list[Site]] = {}
    for site in measurements.weight_sites():
        for name in set(site.parameters) & matrices.keys():
            calls.setdefault(name, []).append(site)
    found = []
    for name, sites in calls.items():
        last = sites[-1]
        reads = _input_rms(measurements, last) if name in _first_layer(measurements, last) else last.forward.rms
        if reads is not None and math.isfinite(reads) and not last.forward.any_nonfinite:
            found.append(_Loop(matrices[name], last, _steps(sites, measurements.batch_size or 1), reads))
    return found + list(_written_out(measurements))


def _written_out(measurements: Measurements) -> Iterator[_Loop]:
    """Matrices of cells that the model steps itself, before bounded activations: what each adds is an output."""
    matrices = [p for p in measurements.parameters if p.is_recurrent and p.is_map and p.op not in RECURRENT]
    for weight in (p for p in matrices if p.rms_read > 0):
        sites = [s for s in measurements.weight_sites() if weight.path in s.parameters]
        largest = max(sites, key=lambda s: s.forward.rms, default=None)
        if largest is None or largest.forward.any_nonfinite or not _meets(largest, measurements) <= BOUNDED.keys():
            continue
        ratio = weight.rms_read * math.sqrt(weight.fan_in or 1.0)
        yield _Loop(weight, largest, len(sites), without_biases(largest, measurements) / ratio)


def _meets(site: Site, measurements: Measurements) -> set[str]:
    """The operations other than sums that read an output, itself or summed with others."""
    sums, found = {site.index}, set[str]()
    for reader in (s for s in measurements.sites if s.index > site.index):  # in the order in which they ran
        if sums.intersection(reader.inputs):
            if reader.kind == "merge":
                sums.add(reader.index)
            else:
                found.add(reader.op)
    return found


def _steps(sites: list[Site], batch: int) -> int:
    return sum(max(1, math.prod(s.shape[:-1]) // batch) for s in sites)


def _first_layer(measurements: Measurements, site: Site) -> set[str]:
    """The matrices that read the input of the operation, one a direction; those of later layers read states.

    A layer with two directions gives twice as many numbers as one of its states has.
    """
    read = [p for p in measurements.parameters if p.path in site.parameters and p.is_recurrent]
    states = [p.shape[1] for p in read if p.role == "rnn_hh"]
    directions = site.shape[-1] // states[0] if states else 1
    return {p.path for p in [p for p in read if p.role == "rnn_ih"][: max(directions, 1)]}


def _input_rms(measurements: Measurements, site: Site) -> float | None:
    """Rms of what the operation reads from outside, None where it is unknown."""
    by_index = {s.index: s for s in measurements.sites}
    read = [s.forward.rms for i in site.inputs if (s := by_index.get(i)) is not None and s.path != site.path]
    given = [i.as_read.rms for i in measurements.inputs if i.floating]
    return max(read) if read else given[0] if given and -1 in site.inputs else None


class RecurrentScale(Rule):
    """Recurrent weights that blow a state up, or saturate it, over the steps.

    What it does:
        Compares the scale of the matrices of RNN, GRU and LSTM, and of cells that are written out step by step, with
        the largest at which their states neither grow nor saturate.

    Why:
        A state meets the same matrix at every step. Behind a ReLU its second moment grows by r^2 / 2 a step, r =
        rms(W_hh) sqrt(hidden); behind tanh and gates it cannot grow, but units saturate, and no gradient passes.

    What is measured:
        ReLU: the factor (r^2 / 2)^(steps / 2) of the state's rms; warning above 100, error above 1e4, as for depth
        (S202). Others: the std of what the state or the input adds to a pre-activation, r rms(h) or r rms(x); warning
        above 3, where half of the outputs of a tanh are on its flat part, error above 8, where four in five are. For a
        recurrent matrix with r above 2 the warning starts at 2, and with r above 5 at 1: gradients meet that matrix at
        every step too. torch's default gives r = 0.58, an orthogonal start r = 1. The bias of a gate, also of a cell
        that is written out step by step: warning where its mean is beyond 3, so that less than a twentieth of the state
        is left after each step (a forget gate, an update gate) or is read (an output gate), or of the input enters;
        that only where a quarter of it at most enters over all steps (a long memory starts with such gates).

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> class Last(nn.Module):
        ...     def forward(self, out):
        ...         return out[0][:, -1]
        >>> rnn = nn.LSTM(16, 64, batch_first=True)
        >>> model = nn.Sequential(rnn, Last(), nn.Linear(64, 10))
        >>> _ = nn.init.normal_(rnn.weight_hh_l0, std=2.0)
        >>> fanin.check(model, torch.randn(32, 20, 16), targets=torch.randint(0, 10, (32,))).findings[0].name
        'recurrent-scale'

    Fix:
        Orthogonal recurrent weights, gate by gate, the identity for a ReLU; input weights by Glorot.

    References:
        Pascanu, Mikolov and Bengio 2013 (arXiv 1211.5063, section 2); Le, Jaitly and Hinton 2015 (arXiv 1504.00941).
    """

    code: ClassVar[str] = "P506"
    name: ClassVar[str] = "recurrent-scale"
    thresholds: ClassVar[dict[str, float]] = {
        "growth-warning": 100.0,
        "growth-error": 1e4,
        "std-warning": 3.0,
        "state-warning": 2.0,
        "loop-warning": 1.0,
        "std-error": 8.0,
        "keep": 3.0,
    }
    source: ClassVar[str] = "Pascanu et al. 2013, arXiv 1211.5063"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a recurrent layer."""
        seen = context.measurements
        return None if _loops(seen) or _gates(seen) else "no recurrent layer ran"

    def check(self, context: Context) -> Iterator[Finding]:
        """One finding for states that grow, one for states that saturate, one for each way that is closed."""
        loops = _loops(context.measurements)
        yield from self._growing(context, [x for x in loops if not x.is_bounded and x.is_recurrent])
        yield from self._saturated(context, [x for x in loops if x.is_bounded])
        gates = _gates(context.measurements)
        for way in _WAYS:
            yield from self._closed(context, way, [g for g in gates if g.tag in way.open_by])

    def _growing(self, context: Context, loops: list[_Loop]) -> Iterator[Finding]:
        warning, error = self.limit(context, "growth-warning"), self.limit(context, "growth-error")
        off = sorted((x for x in loops if x.log_growth > math.log(warning)), key=lambda x: -x.log_growth)
        if not off:
            return
        worst, factor = off[0], math.exp(min(off[0].log_growth, 700.0))
        severe = factor > error
        yield self.finding(
            _severity(severe),
            [x.weight.path for x in off],
            f"{worst.weight.path} multiplies the rms of a ReLU state by {worst.ratio / math.sqrt(2.0):.3g} a step, "
            f"x{factor:.2g} over {counted(worst.steps, 'step')}.",
            Fix(
                text="start recurrent weights orthogonal, which gives them rms 1 / sqrt(hidden)",
                code=INIT,
                recommends_start=True,
            ),
            value=factor,
            threshold=error if severe else warning,
            unit="x over the steps",
        )

    def _saturated(self, context: Context, loops: list[_Loop]) -> Iterator[Finding]:
        limits = {x: self._limit(context, x) for x in loops}
        error = self.limit(context, "std-error")
        off = sorted((x for x in loops if x.added_std > limits[x]), key=lambda x: -x.added_std)
        if not off:
            return
        worst = off[0]
        severe = worst.added_std > error
        yield self.finding(
            _severity(severe),
            [x.weight.path for x in off],
            _words(worst, saturated=worst.added_std > self.limit(context, "state-warning")),
            Fix(
                text="start recurrent weights orthogonal, gate by gate, and input weights by Glorot",
                code=INIT,
                recommends_start=True,
            ),
            value=worst.added_std,
            threshold=error if severe else limits[worst],
            unit="std of a pre-activation",
            evidence={"signal": all(x.ratio <= _USUAL for x in off)},
        )

    def _limit(self, context: Context, loop: _Loop) -> float:
        if loop.is_recurrent and loop.ratio >= _FAR:
            return self.limit(context, "loop-warning")
        return self.limit(context, "state-warning" if loop.is_large_loop else "std-warning")

    def _closed(self, context: Context, way: _Way, gates: list[_Biased]) -> Iterator[Finding]:
        """Gates of one kind that let next to nothing through."""
        keep = self.limit(context, "keep")
        closed = [g for g in gates if g.mean * way.open_by[g.tag] < -keep]
        if way.over_steps:
            closed = [g for g in closed if g.steps > 1 and g.steps * g.passes(way) < _ENTERS]
        if not closed:
            return
        worst = min(closed, key=lambda g: g.passes(way))
        yield self.finding(
            "warning",
            list(dict.fromkeys(g.bias.path for g in closed)),
            way.said.format(mean=worst.mean, path=worst.bias.path, left=worst.passes(way)),
            Fix(text=f"start this bias at {way.start}", code=INIT, recommends_start=True),
            value=worst.mean,
            threshold=math.copysign(keep, worst.mean),
            unit="mean bias of the gate",
        )

    def beside(self, finding: Finding, others: Mapping[str, Severity]) -> Finding | None:
        """A note where the matrices are of usual size and another finding says why what they read is too large."""
        upstream = any(others.get(code, "note") != "note" for code in ("D101", "P502"))
        return replace(finding, severity="note") if finding.evidence.get("signal") and upstream else finding


def _words(worst: _Loop, *, saturated: bool) -> str:
    if not saturated:
        return (
            f"{worst.weight.path} has {worst.ratio:.3g} / sqrt(hidden) as its rms, where 1 is the most that is usual: "
            "the gradient meets it at every step."
        )
    return (
        f"the {'state' if worst.is_recurrent else 'input'} adds a std of {worst.added_std:.3g} to pre-activations "
        f"through {worst.weight.path}: units and gates are saturated."
    )


def _gates(measurements: Measurements) -> list[_Biased]:
    """The gates of each layer and direction, and of each bias of a cell that is written out."""
    calls = Counter(n for s in measurements.weight_sites() for n in s.parameters)
    found = []
    for biases in _together(measurements):
        steps = max(max(calls[p.path], len(p.added_to)) for p in biases)
        if (site := next((s for s in measurements.weight_sites() if s.index == biases[0].reader), None)) is not None:
            steps = max(steps, _steps([site], measurements.batch_size or 1))
        for i, own in enumerate(biases[0].gates):
            means = [p.gates[i].mean for p in biases]
            most = biases[max(range(len(means)), key=lambda n: abs(means[n]))]
            found.append(_Biased(own.gate.tag, sum(means), most, steps))
    return found


def _together(measurements: Measurements) -> Iterator[tuple[ParameterRecord, ...]]:
    """Biases whose sum a gate reads: torch adds two, of input and state, which follow each other."""
    by_owner: dict[str, list[ParameterRecord]] = {}
    for p in (p for p in measurements.parameters if p.gates):
        if p.op in RECURRENT:
            by_owner.setdefault(p.path.rpartition(".")[0], []).append(p)
        else:
            yield (p,)
    for biases in by_owner.values():
        yield from zip(biases[::2], biases[1::2], strict=False)


def _severity(severe: bool) -> Severity:
    return "error" if severe else "warning"
