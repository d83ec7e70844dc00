"""Every parameter beside its gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate

import torch

from fanin.layout import Layout
from fanin.measure.quantities.moments import pack, unpack
from fanin.measure.quantities.spectral import spectral_ratio, step_ratio
from fanin.measure.quantities.symmetry import identical_rows, stay_equal
from fanin.measure.quantities.values import extremes, rows_apart
from fanin.measure.record import GateMean, GradientState, ParameterRecord, RowsApart, Site, TensorStats
from fanin.measure.recorder import PassRecorder
from fanin.measure.sampling import rms
from fanin.measure.task import FirstStep
from fanin.measure.virtual_step import gradient_state
from fanin.model.reading import Reading
from fanin.model.roles import TOKENS, Gate, Seen, fans_or_none, stacked_gates
from fanin.tensors.values import readable

__all__ = ["parameter_records"]


def parameter_records(
    reading: Reading,
    seen: Mapping[str, Seen],
    sites: tuple[Site, ...],
    gradients: Mapping[str, torch.Tensor | None],
    after: Mapping[str, GradientState],
    recorder: PassRecorder,
    leading: set[int],
    first_step: FirstStep | None = None,
    *,
    sized: bool = True,
) -> tuple[ParameterRecord, ...]:
    """One record a parameter, in the model's order; tied names are in the record of the first.

    Args:
        reading: the model as it was read.
        seen: what the captured graph says of each parameter; the module that owns it, or the operation that reads it,
            tells of those that are missing.
        sites: what was measured.
        gradients: by first qualified name.
        after: state of the gradient after a virtual step, where one was taken.
        recorder: of the pass.
        leading: indices of the sites that lead to the loss.
        first_step: what the first step of the optimizer changes; None where that is not known.
        sized: whether the gradients have the size that they have in training: that of a random cotangent has not.
    """
    reaching = {name for site in sites if site.index in leading for name in site.parameters}
    readers = {name: site for site in reversed(sites) if site.kind in ("weight", "norm") for name in site.parameters}
    earlier: dict[tuple[object, ...], str] = {}
    found = []
    for name, slot in reading.slots.items():
        measured = _measured(slot.tensor, gradients.get(name))
        if measured is None:
            continue
        weight, gradient = measured
        known = seen.get(name) or _without_graph(name, reading, recorder)
        fans = fans_or_none(reading.shape(name), known.layout)
        reader = readers.get(name)
        is_map = reader is not None and reader.kind == "weight"
        layout = known.layout if is_map else None
        moved = _moved(slot.tensor, gradients.get(name), layout, first_step)
        added = tuple(sorted(recorder.products.added_to.get(name, ())))
        found.append(
            ParameterRecord(
                path=name,
                tied=slot.aliases,
                owner_class=reading.owners[name].class_name,
                shape=slot.shape,
                dtype=slot.dtype,
                weight=weight,
                requires_grad=slot.tensor.requires_grad,
                used=name in recorder.used,
                role=known.role,
                role_from=known.source,
                layout=known.layout,
                fan_in=fans.fan_in if fans else None,
                fan_out=fans.fan_out if fans else None,
                gradient=gradient,
                state=_state(slot.tensor, gradients.get(name), gradient),
                state_after_step=after.get(name),
                grad_over_weight=gradient.rms / weight.rms if gradient is not None and weight.rms > 0 else None,
                identical_rows=identical_rows(slot.tensor, (layout.out_axes if layout else ()) or (0,)),
                stays_equal=known.role in TOKENS and stay_equal(slot.tensor, gradients.get(name)),
                op=reader.op if reader is not None else "",
                follower=reader.follower if reader is not None else "",
                gate=name in recorder.gates,
                scale=recorder.products.scales.get(name),
                elementwise=recorder.elementwise.found.get(name),
                added_to=added,
                reaches_loss=name in reaching,
                same_as=_first_equal(earlier, name, weight, slot.shape),
                reader=None if reader is None else reader.index,
                values=extremes(slot.tensor),
                rows_apart=_rows_apart(slot.tensor, layout) if is_map or added or known.role in TOKENS else None,
                gates=_gates(slot.tensor, known, reader),
                spectral=spectral_ratio(slot.tensor, layout),
                first_step=moved.spectral if sized else None,
                update=moved.update,
                update_at_peak=moved.at_peak,
                effective=recorder.effective.get(name),
            )
        )
    return tuple(found)


def _rows_apart(weight: torch.Tensor, layout: Layout | None) -> RowsApart | None:
    """Rows unlike the others of their own part: query, key and value that lie in one weight may differ in scale."""
    sizes = layout.part_sizes(weight.shape) if layout is not None and layout.out_axes == (0,) else ()
    if len(sizes) < 2 or sum(sizes) != len(weight):
        return rows_apart(weight)
    starts = [0, *accumulate(sizes)]
    parts = [(start, rows_apart(part)) for start, part in zip(starts, torch.split(weight, list(sizes)), strict=False)]
    found = [replace(r, first=r.first + start, last=r.last + start) for start, r in parts if r is not None]
    return max(found, key=lambda r: abs(math.log(r.ratio)), default=None)


def _gates(bias: torch.Tensor, known: Seen, reader: Site | None) -> tuple[GateMean, ...]:
    """The mean over each gate of the bias of a recurrent cell; by torch's order where only the module is known."""
    if known.role != "rnn_bias" or bias.dim() != 1:
        return ()
    numbers, op = bias.detach().double(), "" if reader is None else reader.op
    gates = known.gates or tuple(Gate.of(p) for p in stacked_gates(op, len(numbers)))
    means = [numbers[g.start : g.start + g.size * g.step : g.step].mean().item() + g.added for g in gates]
    return tuple(GateMean(gate=gate, mean=mean) for gate, mean in zip(gates, means, strict=True))


