"""T701: attention that looks at one key."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

from fanin.measure.record import Measurements, ParameterRecord, Site
from fanin.rules.base import Context, Rule
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.places import places, weights_of
from fanin.rules.shared.upstream import nearest_weights

__all__ = ["AttentionCondensed"]

_NEARLY_ONE_HOT = 0.3  # of the entropy of uniform attention
_LARGE_GAIN = 5.0  # of a norm, which starts at one: logits have its square


def _places(attention: Site, measurements: Measurements) -> list[str]:
    """Weights of query and key, those at least half as large as the largest; the attention where there are none."""
    rated = [(_size(s, measurements), s) for s in _maps(attention, measurements)]
    most = max((size for size, _ in rated), default=0.0)
    return places((s for size, s in rated if size >= most / 2), measurements) or [
        attention.path or attention.module_class
    ]


def _maps(attention: Site, measurements: Measurements) -> list[Site]:
    fused = attention.op != "softmax" and len(attention.inputs) > 2  # query, key, value
    return nearest_weights(attention.inputs[:2] if fused else attention.inputs, measurements)


def _large_gains(attention: Site, measurements: Measurements) -> list[ParameterRecord]:
    """Gains of the norms that query and key, or the maps that give them, read, where they are far above one."""
    by_index = {s.index: s for s in measurements.sites}
    by_path = {p.path: p for p in measurements.parameters}
    read = {*attention.inputs, *(i for s in _maps(attention, measurements) for i in s.inputs)}
    norms = [by_index[i] for i in sorted(read) if i in by_index and by_index[i].kind == "norm"]
    gains = [by_path[n] for s in norms for n in s.parameters if n in by_path and by_path[n].role != "bias"]
    return [g for g in gains if g.weight.rms >= _LARGE_GAIN]


def _size(site: Site, measurements: Measurements) -> float:
    return max((w.rms_read * math.sqrt(w.fan_in or 1.0) for w in weights_of(site, measurements)), default=0.0)


def _how_many(entropy: float) -> str:
    return ", so it is nearly one-hot" if entropy < _NEARLY_ONE_HOT else ""


class AttentionCondensed(Rule):
    """Attention that looks at one key.

    What it does:
        Measures the spread s of attention logits per head over the T visible keys, of the part that depends on the
        data: a bias that is added for every position (ALiBi, relative positions, masks) counts for nothing.

    Why:
        Softmax over Gaussian logits gives nearly all its weight to a few keys once s exceeds sqrt(2 ln T) (the freezing
        point of the random energy model). There gradients to query and key vanish, and training is known to be
        unstable.

    What is measured:
        s^2 / ln T of the worst head, where 2 s^2 is the variance of what differs between two samples (of a single
        sample, what is left when the mean of every diagonal is taken away): warning above 1 (entropy about half of
        ln T), error above 2. Healthy models are below 0.3; uniform attention (s near 0) is normal at step zero.

    Example:
        >>> import torch, fanin
        >>> from torch import nn
        >>> model = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        >>> with torch.no_grad():
        ...     _ = model.self_attn.in_proj_weight[:64].mul_(10)
        >>> fanin.check(model, torch.randn(8, 16, 32)).findings[0].name
        'attention-condensed'

    Fix:
        Divide logits by sqrt(head size), initialise query and key smaller, or normalise them (QK-norm).

    References:
        Derrida 1981 (random energy model), Zhai et al. 2023 (arXiv 2303.06296), Dehghani et al. 2023 (arXiv
        2302.05442).
    """

    code: ClassVar[str] = "T701"
    name: ClassVar[str] = "attention-condensed"
    thresholds: ClassVar[dict[str, float]] = {"warning": 1.0, "error": 2.0}
    source: ClassVar[str] = "Zhai et al. 2023, arXiv 2303.06296"

    def cannot_run(self, context: Context) -> str | None:
        """Needs attention over at least 8 keys."""
        return None if any(s.attention for s in context.measurements.sites) else "no attention over 8 or more keys"

    def check(self, context: Context) -> Iterator[Finding]:
        """At most one finding."""
        rated = [(max(s.attention.condensation), s) for s in context.measurements.sites if s.attention is not None]
        hot = sorted((r for r in rated if r[0] > self.limit(context, "warning")), key=lambda r: -r[0])
        if not hot:
            return
        value, site = hot[0]
        severe = value > self.limit(context, "error")
        gains = [g for _, s in hot for g in _large_gains(s, context.measurements)]
        seen = site.attention
        keys, entropy = (seen.num_keys, min(seen.entropy)) if seen is not None else (0, 0.0)
        yield self.finding(
            "error" if severe else "warning",
            dict.fromkeys([*(g.path for g in gains), *(p for _, s in hot for p in _places(s, context.measurements))]),
            f"attention logits have s^2 / ln T = {value:.3g} over {keys} keys: the softmax has {entropy:.0%} of the "
            f"entropy of uniform attention{_how_many(entropy)}."
            + (
                f" Query and key are computed from a norm whose {gains[0].path} has rms {gains[0].weight.rms:.3g}."
                if gains
                else ""
            ),
            Fix(
                text="divide by sqrt(head size), lower the std of query and key, or normalise them",
                code="scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5",
                recommends_start=True,
            ),
            value=value,
            threshold=self.limit(context, "error" if severe else "warning"),
            unit="s^2 / ln T",
            evidence={"sites": [s.index for _, s in hot], "values": [v for v, _ in hot]},
        )
