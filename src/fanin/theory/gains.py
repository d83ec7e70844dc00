"""The gain of an activation: what the weights' standard deviation is multiplied by to keep a signal's size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from fanin.errors import ArgumentError, TheoryError, UnknownNameError, did_you_mean, sentence
from fanin.theory.activations import Activation
from fanin.theory.callables import ActivationLike, resolve
from fanin.theory.moments import Moments, gaussian_moments

__all__ = ["Direction", "gain", "torch_gain"]

Direction: TypeAlias = Literal["forward", "backward", "mean"]

# what must be 1 / gain^2 for the size to be kept
_RECEIVED: Mapping[str, Callable[[Moments, float], float]] = MappingProxyType(
    {
        "forward": lambda m, q: m.second / q,
        "backward": lambda m, q: m.dsecond,
        "mean": lambda m, q: 0.5 * (m.second / q + m.dsecond),
    }
)
_FLAT: Final = 1e-20  # relative to E f^2 / q: a slope that is nothing but rounding


def gain(
    phi: ActivationLike,
    *,
    direction: Direction = "forward",
    q: float = 1.0,
    centred: bool = False,
    like: Literal["torch"] | None = None,
) -> float:
    r"""Gain of an activation: std of the weights = gain / sqrt(fan).

    Forward, :math:`g^2 = q / E f(z)^2`; backward, :math:`g^2 = 1 / E f'(z)^2`; mean, :math:`g^2` is the harmonic mean
    of the two, as Glorot's rule is of the two fans. :math:`z \sim \mathcal{N}(0, q)`.

    Args:
        phi: name, `Activation`, NumPy or torch callable, or activation module.
        direction: ``"forward"`` keeps q, with fan_in; ``"backward"`` keeps the gradient, with fan_out (or with fan_in,
            at equal widths); ``"mean"`` in between.
        q: variance of the pre-activation, > 0.
        centred: use the variance of f(z) in place of its second moment: the gain for weights whose rows sum to zero
            (weight standardisation; Brock et al. 2021, arXiv 2101.08692, call it gamma).
        like: ``"torch"`` gives the number of ``torch.nn.init.calculate_gain``, a convention rather than a moment (tanh
            is 5/3).

    Returns:
        The gain, > 0, no unit.

    Raises:
        TheoryError: the moment is 0 (a constant function forward, a step function backward) or infinite (sqrt|x|
            backward, whose slope grows without limit towards 0), so no gain keeps the size.
        ArgumentError: unknown direction or ``like``.

    Accuracy:
        1e-10 relative (tests/theory/test_moments.py); the table of 18 activations of the field to all digits printed
        there.

    Source:
        He et al. 2015, arXiv 1502.01852, eq. 10 for relu; Klambauer et al. 2017, arXiv 1706.02515, for the general
        moment.

    Example:
        >>> gain("relu") == math.sqrt(2)
        True
        >>> round(gain("gelu"), 6), round(gain("gelu", direction="backward"), 6), round(gain("tanh", like="torch"), 6)
        (1.53353, 1.481114, 1.666667)
    """
    if like is not None:
        if like != "torch":
            raise ArgumentError(f"like must be None or 'torch', got {like!r}")
        return torch_gain(phi)
    if direction not in _RECEIVED:
        raise ArgumentError(f"direction must be one of {', '.join(map(repr, _RECEIVED))}, got {direction!r}")
    act = resolve(phi)
    received = _received(act, direction, q, centred)
    if not math.isfinite(received):
        raise TheoryError(
            f"no weight scale keeps the {direction} signal through {act}: E f'(z)^2 is infinite at q = {q:g}. Its "
            "slope grows without limit towards a point, so that the few inputs nearest to it decide how large a "
            "gradient is. Use a function whose slope is bounded, such as sqrt(|x| + 0.01) in place of sqrt(|x|)"
        )
    if received <= _FLAT * gaussian_moments(act, q=q).second / q:
        raise TheoryError(_no_gain(act, direction, q))
    return math.sqrt(1.0 / received)


def _received(act: Activation, direction: Direction, q: float, centred: bool) -> float:
    m = gaussian_moments(act, q=q)
    if not centred:
        return _RECEIVED[direction](m, q)
    if direction != "forward":
        raise ArgumentError(f"centred=True is about the forward pass; it has no meaning with direction={direction!r}")
    return m.var / q


def _no_gain(act: Activation, direction: Direction, q: float) -> str:
    what = "E f'(z)^2" if direction == "backward" else "the size of f(z)"
    return (
        f"no weight scale keeps the {direction} signal through {act}: {what} is 0 at q = {q:g}. "
        "A function that is constant there passes nothing on; use another activation or another q"
    )


def _leaky_gain(act: Activation) -> float:
    return math.sqrt(2.0 / (1.0 + dict(act.params)["negative_slope"] ** 2))


_TORCH_GAINS: Mapping[str, Callable[[Activation], float]] = MappingProxyType(
    {
        "linear": lambda act: 1.0,
        "sigmoid": lambda act: 1.0,
        "tanh": lambda act: 5.0 / 3.0,
        "relu": lambda act: math.sqrt(2.0),
        "leaky_relu": _leaky_gain,
        "selu": lambda act: 0.75,
    }
)


def torch_gain(phi: ActivationLike) -> float:
    """The number that ``torch.nn.init.calculate_gain`` gives, for the six activations that it knows.

    Raises:
        UnknownNameError: torch has no gain for it; leave ``like`` out to have it computed.

    Example:
        >>> torch_gain("selu")
        0.75
    """
    act = resolve(phi)
    if act.name not in _TORCH_GAINS:
        raise UnknownNameError(
            f"torch has no gain for {act.name!r}; {sentence(did_you_mean(act.name, _TORCH_GAINS))} "
            "Leave like out to have it computed for any activation"
        )
    return _TORCH_GAINS[act.name](act)
