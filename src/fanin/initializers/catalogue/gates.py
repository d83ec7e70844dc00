"""Biases of gated recurrent cells: the forget gate, and chrono."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fanin.errors import ArgumentError, ShapeError, UnknownNameError, did_you_mean
from fanin.initializers import sampling
from fanin.initializers.base import Array, EntryMoments, Initializer, finite
from fanin.initializers.blocks import pooled
from fanin.layout import Layout
from fanin.streams.dtypes import fill_dtype
from fanin.streams.keys import Key
from fanin.streams.sampling import sample
from fanin.streams.spec import Draw

__all__ = ["GATE_ORDERS", "ChronoBias", "ForgetBias", "gate_order"]

# Order of the gates along the bias. LSTM: i input, f forget, g cell candidate, o output. GRU: r reset, z update,
# n candidate; the update gate of all of these multiplies the old state, so it is the gate that remembers.
GATE_ORDERS: dict[tuple[str, str], str] = {
    ("torch", "lstm"): "ifgo",
    ("keras", "lstm"): "ifgo",
    ("haiku", "lstm"): "igfo",
    ("tensorflow1", "lstm"): "igfo",
    ("mxnet", "lstm"): "ifgo",
    ("paddle", "lstm"): "ifgo",
    ("cudnn", "lstm"): "ifgo",
    ("onnx", "lstm"): "iofg",
    ("torch", "gru"): "rzn",
    ("keras", "gru"): "zrn",
    ("mxnet", "gru"): "rzn",
    ("paddle", "gru"): "rzn",
    ("onnx", "gru"): "zrn",
}


def gate_order(framework: str, cell: str = "lstm") -> str:
    """The order of the gates in that framework's fused bias.

    Raises:
        UnknownNameError: no such pair in the table.

    Example:
        >>> gate_order("keras"), gate_order("torch", "gru")
        ('ifgo', 'rzn')
    """
    if (framework, cell) not in GATE_ORDERS:
        known = [f"{f} {c}" for f, c in GATE_ORDERS]
        raise UnknownNameError(f"no gate order for {framework} {cell}; {did_you_mean(f'{framework} {cell}', known)}")
    return GATE_ORDERS[framework, cell]


def _checked_order(order: str) -> str:
    if sorted(order) not in (sorted("ifgo"), sorted("rzn")):
        raise ArgumentError(
            f"order lists each gate once, 'i', 'f', 'g', 'o' for an LSTM or 'r', 'z', 'n' for a GRU; got {order!r}. "
            "gate_order('keras', 'lstm') looks it up."
        )
    return order


def _remembers(order: str) -> str:
    return "f" if "f" in order else "z"


def _gate_size(shape: Sequence[int], order: str, who: Initializer) -> int:
    if len(shape) != 1 or shape[0] % len(order) or not shape[0]:
        raise ShapeError(
            f"{who} fills a bias of {len(order)} gates side by side, of shape ({len(order)} x hidden,); got "
            f"{tuple(shape)}. For a bias with further axes fill each row by itself."
        )
    return shape[0] // len(order)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetBias(Initializer):
    """Zeros, but for the gate that keeps the state, whose bias is `value`: the cell remembers at the start.

    torch adds two biases, bias_ih and bias_hh: give one of them this law and the other Zeros. Units of a gate start
    identical (`breaks_symmetry` is False), as biases may.

    Args:
        value: bias of the forget gate of an LSTM (of the update gate of a GRU); sigmoid(1) = 0.73 is kept each step.
        order: the gates in the order of the bias; `gate_order` knows each framework's.

    Raises:
        ArgumentError: an order that does not list each gate once, or a value that is not finite.
        ShapeError: not a vector of as many equal gates.

    Peers: torch draws all biases from U(-1 / sqrt(hidden), 1 / sqrt(hidden)), so the forget bias is about 0; Keras sets
    it to 1 unless told otherwise; Flax' LSTM has no such option.

    Source: Gers, Schmidhuber, Cummins 2000 (Neural Computation 12(10)); Jozefowicz, Zaremba, Sutskever 2015 (ICML,
    section 2.2), who recommend 1.

    Example:
        >>> import fanin
        >>> ForgetBias(order=gate_order("torch")).sample((8,), key=fanin.key(0, "bias_ih_l0"))
        array([0., 0., 1., 1., 0., 0., 0., 0.], dtype=float32)
    """

    breaks_symmetry: ClassVar[bool] = False
    uncorrelated_inputs: ClassVar[bool] = False
    value: float = 1.0
    order: str = "ifgo"

    def __post_init__(self) -> None:
        finite("value", self.value)
        _checked_order(self.order)

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """Of a bias that is `value` in one gate out of all."""
        size, gates = _gate_size(shape, self.order, self), len(self.order)
        at, rest = EntryMoments(mean=self.value, var=0.0, bound=abs(self.value)), EntryMoments(var=0.0, bound=0.0)
        return pooled([(size, at), (size * (gates - 1), rest)])

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The bias."""
        size = _gate_size(shape, self.order, self)
        bias = np.zeros((len(self.order), size))
        bias[self.order.index(_remembers(self.order))] = self.value
        return sampling.cast(bias.reshape(-1), dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChronoBias(Initializer):
    """Chrono initialisation: units remember for times spread uniformly over the range of the task.

    Forget bias log(u) with u ~ U(1, t_max - 1), input bias -log(u), the other gates 0. Of a GRU the update gate gets
    log(u) and the others 0. torch adds two biases: give one of them this law and the other Zeros.

    Args:
        t_max: longest dependency of the task, in steps, > 2.
        order: the gates in the order of the bias; `gate_order` knows each framework's.

    Raises:
        ArgumentError: t_max <= 2, or an order that does not list each gate once.
        ShapeError: not a vector of as many equal gates.

    Source: Tallec and Ollivier 2018 (arXiv 1804.11188, eq. 16).

    Example:
        >>> import fanin
        >>> b = ChronoBias(t_max=100.0).sample((40,), key=fanin.key(0, "bias_ih_l0"))
        >>> bool((b[:10] == -b[10:20]).all()), bool((b[10:20] >= 0).all() and (b[10:20] <= 4.6).all())
        (True, True)
    """

    t_max: float
    order: str = "ifgo"

    def __post_init__(self) -> None:
        _checked_order(self.order)
        if not finite("t_max", self.t_max) > 2.0:
            raise ArgumentError(f"t_max must be > 2 steps; got {self.t_max!r}. For shorter tasks use ForgetBias.")

    def moments(self, shape: Sequence[int], layout: Layout | None = None) -> EntryMoments:
        """From E log(u) and E log(u)^2 of u ~ U(1, t_max - 1)."""
        size, b, end = _gate_size(shape, self.order, self), self.t_max - 1.0, math.log(self.t_max - 1.0)
        mean = (b * end - b + 1.0) / (b - 1.0)
        second = (b * end**2 - 2.0 * b * end + 2.0 * b - 2.0) / (b - 1.0)
        gate = EntryMoments(mean=mean, var=second - mean**2, bound=end)
        mirrored = EntryMoments(mean=-mean, var=gate.var, bound=end)
        rest = EntryMoments(var=0.0, bound=0.0)
        signs = [gate if g == _remembers(self.order) else mirrored if g == "i" else rest for g in self.order]
        return pooled((size, m) for m in signs)

    def values(self, shape: Sequence[int], layout: Layout | None, key: Key, dtype: str) -> Array:
        """The bias."""
        size = _gate_size(shape, self.order, self)
        half = (self.t_max - 2.0) / 2.0
        real = "float64" if fill_dtype(dtype).double else "float32"
        u = sample(Draw(kind="uniform", width=half, shift=1.0 + half), key, (size,), dtype=real)
        logs = np.log(u.astype(np.float64))
        bias = np.zeros((len(self.order), size))
        bias[self.order.index(_remembers(self.order))] = logs
        if "i" in self.order:
            bias[self.order.index("i")] = -logs
        return sampling.cast(bias.reshape(-1), dtype)
