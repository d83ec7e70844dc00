"""What is assumed of a parameter: moments in place of its numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np

from fanin.errors import ArgumentError
from fanin.graph.ir import Op, Parameter
from fanin.initializers.base import Initializer
from fanin.layout import Layout
from fanin.memory import as_array
from fanin.moments.halves import halved_axes, measured_in_halves
from fanin.moments.moments import JointMoments
from fanin.streams import key

__all__ = ["PlannedWeight", "WeightMoments", "WeightRule", "measured_weight", "planned_moments", "read_weights"]

_SAMPLE_CAP = 1 << 20
_PROBES = 6
_ALIKE = 0.1  # of the standard deviation 1.4 / sqrt(rows) of a matrix of independent entries, over six probes
_MEASURE_CAP = 1 << 22  # elements: above, the kernel of a weight is measured on a slice of its rows


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightMoments:
    """The law of one parameter, as far as propagation needs it.

    Attributes:
        var: variance of an entry about the mean.
        mean: mean of the entries.
        centred: dimensions along which each slice has mean zero exactly (weight standardization, centred laws).
        part_vars: for a weight made of parts along dimension 0 (q, k, v; gates): the variance of each part; empty:
            `var` everywhere.
        isometric: the matrix (rows of dimension 0) keeps the length of every vector up to one factor.
        values: the numbers themselves where they are known (small or live parameters); never needed.
        moments: the full kernel where it was measured; replaces all of the above.

    Example:
        >>> WeightMoments(var=0.04).to_moments((64, 32)).rms
        0.2
    """

    var: float = 0.0
    mean: float = 0.0
    centred: tuple[int, ...] = ()
    part_vars: tuple[float, ...] = ()
    isometric: bool = False
    values: Any = None
    moments: JointMoments | None = None

    def __post_init__(self) -> None:
        if self.var < 0.0 or any(v < 0.0 for v in self.part_vars):
            raise ArgumentError(
                f"variances must be >= 0; got var={self.var}, part_vars={self.part_vars}. For a standard deviation "
                f"pass its square."
            )

    def to_moments(self, shape: tuple[int, ...]) -> JointMoments:
        """The abstract tensor of that shape."""
        if self.moments is not None:
            return self.moments
        var = float(np.mean(self.part_vars)) if self.part_vars else self.var
        m = JointMoments.iid(shape, var=var, mean=self.mean)
        kernel = m.kernel.copy()
        for dim in self.centred:
            for axis in m.axes(dim):
                kernel[(1,) * axis + (0,) + (1,) * (kernel.ndim - axis - 1)] -= var / (m.sizes[axis] - 1)
        return m.with_kernel(kernel)

    @classmethod
    def measured(cls, values: Any) -> WeightMoments:
        """Moments of live numbers (a NumPy array), large ones on an even slice of their rows.

        Mirrored and copied halves are seen, and kept as such.
        """
        array = np.asarray(values)
        if halved := halved_axes(array):
            moments = measured_in_halves(array, halved, _MEASURE_CAP)
        elif array.size > _MEASURE_CAP and array.ndim > 1:
            step = -(-array.size // _MEASURE_CAP)
            part = JointMoments.measured(array[::step])
            moments = part.resized(0, array.shape[0])
        else:
            moments = JointMoments.measured(array)
        var = moments.second_moment - moments.mean * moments.mean
        return cls(
            var=max(var, 0.0), mean=moments.mean, isometric=_keeps_lengths(array), values=values, moments=moments
        )


def _keeps_lengths(array: np.ndarray[Any, np.dtype[Any]]) -> bool:
    """Whether random vectors are all stretched alike, far more so than by a matrix of independent entries.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> a = rng.normal(size=(32, 32))
        >>> _keeps_lengths(np.linalg.qr(a)[0]), _keeps_lengths(a)
        (True, False)
    """
    if array.ndim != 2 or min(array.shape) < _PROBES or array.size > _MEASURE_CAP or array.shape[0] < array.shape[1]:
        return False
    probes = np.random.default_rng(3).standard_normal((array.shape[1], _PROBES)).astype(array.dtype)
    ratios = np.square(array @ probes).sum(axis=0) / np.square(probes).sum(axis=0)
    return bool(ratios.mean() > 0.0 and np.ptp(ratios) < _ALIKE * ratios.mean() * array.shape[0] ** -0.5)


class PlannedWeight(Protocol):
    """What propagation reads of a plan's assignment: its law, or at least its standard deviation."""

    @property
    def initializer(self) -> Initializer | None:
        """The law, if there is one."""

    @property
    def layout(self) -> Layout | None:
        """What the axes mean."""

    @property
    def std(self) -> float | None:
        """Standard deviation of the realised law."""

    @property
    def scale(self) -> float:
        """What multiplies the law's values, in root mean square; it is part of `std`."""


def planned_moments(planned: WeightMoments | PlannedWeight, shape: tuple[int, ...]) -> WeightMoments:
    """Moments of a weight as they were given, or as a plan's assignment implies them.

    Laws whose inputs are correlated (centred, mirrored, identity) are measured on a sample where they are small enough.

    Example:
        >>> from types import SimpleNamespace
        >>> from fanin.initializers import he_normal
        >>> planned = SimpleNamespace(initializer=he_normal(), layout=None, std=None, scale=1.0)
        >>> round(planned_moments(planned, (64, 32)).var, 6)
        0.0625
    """
    if isinstance(planned, WeightMoments):
        return planned
    law = planned.initializer
    if law is None:
        if planned.std is None:
            raise ArgumentError(
                f"the assignment {planned!r} has neither a law nor a standard deviation. Give WeightMoments for this "
                "parameter, for example those that read_weights(model) reads off the live tensor."
            )
        return WeightMoments(var=planned.std**2)
    if not law.uncorrelated_inputs and 1 < math.prod(shape) <= _SAMPLE_CAP:
        values = law.sample(shape, key=key(0, "moments"), layout=planned.layout) * planned.scale
        return replace(WeightMoments.measured(values), values=None)
    entry = law.moments(shape, planned.layout)
    return WeightMoments(var=entry.var * planned.scale**2, mean=entry.mean * planned.scale)


WeightRule: TypeAlias = "Callable[[Parameter, Op, JointMoments | None], WeightMoments]"
"""Chooses a weight as the sweep reaches it.

Gets the parameter, the op that reads it and the moments of what it is applied to.
"""


def read_weights(model: Any) -> Mapping[str, WeightMoments]:
    """Moments of the live parameters of a torch model, by qualified name; those on the meta device are left out.

    Example:
        >>> import torch
        >>> round(read_weights(torch.nn.Linear(300, 300))["weight"].var * 900, 1)
        1.0
    """
    live = {name: p for name, p in model.named_parameters(remove_duplicate=False) if p.device.type != "meta"}
    return {name: measured_weight(p) for name, p in live.items() if p.numel()}


def measured_weight(tensor: Any) -> WeightMoments:
    """Moments of the numbers of a torch tensor; of a complex one those of its real parts, which no rule reads."""
    own = tensor.detach()
    return WeightMoments.measured(as_array((own.real if own.is_complex() else own).float().cpu()))
