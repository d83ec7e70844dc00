"""Theory on screen and on paper: the gain table, curves over depth, the phase diagram."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fanin.errors import TheoryError
from fanin.text.files import assert_place, figure_format, make_folder, write_figure
from fanin.text.numbers import MISSING, figures
from fanin.text.sparkline import sparkline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fanin.theory.activations import Activation
    from fanin.theory.critical import CriticalPoint
    from fanin.theory.depth import SignalCurves
    from fanin.theory.depth_scales import DepthScales
    from fanin.theory.overview import GainRow
    from fanin.theory.phase import PhaseDiagram

__all__ = [
    "assert_figure",
    "curves_figure",
    "gains_to_json",
    "phase_figure",
    "predict",
    "predict_phases",
    "save_figure",
    "show_curves",
    "show_gains",
    "show_phase",
    "show_scales",
]

_SPARK: Final = 24
# colour-blind safe (Okabe and Ito), in the order of their contrast on white
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES: Final = ("-", "--", "-.", ":", "-", "--", "-.")
_PHASES: Final = {-1: ("·", "blue", "ordered"), 0: ("█", "bold", "critical"), 1: ("+", "red", "chaotic")}


def _number(value: float | None, digits: int = 6) -> str:
    return (
        MISSING
        if value is None
        else f"{value:.{digits}f}"
        if 1e-4 <= abs(value) < 1e5 or value == 0
        else f"{value:.4g}"
    )


def show_gains(rows: Sequence[GainRow], *, console: Console) -> None:
    """Print one line per activation; where the console is narrow, one block."""
    q = rows[0].q
    if console.width < 110:
        for row in rows:
            console.print(_gain_block(row))
    else:
        console.print(_gain_table(rows))
    console.print(
        Text(f"z ~ N(0, {q:g}); std of the weights = gain / sqrt(fan). χ₁ and C(0) at the forward gain.", style="dim")
    )


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


def _gain_table(rows: Sequence[GainRow]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Gains", title_justify="left", pad_edge=False)
    table.add_column("activation", no_wrap=True)
    for _, heading in _GAIN_COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row.name, *(_number(getattr(row, field)) for field, _ in _GAIN_COLUMNS))
    return table


def _gain_block(row: GainRow) -> Table:
    table = Table(box=None, title=row.name, title_justify="left", show_header=False, pad_edge=False)
    for field, heading in _GAIN_COLUMNS:
        table.add_row(f"  {heading}", _number(getattr(row, field)))
    return table


def gains_to_json(rows: Sequence[GainRow]) -> str:
    """The rows as JSON, schema version 1.

    Example:
        >>> gains_to_json([])
        '{"schema": 1, "gains": []}'
    """
    return json.dumps({"schema": 1, "gains": [dataclasses.asdict(row) for row in rows]})


def show_curves(curves: Sequence[SignalCurves], *, console: Console) -> None:
    """Print q, 1 - c and the gradient at a few layers of every law, with a small plot of each over all layers."""
    for heading, field, note in (
        ("q, second moment of pre-activations", "q", "should stay of one size"),
        ("1 - c of two inputs", "gap", "0: all inputs look alike"),
        ("gradient², relative to the last layer", "gradient", "flows right to left"),
    ):
        console.print(_curve_table(curves, heading, field, note))


def _curve_table(curves: Sequence[SignalCurves], heading: str, field: str, note: str) -> Table:
    places = _places(len(curves[0].q))
    table = Table(box=box.SIMPLE_HEAD, title=f"{heading} ({note}); at layer", title_justify="left", pad_edge=False)
    table.add_column("law", no_wrap=True)
    table.add_column("over depth", no_wrap=True)
    for place in places:
        table.add_column(f"{place + 1}", justify="right", no_wrap=True)
    for curve in curves:
        values = getattr(curve, field)
        table.add_row(curve.name, sparkline(values.tolist(), _SPARK), *(figures(float(values[p])) for p in places))
    return table


def _places(depth: int) -> list[int]:
    """First, last, and up to three between."""
    return sorted({0, depth - 1, *(round((depth - 1) * share) for share in (0.1, 0.3, 0.6))} & set(range(depth)))


def show_scales(scales: DepthScales, point: CriticalPoint | None, *, console: Console) -> None:
    """Print fixed points, slopes, depth scales, and the critical point if there is one."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value, meaning in (
        ("phase", scales.phase, "by χ₁ against 1"),
        ("q*", _number(scales.q_star), "where q settles"),
        ("c*", _number(scales.c_star), "where the correlation of two inputs settles"),
        ("χ₁", _number(scales.chi_1), "squared gradient, per layer"),
        ("ξ_q", figures(scales.xi_q), "layers over which q settles"),
        ("ξ_c", figures(scales.xi_c), "layers over which two inputs settle"),
        ("6 ξ_c", figures(scales.trainable_depth), "layers that can be trained, about"),
    ):
        table.add_row(f"  {name}", value, Text(meaning, style="dim"))
    if point is not None:
        found = f"σ_w² = {_number(point.sigma_w2)}, q* = {_number(point.q_star)}"
        table.add_row(
            "  critical", found, Text("" if point.stable else "not stable: q drifts away from it", style="dim")
        )
    console.print(table)


