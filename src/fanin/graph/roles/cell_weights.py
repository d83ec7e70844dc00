"""Weights and biases of recurrent cells that a model writes out step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fanin.graph.analysis.analysis import Analysis
from fanin.graph.analysis.loops import CellBias, CellMap, Run
from fanin.graph.ir import Parameter
from fanin.graph.roles.data import Loop, ParameterRole, Part
from fanin.graph.roles.layouts import fits, with_parts
from fanin.layout import Layout, fans

__all__ = ["cell_bias_role", "cell_weight_role"]

_BIASES = frozenset({"bias", "shift", "position"})


def cell_weight_role(analysis: Analysis, p: Parameter, plain: ParameterRole) -> ParameterRole:
    """The role of a weight of a cell, given its role as a weight alone."""
    cell, found = analysis.loops.maps[p.value]
    if not plain.layout_known:
        return plain
    parts = _parts(found.gates)
    layout = with_parts(replace(plain.layout, parts=1), parts, p.shape)
    counted = fans(p.shape, layout) if layout.in_axes and fits(layout, p) else None
    return replace(
        plain,
        role="rnn_hh" if found.reads == "state" else "rnn_ih",
        layout=layout,
        fan_in=counted.fan_in if counted else None,
        fan_out=counted.fan_out if counted else None,
        parts=_beside(parts),
        loop=Loop(cell=cell.number, steps=cell.steps, columns=_columns(plain, found), gates=_parts(found.gates)),
        reason=f"{_WORDS[found.reads]}{_gate_words(found.gates)}; {plain.reason}",
    )


_WORDS = {
    "state": "reads the state of a recurrent cell that is written out step by step",
    "input": "reads the input of a recurrent cell that is written out step by step",
}


def cell_bias_role(analysis: Analysis, p: Parameter, plain: ParameterRole) -> ParameterRole:
    """The role of a vector that is added to pre-activations of a cell; the shift of a norm stays one."""
    cell, found = analysis.loops.biases[p.value]
    if plain.role not in (*_BIASES, "norm_shift"):
        return plain
    parts = _parts(found.gates)
    return replace(
        plain,
        role="rnn_bias" if plain.role in _BIASES else plain.role,
        layout=_bias_layout(p, plain.layout, parts),
        parts=_beside(parts),
        owner=plain.owner or _owner(analysis, found),
        loop=Loop(
            cell=cell.number,
            steps=cell.steps,
            gates=parts,
            sets_gates=found.sets_gates,
            added=tuple(found.added.items()),
        ),
        reason=f"added to the pre-activations of a recurrent cell{_gate_words(found.gates)}; {plain.reason}",
    )


def _bias_layout(p: Parameter, layout: Layout, parts: tuple[Part, ...]) -> Layout:
    """The layout with its gates, where they are other ones than those of an LSTM or a GRU."""
    usual = sorted(part.tag for part in _beside(parts)) in (sorted("ifgo"), sorted("rzn"))
    return layout if usual else with_parts(layout, parts, p.shape)


def _beside(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The parts where there are several and these lie side by side, else ()."""
    return parts if len(parts) > 1 and all(part.step == 1 for part in parts) else ()


def _parts(runs: Sequence[Run]) -> tuple[Part, ...]:
    return tuple(Part(tag=r.tag, start=r.start, size=r.size, step=r.step) for r in runs)


def _columns(plain: ParameterRole, found: CellMap) -> tuple[Part, ...]:
    """The columns, where they add up to the one input axis of the weight."""
    axes = plain.layout.in_axes
    if len(axes) != 1 or plain.layout.groups > 1 or sum(r.size for r in found.columns) != plain.shape[axes[0]]:
        return ()
    return _parts(found.columns)


def _gate_words(runs: Sequence[Run]) -> str:
    order = ", ".join(r.tag for r in runs)
    return f", gates {order}" if len(runs) > 1 else f", gate {order}" if runs and order != "h" else ""


def _owner(analysis: Analysis, found: CellBias) -> str:
    links = next((ls for (_, w), ls in analysis.links.items() if w == found.owner), ())
    whole = [link for link in links if link.whole]
    return analysis.graph.values[whole[0].value].name if whole else ""
