"""What the command line shows: one row per activation, one set of curves per law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fanin.errors import TheoryError, UnknownNameError
from fanin.theory.bivariate import bivariate
from fanin.theory.callables import ActivationLike, resolve
from fanin.theory.critical import critical_point, kept_point
from fanin.theory.depth import DEEPEST, SignalCurves, propagate, propagate_law
from fanin.theory.gains import gain, torch_gain
from fanin.theory.laws import classic_law
from fanin.theory.moments import gaussian_moments

__all__ = ["GainRow", "gain_row", "law_curves"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GainRow:
    """Moments and gains of one activation at one q.

    Attributes:
        name: the activation.
        q: variance of the pre-activation.
        mean: E f.
        second: E f^2.
        dsecond: E f'^2.
        forward: gain that keeps q; None where no gain does.
        backward: gain that keeps the gradient; None where no gain does.
        between: their compromise; None where either is.
        centred: gain for weights with centred rows.
        chi_1: squared-gradient factor per layer at the forward gain.
        c_map_0: where the forward gain takes two uncorrelated inputs, E f1 f2 / E f^2.
        kappa: spread at finite width, Var log q = kappa / n per layer.
        torch: the number of torch's calculate_gain, None where torch has none.
        error: accuracy of the moments, relative.
    """

    name: str
    q: float
    mean: float
    second: float
    dsecond: float
    forward: float | None
    backward: float | None
    between: float | None
    centred: float | None
    chi_1: float
    c_map_0: float
    kappa: float
    torch: float | None
    error: float


def gain_row(phi: ActivationLike, *, q: float = 1.0) -> GainRow:
    """Everything about one activation's gain.

    Example:
        >>> row = gain_row("tanh")
        >>> round(row.forward, 6), round(row.backward, 6), round(row.chi_1, 6), round(row.torch, 4)
        (1.592537, 1.467414, 1.177807, 1.6667)
    """
    act = resolve(phi)
    m = gaussian_moments(act, q=q)

    def gain_or_none(**options: object) -> float | None:
        try:
            return gain(act, q=q, **options)  # type: ignore[arg-type]
        except TheoryError:
            return None

    try:
        theirs = torch_gain(act)
    except UnknownNameError:
        theirs = None
    return GainRow(
        name=str(act),
        q=q,
        mean=m.mean,
        second=m.second,
        dsecond=m.dsecond,
        forward=gain_or_none(),
        backward=gain_or_none(direction="backward"),
        between=gain_or_none(direction="mean"),
        centred=gain_or_none(centred=True),
        chi_1=q * m.dsecond / m.second if m.second > 0.0 else math.nan,
        c_map_0=bivariate(act, 0.0, q=q) / m.second if m.second > 0.0 else math.nan,
        kappa=m.kappa if m.second > 0.0 else math.nan,
        torch=theirs,
        error=m.error,
    )


def law_curves(
    phi: ActivationLike,
    *,
    depth: int,
    width: int,
    laws: Sequence[str],
    sigma_b2: float = 0.0,
    sigma_w2: float | None = None,
    q0: float = 1.0,
    c0: float = 0.5,
) -> tuple[list[SignalCurves], list[str]]:
    """Curves over depth: sigma_w2 (if given), the critical point at sigma_b2 (else the gain, no bias), classic laws.

    Args:
        phi: activation.
        depth: layers.
        width: units of every layer.
        laws: names of classic laws; they bring their own bias variance.
        sigma_b2: bias variance of the given sigma_w2 and of the critical point.
        sigma_w2: fan_in Var(w).
        q0: second moment of the first pre-activation.
        c0: correlation of the two inputs there.

    Returns:
        The curves, and a line for everything asked that has none, with the reason.

    Example:
        >>> curves, without = law_curves("relu", depth=3, width=64, laws=["he"], sigma_b2=0.1)
        >>> [c.name for c in curves], len(without)
        (['gain, σ_w² = 2', 'he'], 1)
    """
    if not 1 <= depth <= DEEPEST or width < 1:
        raise TheoryError(f"depth must be from 1 to {DEEPEST:,} and width >= 1, got depth={depth!r}, width={width!r}")
    act = resolve(phi)
    curves, without = [], []
    if sigma_w2 is not None:
        name = f"σ_w² = {sigma_w2:g}"
        curves.append(propagate(act, depth=depth, sigma_w2=sigma_w2, sigma_b2=sigma_b2, q0=q0, c0=c0, name=name))
    try:
        at = critical_point(act, sigma_b2=sigma_b2)
        start = at.q_star if at.q_star > 0.0 else q0
        name = f"critical, σ_w² = {at.sigma_w2:.6g}"
        curves.append(propagate(act, depth=depth, sigma_w2=at.sigma_w2, sigma_b2=sigma_b2, q0=start, c0=c0, name=name))
    except TheoryError as error:
        without.append(f"critical: {error}")
        try:
            kept = kept_point(act, q=q0)
            name = f"gain, σ_w² = {kept.sigma_w2:.6g}"
            curves.append(propagate(act, depth=depth, sigma_w2=kept.sigma_w2, q0=q0, c0=c0, name=name))
        except TheoryError as refused:
            without.append(f"gain: {refused}")
    for law in laws:
        classic_law(law)
        try:
            curves.append(propagate_law(act, law, widths=[width] * depth, q0=q0, c0=c0))
        except TheoryError as error:
            without.append(f"{law}: {error}")
    return curves, without