def show_phase(diagram: PhaseDiagram, *, console: Console, rows: int = 16) -> None:
    """Print the phase diagram in characters, σ_b² upwards, σ_w² to the right."""
    columns = min(console.width - 12, 64)
    picked_w = np.linspace(0, diagram.sigma_w2.size - 1, columns).round().astype(int)
    picked_b = np.linspace(diagram.sigma_b2.size - 1, 0, rows).round().astype(int)
    side = np.sign(diagram.chi_1 - 1.0).astype(int)
    console.print(Text(f"{diagram.name}: phases"))
    for index in picked_b:
        line = Text(f"{diagram.sigma_b2[index]:9.3f} ")
        cells = side[index, picked_w]
        for place, cell in enumerate(cells):
            turns = place > 0 and cells[place - 1] != cell
            glyph, style, _ = _PHASES[0 if turns else int(cell)]
            line.append(glyph, style=style)
        console.print(line)
    low, high = diagram.sigma_w2[0], diagram.sigma_w2[-1]
    axis = f"σ_w² {low:g}"
    console.print(f"    σ_b²  {axis}{f'{high:g}':>{columns - len(axis)}}")
    console.print(Text("· ordered: gradients vanish   █ critical   + chaotic: gradients explode", style="dim"))


def curves_figure(curves: Sequence[SignalCurves], *, title: str) -> Figure:
    """Three panels over depth: q, 1 - c, gradient; logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 8.4), layout="constrained")
    panels = figure.subplots(3, 1, sharex=True)
    labels = ("q (pre-activations)", "1 − c (two inputs)", "gradient², relative to last layer")
    for axes, field, label in zip(panels, ("q", "gap", "gradient"), labels, strict=True):
        for index, curve in enumerate(curves):
            values = np.asarray(getattr(curve, field))
            _line(axes, np.arange(1, values.size + 1), values, curve.name, index)
        axes.set_yscale("log")
        axes.set_ylabel(label)
        axes.grid(visible=True, alpha=0.25)
        _widen(axes)
    panels[-1].set_xlabel("layer")
    panels[0].set_title(title)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _line(axes: Axes, x: NDArray[np.int64], values: NDArray[np.float64], name: str, index: int) -> None:
    shown = np.where(values > 0.0, values, np.nan)  # an exact zero has no place on a logarithmic axis
    colour, dash = _COLOURS[index % len(_COLOURS)], _DASHES[index % len(_DASHES)]
    axes.plot(x, shown, dash, color=colour, label=name, linewidth=1.8)


def _widen(axes: Axes) -> None:
    """At least one decade, so that rounding is not drawn as drama."""
    low, high = axes.get_ylim()
    if high / low < 10.0:
        middle = (low * high) ** 0.5
        axes.set_ylim(middle / 10**0.5, middle * 10**0.5)


def phase_figure(diagram: PhaseDiagram, *, line: Sequence[CriticalPoint] = ()) -> Figure:
    """log10 of chi_1 over (σ_w², σ_b²), the critical line in black, depth scales as contours."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    axes = figure.subplots()
    log_chi = np.log10(np.maximum(diagram.chi_1, 1e-12))
    bound = max(float(np.nanpercentile(np.abs(log_chi), 85)), 1e-3)
    mesh = axes.pcolormesh(
        diagram.sigma_w2,
        diagram.sigma_b2,
        log_chi,
        cmap="RdBu_r",
        vmin=-bound,
        vmax=bound,
        shading="nearest",
        rasterized=True,
    )
    figure.colorbar(mesh, ax=axes, label="log₁₀ χ₁   (blue: ordered, red: chaotic)")
    if log_chi.min() < 0.0 < log_chi.max():
        axes.contour(diagram.sigma_w2, diagram.sigma_b2, log_chi, levels=[0.0], colors="black", linewidths=2.0)
    with np.errstate(invalid="ignore"):
        contours = axes.contour(
            diagram.sigma_w2, diagram.sigma_b2, np.minimum(diagram.depth_scale(), 1e4), levels=[5, 20], colors="black",
            linewidths=0.6, linestyles="dashed",
        )  # fmt: skip
    axes.clabel(contours, fmt=lambda v: f"{v:g} layers", fontsize=7)
    if line:
        axes.plot([p.sigma_w2 for p in line], [p.sigma_b2 for p in line], "k.", markersize=5)
    axes.set_xlabel(r"$\sigma_w^2$ = fan_in Var(w)")
    axes.set_ylabel(r"$\sigma_b^2$ = Var(b)")
    axes.set_title(f"{diagram.name}: χ₁ at q*; the thick line is critical")
    return figure