def _state(parameter: torch.Tensor, gradient: torch.Tensor | None, stats: TensorStats | None) -> GradientState:
    """What the gradient is, by its statistics where they tell."""
    known = parameter.requires_grad and stats is not None and not stats.any_nonfinite and bool(stats.norm)
    return "nonzero" if known else gradient_state(parameter, gradient)


@dataclass(frozen=True, slots=True)
class _Moved:
    """What the first step changes, over the weight: by the spectral norm, and by the rms, now and at the peak rate."""

    spectral: float | None = None
    update: float | None = None
    at_peak: float | None = None


def _moved(
    parameter: torch.Tensor, gradient: torch.Tensor | None, layout: Layout | None, step: FirstStep | None
) -> _Moved:
    if step is None or gradient is None or layout is None or not parameter.requires_grad:
        return _Moved()
    made = step(parameter, gradient)
    if made is None:
        return _Moved()
    change, share = made
    size, spectral = rms(parameter), step_ratio(parameter, change, layout)
    update = rms(change) / size if size > 0.0 else math.nan
    return _Moved(
        spectral=None if spectral is None else share * spectral,
        update=share * update if math.isfinite(update) else None,
        at_peak=update if math.isfinite(update) else None,
    )


def _without_graph(name: str, reading: Reading, recorder: PassRecorder) -> Seen:
    """By the module that owns it, of a bare parameter by the operation that reads it; no layout where none tells."""
    owned = reading.owners[name].seen
    if owned.role != "unknown":
        return owned
    bare = replace(owned, layout=owned.layout if len(reading.shape(name)) < 2 else None)
    return recorder.seen.get(name, bare)


def _measured(parameter: torch.Tensor, gradient: torch.Tensor | None) -> tuple[TensorStats, TensorStats | None] | None:
    """Statistics of a parameter and of its gradient; None for one that holds no floating numbers."""
    if not parameter.is_floating_point():
        return None
    weight = unpack(pack(parameter)) if readable(parameter) else None
    if weight is None:
        return None
    reduced = None if gradient is None or gradient.layout is not torch.strided else unpack(pack(gradient))
    return weight, reduced


def _first_equal(seen: dict[tuple[object, ...], str], path: str, weight: TensorStats, shape: tuple[int, ...]) -> str:
    """The first parameter with these very numbers; random tensors do not share five float64 statistics by chance."""
    if weight.std == 0 or weight.numel < 16:
        return ""
    first = seen.setdefault((shape, weight.rms, weight.mean, weight.std, weight.min, weight.max), path)
    return "" if first == path else first
