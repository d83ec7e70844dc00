"""Every parameter beside its gradient."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fanin.measure.quantities.moments import pack, unpack
from fanin.measure.quantities.symmetry import identical_rows
from fanin.measure.quantities.values import extremes, rows_apart
from fanin.measure.record import GradientState, ParameterRecord, Site, TensorStats
from fanin.measure.recorder import Recorder
from fanin.measure.virtual_step import gradient_state

__all__ = ["parameter_records"]


def parameter_records(
    model: torch.nn.Module,
    sites: tuple[Site, ...],
    gradients: Mapping[str, torch.Tensor | None],
    after: Mapping[str, GradientState],
    recorder: Recorder,
    leading: set[int],
) -> tuple[ParameterRecord, ...]:
    """One record a parameter, in the model's order; tied names stand with the first."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    owners = {f"{m}.{n}" if m else n: type(o).__name__ for m, o in model.named_modules() for n in o._parameters}
    reaching = {name for site in sites if site.index in leading for name in site.parameters}
    seen: dict[tuple[object, ...], str] = {}
    readers = {name: site for site in reversed(sites) if site.kind in ("weight", "norm") for name in site.parameters}
    found = []
    for name, parameter in model.named_parameters():
        clean, *tied = names[id(parameter)]
        reader = readers.get(clean)
        record = _record(parameter, gradients.get(name), reader)
        if record is not None:
            weight, gradient, rows, fans = record
            found.append(
                ParameterRecord(
                    path=clean,
                    tied=tuple(tied),
                    owner_class=owners.get(name, ""),
                    shape=tuple(parameter.shape),
                    dtype=str(parameter.dtype).removeprefix("torch."),
                    weight=weight,
                    requires_grad=parameter.requires_grad,
                    used=clean in recorder.used,
                    role=_role(clean, recorder, reader),
                    gradient=gradient,
                    state=gradient_state(parameter, gradients.get(name)),
                    state_after_step=after.get(name),
                    grad_over_weight=gradient.rms / weight.rms if gradient is not None and weight.rms > 0 else None,
                    identical_rows=rows,
                    fan_in=fans[0],
                    fan_out=fans[1],
                    follower=reader.follower if reader is not None else "",
                    reaches_loss=clean in reaching,
                    same_as=_first_equal(seen, clean, weight, tuple(parameter.shape)),
                    reader=None if reader is None else reader.index,
                    values=extremes(parameter),
                    rows_apart=rows_apart(parameter) if reader is not None and reader.kind == "weight" else None,
                )
            )
    return tuple(found)


def _role(path: str, recorder: Recorder, reader: Site | None) -> str:
    if path in recorder.gates:
        return "gate"
    return "recurrent" if reader is not None and reader.op.startswith(("lstm", "gru", "rnn_")) else ""


def _first_equal(seen: dict[tuple[object, ...], str], path: str, weight: TensorStats, shape: tuple[int, ...]) -> str:
    """The first parameter with these very numbers; random tensors do not share five float64 statistics by chance."""
    if weight.std == 0 or weight.numel < 16:
        return ""
    first = seen.setdefault((shape, weight.rms, weight.mean, weight.std, weight.min, weight.max), path)
    return "" if first == path else first


def _record(
    parameter: torch.nn.Parameter, gradient: torch.Tensor | None, reader: Site | None
) -> tuple[TensorStats, TensorStats | None, float | None, tuple[float | None, float | None]] | None:
    if not parameter.is_floating_point():
        return None
    weight = unpack(pack(parameter))
    if weight is None:
        return None
    reduced = None if gradient is None or gradient.layout is not torch.strided else unpack(pack(gradient))
    is_map = reader is not None and reader.kind == "weight" and parameter.dim() >= 2
    rows = identical_rows(parameter) if parameter.dim() >= 2 else None
    return weight, reduced, rows, _fans(parameter, reader) if is_map and reader is not None else (None, None)


def _fans(parameter: torch.nn.Parameter, reader: Site) -> tuple[float | None, float | None]:
    """fan_in and fan_out of the map as its operation uses it."""
    shape = tuple(parameter.shape)
    taps = parameter[0, 0].numel() if parameter.dim() > 2 else 1
    if reader.op == "linear" and parameter.dim() == 2:
        return float(shape[1]), float(shape[0])
    if reader.op.startswith(("lstm", "gru", "rnn_")):
        return float(shape[1]), float(shape[0])
    if reader.op.startswith("conv_transpose"):
        return float(shape[0] * taps), float(shape[1] * taps)
    if reader.op.startswith("conv"):
        return float(shape[1] * taps), float(shape[0] * taps)
    if reader.op in ("matmul", "mm", "addmm") and parameter.dim() == 2:
        out = reader.shape[-1]
        inner, outer = (shape[0], shape[1]) if shape[1] == out else (shape[1], shape[0])
        return float(inner), float(outer)
    return None, None
