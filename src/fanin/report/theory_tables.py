"""Theory in the terminal: gains, curves over depth, depth scales, phases. Each holds its data, and rich prints it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from fanin.text.ascii import to_ascii
from fanin.text.columns import Column, columns
from fanin.text.names import one_line
from fanin.text.numbers import figures, fixed
from fanin.text.sparkline import sparkline

if TYPE_CHECKING:
    from fanin.theory.critical import CriticalPoint, KeptPoint
    from fanin.theory.depth import SignalCurves
    from fanin.theory.depth_scales import DepthScales
    from fanin.theory.overview import GainRow
    from fanin.theory.phase import PhaseDiagram

__all__ = ["CurveTables", "GainTable", "KeptTable", "PhasePicture", "ScaleTable"]

_Write = Callable[[str], str]
_SPARK: Final = 24
_WIDE: Final = 110  # columns that one line per activation needs
_GAIN_COLUMNS: Final = (
    ("forward", "forward"),
    ("backward", "backward"),
    ("between", "mean"),
    ("centred", "centred"),
    ("torch", "torch's"),
    ("mean", "E f"),
    ("second", "E f²"),
    ("dsecond", "E f'²"),
    ("chi_1", "χ₁"),
    ("c_map_0", "C(0)"),
    ("kappa", "κ"),
)
_CURVES: Final = (
    ("q, second moment of pre-activations", "q", "should stay the same"),
    ("1 - c of two inputs", "gap", "0: all inputs look alike"),
    ("gradient², relative to the last layer", "gradient", "read from right to left"),
)
_NO_LIMIT: Final = (
    "E f'² = ∞: the slope of the function grows without limit towards a point, so no gain keeps the size of a gradient."
)
_PHASES: Final = {-1: ("·", "blue"), 0: ("█", "bold"), 1: ("+", "red")}  # ordered, critical, chaotic


def _writer(options: ConsoleOptions) -> _Write:
    return to_ascii if options.ascii_only else str


@dataclass(frozen=True, slots=True)
class GainTable:
    """Gains and moments: one line per activation; one block each where the console is narrower than 110 columns.

    Attributes:
        rows: at least one, all at the same q.
    """

    rows: Sequence[GainRow]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table or the blocks, and what the columns mean."""
        write = _writer(options)
        if options.max_width < _WIDE:
            yield from (_gain_block(row, write) for row in self.rows)
        else:
            heads = [Column(title=heading, side="right") for _, heading in _GAIN_COLUMNS]
            cells = [(one_line(r.name), *(fixed(getattr(r, field)) for field, _ in _GAIN_COLUMNS)) for r in self.rows]
            yield columns("activation", heads, cells, width=options.max_width, write=write)
        note = f"z ~ N(0, {self.rows[0].q:g}); std of the weights = gain / sqrt(fan). χ₁ and C(0) at the forward gain."
        yield Text(write(note), style="dim")
        if any(r.dsecond == math.inf for r in self.rows):
            yield Text(write(_NO_LIMIT), style="dim")


def _gain_block(row: GainRow, write: _Write) -> Table:
    name = Text(write(one_line(row.name)))
    table = Table(box=None, title=name, title_justify="left", show_header=False, pad_edge=False)
    for field, heading in _GAIN_COLUMNS:
        table.add_row(Text(write(f"  {heading}")), write(fixed(getattr(row, field))))
    return table


