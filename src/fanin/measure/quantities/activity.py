"""Units of a rectifier that are zero on the whole batch, and how many theory expects."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np
import torch

from fanin.measure.calls import Call
from fanin.measure.kinds import RECTIFIERS
from fanin.measure.quantities.cosine import cosine as cosine_between
from fanin.measure.record import Activity, Cosine
from fanin.measure.sampling import thinned

__all__ = ["activity", "activity_of", "expected_dead_share", "input_cosine"]

_POSITIONS = 1 << 17
_QUANTILES = 33


@functools.lru_cache(maxsize=1024)
def expected_dead_share(cosine: float, num_samples: int) -> float:
    r"""Share of zero-mean units that stay silent on all N samples.

    A unit's pre-activations on N samples are jointly Gaussian with correlation c, h_i = sqrt(c) z + sqrt(1 - c) e_i, so
    P(all <= 0) = E_z[Phi(-z sqrt(c / (1 - c)))^N] with z ~ N(0, 1).

    Args:
        cosine: mean cosine c of the pre-activations between samples; below 0 it counts as 0.
        num_samples: N >= 1.

    Accuracy:
        1e-6 absolute against 20-digit quadrature for c <= 0.999, N <= 4096.

    Source: an orthant probability of equicorrelated Gaussians (Steck and Owen 1962, Biometrika 49).

    Example:
        >>> round(expected_dead_share(0.0, 1), 3), round(expected_dead_share(0.5, 2), 4)
        (0.5, 0.3333)
    """
    c = min(max(cosine, 0.0), 1.0 - 1e-9)
    z = np.linspace(-9.0, 9.0, 4001)
    # torch's, not SciPy's, whose import takes a quarter of a second and 14 MB while the model's activations are held.
    log_phi = torch.special.log_ndtr(torch.from_numpy(-z * math.sqrt(c / (1.0 - c)))).numpy()
    density = np.exp(-0.5 * z * z + num_samples * log_phi) / math.sqrt(2.0 * math.pi)
    return float(np.sum((density[1:] + density[:-1]) * 0.5) * (z[1] - z[0]))


def activity(y: torch.Tensor, *, axis: int, num_samples: int, cosine: float | None) -> Activity | None:
    """Per-unit activity of the output of a rectifier.

    A unit counts as dead where no position of any sample is non-zero. Positions are thinned first; where that leaves
    more than a tenth of the units silent, every position is looked at.

    Args:
        y: output of the rectifier.
        axis: the axis that counts units.
        num_samples: independent samples in the batch.
        cosine: mean cosine of the rectifier's input between samples, None if unknown; a single sample needs none.
    """
    axis %= max(y.dim(), 1)
    cosine = 0.0 if num_samples == 1 else cosine
    if y.dim() < 2 or y.numel() == 0 or y.shape[axis] < 2:
        return None
    with torch.no_grad():
        part = thinned(y, max(_POSITIONS, 8 * y.shape[axis]), keep=(0, axis))
        share = _active_share(part, axis)
        if part.numel() < y.numel() and (share == 0).double().mean() > 0.1:
            share = _active_share(y.detach(), axis)
        levels = torch.linspace(0, 1, _QUANTILES, dtype=torch.float64, device=y.device)
        quantiles = torch.quantile(share[: 1 << 20], levels).tolist()
        dead = (share == 0).double().mean().item()
    return Activity(
        num_units=y.shape[axis],
        num_samples=num_samples,
        num_positions=y.numel() // y.shape[axis],
        dead_share=dead,
        expected_dead_share=None if cosine is None else expected_dead_share(round(cosine, 6), max(num_samples, 1)),
        active=tuple(quantiles),
    )


def _active_share(y: torch.Tensor, axis: int) -> torch.Tensor:
    others = [d for d in range(y.dim()) if d != axis]
    return (y != 0).double().mean(dim=others)


def input_cosine(call: Call) -> Cosine | None:
    """How similar the samples of a rectifier's input are; None for other operations."""
    samples = call.samples(call.input) if call.op in RECTIFIERS else None
    return None if samples is None else cosine_between(samples)


def activity_of(call: Call) -> Activity | None:
    """Activity of a rectifier's units; None for other operations."""
    if call.op not in RECTIFIERS:
        return None
    y, before = call.result, call.before.get("activity")
    axis = call.unit_axis if call.unit_axis is not None else (1 if y.dim() >= 4 else -1)
    likeness = before.mean if isinstance(before, Cosine) else None
    rows = y.numel() // max(y.shape[axis], 1) if y.dim() else 1  # fewer than the batch where data are routed
    samples = min(call.batch or y.shape[0], rows) if y.dim() else 1
    found = activity(y, axis=axis, num_samples=samples, cosine=likeness)
    return None if found is None else replace(found, reads=call.made_by)
