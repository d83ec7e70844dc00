"""Further passes through the model, without instruments and through as few samples as will do.

The instrumented pass is the only one through the whole batch: what needs the model run again (the virtual step, the
Jacobian) sends the first samples through it, which costs a thirty-second of a batch of 32 each.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from fanin.measure.objective import primary
from fanin.measure.record import JacobianRecord, NormRecord, Site
from fanin.model.calling import call
from fanin.model.trees import map_tensors, tensors_in

__all__ = ["FEW", "enough_samples", "first_samples", "fresh", "probed_jacobian"]

FEW = 2  # samples of the Jacobian; the virtual step takes one
_PROBES = 4  # of small inputs; through large ones, where each costs a backward that can be felt, one a sample
_SMALL = 1 << 16
_VALUES = 16  # behind a statistic of the batch, below which the normalised signal is a matter of few samples


def fresh(inputs: Any, need_grad: bool) -> tuple[list[torch.Tensor], Any]:
    """Copies of the inputs (a model may write into them); floating ones behind a leaf that asks for a gradient.

    Where the caller's own tensor asks for one, so does its copy.
    """
    leaves: list[torch.Tensor] = []

    def copy(tensor: torch.Tensor, path: str) -> torch.Tensor:
        if not ((need_grad or tensor.requires_grad) and tensor.is_floating_point()):
            return _copied(tensor.detach())
        leaf = tensor.detach().requires_grad_()
        leaves.append(leaf)
        return _copied(leaf)

    return leaves, map_tensors(inputs, copy)


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    """A copy, which takes memory of its own only when it is written into, where torch can copy on write.

    Not where that would copy more than the tensor, because it is a part of something larger.
    """
    lazily: Callable[[torch.Tensor], torch.Tensor] | None = getattr(torch, "_lazy_clone", None)
    plain = tensor.layout is torch.strided and tensor.device.type in ("cpu", "cuda") and tensor.is_contiguous()
    if lazily is not None and plain and tensor.untyped_storage().nbytes() == tensor.numel() * tensor.itemsize:
        with contextlib.suppress(RuntimeError):  # memory that is not torch's own, say NumPy's
            return lazily(tensor)
    return tensor.clone()


def first_samples(inputs: Any, batch: int | None, few: int) -> Any | None:
    """The first `few` samples of the inputs, None where axis 0 does not count the batch in all of them."""
    tensors = [t for t in tensors_in(inputs) if t.dim()]
    if not tensors or batch is None or any(t.shape[0] != batch for t in tensors):
        return None
    return map_tensors(inputs, lambda t, path: t[:few] if t.dim() else t)


def enough_samples(norms: Iterable[NormRecord | None], batch: int | None, *, least: int = FEW) -> int:
    """How many samples it takes for every statistic over the batch to stand on 16 values, and at least so many."""
    shared = [n.values_per_statistic for n in norms if n is not None and n.training and n.kind == "batch_norm"]
    if not shared or not batch:
        return least
    return max(least, math.ceil(_VALUES * batch / max(min(shared), 1)))


def probed_jacobian(
    model: torch.nn.Module, inputs: Any, *, batch: int | None, sites: Sequence[Site], seed: int
) -> tuple[JacobianRecord | None, str]:
    """The mean squared gain chi from the first floating input to the output, by random vector-Jacobian products.

    Gaussian probes v, one to four of them, through the first two samples (more where a norm takes its statistics over
    the batch); with the batch on axis 0 of inputs and output every sample has a probe of its own. The relative error is
    read off the scatter of |J^T v|^2 / |v|^2.

    Returns:
        The record, and "" or the reason why there is none.
    """
    few = enough_samples((s.norm for s in sites), batch)
    leaves, inputs = fresh(first_samples(inputs, batch, few) if batch and few < batch else inputs, True)
    if not leaves:
        return None, "no floating input"
    torch.default_generator.manual_seed(seed)
    with torch.enable_grad():
        output = primary(call(model, inputs))
    if output is None or not output.requires_grad:
        return None, "the output does not depend on a floating input"
    ratios = _ratios(output, leaves[0], seed)
    if not ratios:
        return None, "the output does not depend on the first floating input"
    energy = sum(v for _, v in ratios)
    chi = sum(g for g, _ in ratios) / max(energy, 1e-300)
    scatter = sum((g - chi * v) ** 2 for g, v in ratios) * len(ratios) / max(len(ratios) - 1, 1)
    error = math.sqrt(scatter) / max(chi * energy, 1e-300) if math.isfinite(scatter) else math.nan
    return JacobianRecord(chi=chi, relative_error=error, num_probes=len(ratios)), ""


def _ratios(output: torch.Tensor, leaf: torch.Tensor, seed: int) -> list[tuple[float, float]]:
    """(|J^T v|^2, |v|^2) of every probe, and of every sample where samples are on axis 0 of both."""
    generator = torch.Generator().manual_seed(seed)
    paired = output.dim() > 0 and leaf.dim() > 0 and output.shape[0] == leaf.shape[0]
    found: list[tuple[float, float]] = []
    probes = _PROBES if leaf.numel() <= _SMALL or not paired else 1
    for probe in range(probes):
        v = torch.randn(output.shape, generator=generator).to(output)
        got = torch.autograd.grad(output, leaf, v, retain_graph=probe + 1 < probes, allow_unused=True)
        for g in got:
            found += [] if g is None else zip(_energies(g, paired), _energies(v, paired), strict=True)
    return found


def _energies(x: torch.Tensor, per_sample: bool) -> list[float]:
    rows = x.detach().reshape(x.shape[0] if per_sample else 1, -1).double()
    return list(rows.square().sum(1).tolist())
