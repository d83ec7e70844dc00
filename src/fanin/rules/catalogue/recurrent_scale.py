"""P506: recurrent weights that blow a state up, or saturate it, over the steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from fanin.measure.record import Measurements, ParameterRecord, Site
from fanin.model.operations import RECURRENT
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix, Severity
from fanin.rules.shared.gains import INIT
from fanin.text.numbers import counted

__all__ = ["RecurrentScale"]

_USUAL = 2.0  # of rms(W) sqrt(fan_in); torch's default has 0.58, an orthogonal start 1
_FAR = 5.0  # of a recurrent matrix: ten times torch's default, five times orthogonal
_KEEPS = 1  # the gate that multiplies the state before: f of i f g o, z of r z n
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
        Compares the scale of the matrices of RNN, GRU and LSTM with the largest at which their states neither grow nor
        saturate.

    Why:
        A state meets the same matrix at every step. Behind a ReLU its second moment grows by r^2 / 2 a step, r =
        rms(W_hh) sqrt(hidden); behind tanh and gates it cannot grow, but units saturate, and no gradient passes.

    What is measured:
        ReLU: the factor (r^2 / 2)^(steps / 2) of the state's rms; warning above 100, error above 1e4, as for depth
        (S202). Others: the std of what the state or the input adds to a pre-activation, r rms(h) or r rms(x); warning
        above 3, where half of the outputs of a tanh are on its flat part, error above 8, where four in five are. For a
        recurrent matrix with r above 2 the warning starts at 2, and with r above 5 at 1: gradients meet that matrix at
        every step too. torch's default gives r = 0.58, an orthogonal start r = 1. The bias of the gate that keeps the
        state (the forget gate of an LSTM, the update gate of a GRU): warning where its mean is below -3, so that less
        than a twentieth of the state is left after each step.

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
        return None if _loops(context.measurements) else "no recurrent layer ran"

    def check(self, context: Context) -> Iterator[Finding]:
        """One finding for states that grow, one for states that saturate, one for states that are forgotten."""
        loops = _loops(context.measurements)
        yield from self._growing(context, [x for x in loops if not x.is_bounded and x.is_recurrent])
        yield from self._saturated(context, [x for x in loops if x.is_bounded])
        yield from self._forgotten(context)

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

    def _forgotten(self, context: Context) -> Iterator[Finding]:
        """States of which next to nothing is left after a step."""
        gates = [
            (mean, bias) for mean, bias in _keeping_gates(context.measurements) if mean < -self.limit(context, "keep")
        ]
        if not gates:
            return
        mean, worst = min(gates, key=lambda g: g[0])
        left = 1.0 / (1.0 + math.exp(-max(mean, -700.0)))
        yield self.finding(
            "warning",
            list(dict.fromkeys(bias.path for _, bias in gates)),
            f"the gate that keeps the state has a bias of {mean:.3g} in {worst.path}: {left:.2g} of the state is left "
            "after each step, and of its gradient.",
            Fix(text="start this bias at 1 (a forget gate) or 0", code=INIT, recommends_start=True),
            value=mean,
            threshold=-self.limit(context, "keep"),
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


def _keeping_gates(measurements: Measurements) -> list[tuple[float, ParameterRecord]]:
    """Mean bias of the gate that keeps the state, of each layer and direction, and the bias that gives most of it.

    Torch adds two biases, of input and state, which follow each other.
    """
    by_owner: dict[str, list[ParameterRecord]] = {}
    for p in measurements.parameters:
        if p.gate_means:
            by_owner.setdefault(p.path.rpartition(".")[0], []).append(p)
    found = []
    for biases in by_owner.values():
        for pair in zip(biases[::2], biases[1::2], strict=False):
            means = [p.gate_means[_KEEPS] for p in pair]
            found.append((sum(means), pair[means.index(min(means))]))
    return found


def _severity(severe: bool) -> Severity:
    return "error" if severe else "warning"
