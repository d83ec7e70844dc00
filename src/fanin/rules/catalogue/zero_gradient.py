"""G402: gradients that are zero and stay zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from fanin.measure.kinds import SITE_NORMS
from fanin.measure.record import ParameterRecord
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.gains import INIT
from fanin.rules.shared.locked import Locked, Shut, locked_maps, shut_maps
from fanin.text.numbers import counted

__all__ = ["ZeroGradient"]


_START = Fix(text="give the weights a random start; look upstream for dead units", code=INIT, recommends_start=True)
_NO_BIAS = Fix(
    text="none needed; without these biases the model computes the same", code="torch.nn.Linear(n, m, bias=False)"
)


def _cancels(bias: ParameterRecord, parameters: Sequence[ParameterRecord]) -> bool:
    """A bias whose own weight is trained: it is added on both sides of a difference, or taken off again."""
    owner = bias.path.rpartition(".")[0]
    others = [p for p in parameters if p.path.rpartition(".")[0] == owner and p.is_map]
    return bias.role == "bias" and bool(others) and all(p.state == "nonzero" for p in others)


def _multiplies(parameter: ParameterRecord) -> bool:
    """A vector that scales a signal: the gain of a norm, or a factor written out."""
    return parameter.role not in ("bias", "norm_shift", "shift") and (parameter.gate or parameter.op in SITE_NORMS)


class ZeroGradient(Rule):
    """Gradients that are zero and stay zero.

    What it does:
        Lists parameters whose gradient is exactly zero at step zero and still zero after virtual steps, pairs of
        all-zero maps on one path, and all-zero maps that are the only way to others behind them.

    Why:
        A gate that is closed by design opens after one step; a network whose units are dead, or whose weights are zero
        on both sides, does not. Such parameters never move. Where biases are not zero, two zero maps on one path do
        move, but slowly: the second one reads the same numbers for all samples and passes no gradient to the first, so
        that SGD stays at the average of the targets for hundreds of steps.

    What is measured:
        Gradient exactly zero on all elements at step zero and after up to three virtual steps of 1 % taken on a copy.
        A note for biases alone beside weights that are trained: what they add cancels (two towers that are compared).
        A warning for all-zero maps whose input comes through another all-zero map alone, which has no gradient yet, and
        for an all-zero map or table through which alone a trained map sees the inputs: until it has moved, that map
        reads the same numbers for every sample. What is added to a signal, multiplied with it, or an output may be
        zero: the last map of a residual branch, LoRA's second factor, ControlNet's convolutions, a gate, a head.
        A note for recurrent weights of which only the first time step is used, where the state is zero.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        >>> for parameter in model.parameters():
        ...     _ = nn.init.zeros_(parameter)
        >>> x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
        >>> fanin.check(model, x, targets=y).findings[0].name
        'zero-gradient'

    Fix:
        Give at most one factor of a product a zero start: a zero last scale is fine, but not zero weights before it
        as well: then neither ever gets a gradient.

    References:
        Zhang, Dauphin and Ma 2019 (arXiv 1901.09321) for zero-init that works; Goyal et al. 2017 (arXiv 1706.02677),
        section 5.1.
    """

    code: ClassVar[str] = "G402"
    name: ClassVar[str] = "zero-gradient"
    thresholds: ClassVar[dict[str, float]] = {}
    source: ClassVar[str] = "Zhang et al. 2019, arXiv 1901.09321"

    def cannot_run(self, context: Context) -> str | None:
        """Needs a backward."""
        return context.measurements.missing.get("gradients")

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding of a kind."""
        stuck = [
            p for p in context.measurements.parameters if p.state == "zero" and p.state_after_step in ("zero", None)
        ]
        idle = [p for p in stuck if p.role == "rnn_hh"]
        stuck = [p for p in stuck if p not in idle]
        if idle:
            yield self._idle(idle)
        if stuck:
            yield self._stuck(context, stuck)
        named = {p.path for p in stuck}
        locked = [pair for pair in locked_maps(context.measurements) if pair.first not in named]
        if locked:
            yield self._locked(locked)
        named |= {name for pair in locked for name in (pair.first, pair.second)}
        shut = [s for s in shut_maps(context.measurements) if s.zero not in named]
        if shut:
            yield self._shut(shut)

    def _stuck(self, context: Context, stuck: list[ParameterRecord]) -> Finding:
        zeros = [p.path for p in stuck if p.weight.rms == 0 and (len(p.shape) >= 2 or _multiplies(p))]
        shut = {s.zero for s in shut_maps(context.measurements)}
        zeros.sort(key=lambda name: name not in shut)
        why = f"; {zeros[0]} is all zeros" + (f", and {len(zeros) - 1} more" if zeros[1:] else "") if zeros else ""
        total = sum(p.requires_grad for p in context.measurements.parameters)
        alone = not zeros and all(len(p.shape) < 2 for p in stuck)
        cancelled = all(_cancels(p, context.measurements.parameters) for p in stuck)
        why += ": what they add cancels before the loss" if cancelled else ""
        return self.finding(
            "note" if cancelled else "warning" if alone else "error",
            dict.fromkeys([*zeros, *(p.path for p in stuck)]),
            f"{len(stuck)} of {counted(total, 'parameter')} {'has' if len(stuck) == 1 else 'have'} zero gradient, "
            f"still after up to three trial updates on a copy{why}.",
            _NO_BIAS if cancelled else _START,
            value=len(stuck) / max(total, 1),
            unit="share of parameters",
        )

    def _locked(self, locked: Sequence[Locked]) -> Finding:
        names = dict.fromkeys([*sorted(pair.first for pair in locked), *(pair.second for pair in locked)])
        first, second = locked[0].first, locked[0].second
        return self.finding(
            "warning",
            names,
            f"{first} and {second} are both all zeros on one path: the second reads biases alone and passes no "
            "gradient to the first, so that training starts at the average of the targets and leaves it slowly.",
            Fix(
                text=f"keep at most one of them at zero: draw {first} at random",
                code=INIT,
                recommends_start=True,
            ),
            value=float(len(names)),
            unit="maps",
        )

    def _shut(self, shut: Sequence[Shut]) -> Finding:
        first = shut[0]
        more = f" and {len(first.readers) - 1} more" if first.readers[1:] else ""
        return self.finding(
            "warning",
            dict.fromkeys(s.zero for s in shut),
            f"{first.zero} is all zeros, and {first.readers[0]}{more} behind it "
            f"{'read' if more else 'reads'} nothing else: the same numbers for every sample until it has moved.",
            Fix(text=f"draw {first.zero} at random", code=INIT, recommends_start=True),
            value=float(len(shut)),
            unit="maps",
        )

    def _idle(self, idle: list[ParameterRecord]) -> Finding:
        return self.finding(
            "note",
            [p.path for p in idle],
            f"{len(idle)} recurrent weights get no gradient: the output uses only the first time step of this "
            "direction, where the state is still zero.",
            Fix(text="read the other end of the reverse direction too", code="torch.cat([h[-2], h[-1]], -1)"),
            value=float(len(idle)),
            unit="parameters",
        )