@dataclass(frozen=True, slots=True)
class CurveTables:
    """q, 1 - c and the gradient at a few layers of every law, with a small plot of each over all layers.

    Attributes:
        curves: at least one, all of the same depth.
    """

    curves: Sequence[SignalCurves]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Three tables."""
        write = _writer(options)
        for heading, field, note in _CURVES:
            yield _curve_table(self.curves, f"{heading} ({note}); at layer", field, write, options)


def _curve_table(
    curves: Sequence[SignalCurves], title: str, field: str, write: _Write, options: ConsoleOptions
) -> RenderableType:
    places = _places(len(curves[0].q))
    last = len(places) - 1
    heads = [
        Column(title="over depth", rank=1),
        *(Column(title=f"{p + 1}", side="right", rank=2 if 0 < i < last else 0) for i, p in enumerate(places)),
    ]
    cells = [
        (
            one_line(curve.name),
            sparkline(getattr(curve, field).tolist(), _SPARK, plain=options.ascii_only),
            *(figures(float(getattr(curve, field)[p])) for p in places),
        )
        for curve in curves
    ]
    return Group(Text(write(title)), columns("law", heads, cells, width=options.max_width, write=write), Text())


def _places(depth: int) -> list[int]:
    """First, last, and up to three between."""
    return sorted({0, depth - 1, *(round((depth - 1) * share) for share in (0.1, 0.3, 0.6))} & set(range(depth)))


@dataclass(frozen=True, slots=True)
class ScaleTable:
    """Fixed points, slopes, depth scales, and the critical point if there is one.

    Attributes:
        scales: at one pair of variances.
        point: the critical point at the same variance of the bias.
    """

    scales: DepthScales
    point: CriticalPoint | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """One line a number: name, value, meaning."""
        yield _lines((*_scale_lines(self.scales), *_point_lines(self.point)), _writer(options))


@dataclass(frozen=True, slots=True)
class KeptTable:
    """What the gain does where an activation has no critical point.

    Attributes:
        point: the variance of the weights that keeps q, and its slopes.
    """

    point: KeptPoint

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """One line a number: name, value, meaning."""
        yield _lines(_kept_lines(self.point), _writer(options))


def _lines(rows: Sequence[tuple[str, str, str]], write: _Write) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for column in ("name", "value"):
        table.add_column(column, no_wrap=True)
    table.add_column("meaning")
    for name, value, meaning in rows:
        table.add_row(Text(write(f"  {name}")), Text(write(value)), Text(write(meaning), style="dim"))
    return table


def _kept_lines(point: KeptPoint) -> tuple[tuple[str, str, str], ...]:
    leaves = f"not stable: a deviation from q = {point.q:g} grows by e in {figures(point.layers_to_e_fold)} layers"
    return (
        ("χ₁", fixed(point.chi_1), "factor of the squared gradient per layer"),
        ("χ_q", fixed(point.chi_q), "q returns after a deviation" if point.stable else leaves),
    )


def _scale_lines(scales: DepthScales) -> tuple[tuple[str, str, str], ...]:
    return (
        ("phase", scales.phase, "by χ₁ against 1"),
        ("q*", fixed(scales.q_star), "value that q settles at"),
        ("c*", fixed(scales.c_star), "value that the correlation of two inputs settles at"),
        ("χ₁", fixed(scales.chi_1), "factor of the squared gradient per layer"),
        ("ξ_q", figures(scales.xi_q), "layers over which q settles"),
        ("ξ_c", figures(scales.xi_c), "layers over which the correlation settles"),
        ("6 ξ_c", figures(scales.trainable_depth), "layers that can be trained, about"),
    )


def _point_lines(point: CriticalPoint | None) -> tuple[tuple[str, str, str], ...]:
    if point is None:
        return ()
    unstable = "" if point.stable else "; not stable: q moves away from it"
    return (("critical", f"σ_w² = {fixed(point.sigma_w2)}", f"q* = {fixed(point.q_star)}{unstable}"),)


@dataclass(frozen=True, slots=True)
class PhasePicture:
    """The phase diagram in characters: σ_b² upwards, σ_w² to the right.

    Attributes:
        diagram: what to draw.
        rows: lines of the picture.
    """

    diagram: PhaseDiagram
    rows: int = 16

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Name, picture, axis, legend."""
        write, diagram = _writer(options), self.diagram
        columns = min(options.max_width - 12, 64)
        picked_w = np.linspace(0, diagram.sigma_w2.size - 1, columns).round().astype(int)
        picked_b = np.linspace(diagram.sigma_b2.size - 1, 0, self.rows).round().astype(int)
        phases = np.sign(diagram.chi_1 - 1.0).astype(int)
        yield Text(write(f"{one_line(diagram.name)}: phases"))
        for index in picked_b:
            line = Text(f"{diagram.sigma_b2[index]:9.3f} ")
            yield line.append_text(_phase_line(phases[index, picked_w].tolist(), write))
        axis, high = f"σ_w² {diagram.sigma_w2[0]:g}", f"{diagram.sigma_w2[-1]:g}"
        yield Text(write(f"    σ_b²  {axis}{high:>{columns - len(axis)}}"))
        yield Text(write("· ordered: gradients vanish   █ critical   + chaotic: gradients explode"), style="dim")


def _phase_line(phases: Sequence[int], write: _Write) -> Text:
    """One character a point; critical also where the phase differs from that of the point to the left."""
    line = Text()
    for place, phase in enumerate(phases):
        turns = place > 0 and phases[place - 1] != phase
        glyph, style = _PHASES[0 if turns else phase]
        line.append(write(glyph), style=style)
    return line
