"""The gain of the whole model: the mean squared singular value of its Jacobian, by random probes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from fanin.measure.few_samples import VALUES, enough_samples, first_samples, fresh
from fanin.measure.objective import primary
from fanin.measure.record import JacobianRecord, Site
from fanin.model.calling import call

__all__ = ["probed_jacobian"]

_PROBES = 4  # of small inputs; through large ones, where each costs a backward that can be felt, one a sample
_SMALL = 1 << 16
_USUAL = 1e3  # chi of networks that train lies within this factor of 1
_APART = 10.0  # factor between two values of chi that no chance explains


def probed_jacobian(
    model: torch.nn.Module,
    inputs: Any,
    *,
    batch: int | None,
    sites: Sequence[Site],
    seed: int,
    classes: int | None = None,
) -> tuple[JacobianRecord | None, str]:
    """The mean squared gain chi from the first floating input to the output, by random vector-Jacobian products.

    Gaussian probes v, one to four of them, through the first two samples (more where a norm takes its statistics over
    the batch, or where chi is not of ordinary size and more samples give another one); with the batch on axis 0 of
    inputs and output every sample has a probe of its own. The relative error is read off the scatter of
    |J^T v|^2 / |v|^2. Along the axis `classes`, where it is given, every probe sums to zero: what the outputs there
    share then counts for nothing.

    Returns:
        The record, and "" or the reason why there is none.
    """
    few = enough_samples((s.norm for s in sites), batch)
    found, why = _probed(model, inputs, batch, few, seed, classes)
    if found is None or few >= min(batch or 0, VALUES) or 1.0 / _USUAL <= found.chi <= _USUAL:
        return found, why
    more, _ = _probed(model, inputs, batch, VALUES, seed, classes)
    # A model may standardise over the batch by itself, and two samples are then -1 and 1 whatever they hold.
    by_few = more is not None and not 1.0 / _APART <= more.chi / max(found.chi, 1e-300) <= _APART
    return (more if by_few else found), why


def _probed(
    model: torch.nn.Module, inputs: Any, batch: int | None, few: int, seed: int, classes: int | None
) -> tuple[JacobianRecord | None, str]:
    leaves, inputs = fresh(first_samples(inputs, batch, few) if batch and few < batch else inputs, True)
    if not leaves:
        return None, "no floating input"
    torch.default_generator.manual_seed(seed)
    with torch.enable_grad():
        output = primary(call(model, inputs))
    if output is None or not output.requires_grad:
        return None, "the output does not depend on a floating input"
    ratios = _ratios(output, leaves[0], seed, classes)
    if not ratios:
        return None, "the output does not depend on the first floating input"
    energy = sum(v for _, v in ratios)
    chi = sum(g for g, _ in ratios) / max(energy, 1e-300)
    scatter = sum((g - chi * v) ** 2 for g, v in ratios) * len(ratios) / max(len(ratios) - 1, 1)
    error = math.sqrt(scatter) / max(chi * energy, 1e-300) if math.isfinite(scatter) else math.nan
    return JacobianRecord(chi=chi, relative_error=error, num_probes=len(ratios)), ""


def _ratios(
    output: torch.Tensor, leaf: torch.Tensor, seed: int, classes: int | None = None
) -> list[tuple[float, float]]:
    """(|J^T v|^2, |v|^2) of every probe, and of every sample where samples are on axis 0 of both."""
    generator = torch.Generator().manual_seed(seed)
    paired = output.dim() > 0 and leaf.dim() > 0 and output.shape[0] == leaf.shape[0]
    found: list[tuple[float, float]] = []
    probes = _PROBES if leaf.numel() <= _SMALL or not paired else 1
    for probe in range(probes):
        v = torch.randn(output.shape, generator=generator).to(output)
        if classes is not None and output.dim() > classes and output.shape[classes] > 1:
            v = v - v.mean(classes, keepdim=True)
        got = torch.autograd.grad(output, leaf, v, retain_graph=probe + 1 < probes, allow_unused=True)
        for g in got:
            found += [] if g is None else zip(_energies(g, paired), _energies(v, paired), strict=True)
    return found


def _energies(x: torch.Tensor, per_sample: bool) -> list[float]:
    rows = x.detach().reshape(x.shape[0] if per_sample else 1, -1).double()
    return list(rows.square().sum(1).tolist())