def assert_figure(path: Path) -> None:
    """Check, before any work, that `save_figure` can write there; the folder is made where it is missing.

    Raises:
        ArgumentError: the ending names no format of figures.
        OutputError: the file cannot be written.
    """
    figure_format(path)
    make_folder(path.parent)
    assert_place(path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure; the ending of the name chooses the format (png, svg, pdf)."""
    make_folder(path.parent)
    write_figure(path, figure)


def predict(
    act: Activation,
    *,
    depth: int,
    width: int,
    laws: Sequence[str],
    sigma_w2: float | None,
    sigma_b2: float,
    c0: float,
    plot: Path | None,
    console: Console,
) -> None:
    """The command ``fanin theory``: curves over depth for the laws, scales for sigma_w2 or the critical point."""
    from fanin.theory.critical import critical_point
    from fanin.theory.depth_scales import depth_scales
    from fanin.theory.overview import law_curves

    curves, without = law_curves(act, depth=depth, width=width, laws=laws, sigma_b2=sigma_b2, sigma_w2=sigma_w2, c0=c0)
    try:
        point = critical_point(act, sigma_b2=sigma_b2)
    except TheoryError:
        point = None
    console.print(Text(f"{act}, {depth} layers of {width} units, σ_b² = {sigma_b2:g}", style="bold"))
    at = sigma_w2 if sigma_w2 is not None else point.sigma_w2 if point is not None else None
    if at is not None:
        console.print(Text(f"at σ_w² = {at:g}:"))
        show_scales(depth_scales(act, sigma_w2=at, sigma_b2=sigma_b2), point, console=console)
    if curves:
        show_curves(curves, console=console)
    for line in without:
        console.print(Text(f"no curve: {line}", style="yellow"))
    if plot is not None and curves:
        save_figure(curves_figure(curves, title=f"{act}: predicted over depth"), plot)
        console.print(Text(f"figure: {plot}", style="dim"))


def predict_phases(
    act: Activation,
    *,
    grid: int,
    sigma_w2: float | None,
    sigma_b2: float,
    plot: Path | None,
    console: Console,
) -> None:
    """The command ``fanin theory --phase-diagram``: up to the given variances, else around the critical line."""
    from fanin.theory.moments import gaussian_moments
    from fanin.theory.phase import phase_diagram

    if grid < 2:
        raise TheoryError(f"a phase diagram needs at least 2 points on each axis, got --grid {grid}")
    widest = sigma_w2 if sigma_w2 is not None else 2.5 / max(gaussian_moments(act).dsecond, 1e-6)
    highest = sigma_b2 if sigma_b2 > 0.0 else 0.5
    diagram = phase_diagram(
        act, sigma_w2=np.linspace(widest / grid, widest, grid), sigma_b2=np.linspace(0.0, highest, grid)
    )
    show_phase(diagram, console=console)
    if plot is not None:
        save_figure(phase_figure(diagram), plot)
        console.print(Text(f"figure: {plot}", style="dim"))
