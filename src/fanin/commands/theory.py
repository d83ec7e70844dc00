"""``fanin theory``: predict signals and gradients over depth, or map the phases of an activation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from fanin.errors import TheoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.figure import Figure
    from rich.console import Console

    from fanin.theory.activations import Activation

_T = TypeVar("_T")

__all__ = ["predict", "predict_phases", "theory"]


def theory(
    phi: Annotated[
        str, typer.Option(help="Activation: a name (gelu, 'leaky_relu(0.2)'), file.py:function or module:function.")
    ] = "tanh",
    sigma_w2: Annotated[
        float | None, typer.Option(help="Also predict for weights of this fan_in Var(w), beside the laws.")
    ] = None,
    sigma_b2: Annotated[float, typer.Option(help="Variance of the bias.")] = 0.0,
    depth: Annotated[int, typer.Option(help="Number of layers.")] = 50,
    width: Annotated[int, typer.Option(help="Units of each layer.")] = 1024,
    law: Annotated[list[str] | None, typer.Option(help="Classic law to compare. May be repeated.")] = None,
    c0: Annotated[float, typer.Option(help="Correlation of two inputs at the first layer.")] = 0.5,
    plot: Annotated[Path | None, typer.Option(help="Also write the figure here (.png, .svg or .pdf).")] = None,
    phase_diagram: Annotated[
        bool, typer.Option("--phase-diagram", help="Map chi_1 over the variances of weights and biases instead.")
    ] = False,
    grid: Annotated[int, typer.Option(help="Points on each axis of the phase diagram.")] = 200,
) -> None:
    """Predict signals and gradients over depth; no model is run."""
    from rich.console import Console

    from fanin.commands.targets import load_activation

    if plot is not None:
        _assert_figure(plot)
    act, console = load_activation(phi), Console(highlight=False)
    if phase_diagram:
        predict_phases(act, grid=grid, sigma_w2=sigma_w2, sigma_b2=sigma_b2, plot=plot, console=console)
    else:
        laws = law or ["he", "glorot", "classic_uniform"]
        predict(
            act,
            depth=depth,
            width=width,
            laws=laws,
            sigma_w2=sigma_w2,
            sigma_b2=sigma_b2,
            c0=c0,
            plot=plot,
            console=console,
        )


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
    """Print scales at `sigma_w2`, else at the critical point, else at the gain; curves over depth; the figure."""
    from rich.text import Text

    from fanin.report.theory_figures import curves_figure
    from fanin.report.theory_tables import CurveTables, KeptTable, ScaleTable
    from fanin.text.names import one_line
    from fanin.theory.critical import critical_point, kept_point
    from fanin.theory.depth_scales import depth_scales
    from fanin.theory.overview import law_curves

    curves, without = law_curves(act, depth=depth, width=width, laws=laws, sigma_b2=sigma_b2, sigma_w2=sigma_w2, c0=c0)
    point, kept = _or_none(lambda: critical_point(act, sigma_b2=sigma_b2)), _or_none(lambda: kept_point(act))
    name = one_line(act)
    console.print(Text(f"{name}, {depth} layers of {width} units, σ_b² = {sigma_b2:g}", style="bold"))
    at = sigma_w2 if sigma_w2 is not None else point.sigma_w2 if point is not None else math.nan
    scales = None
    if sigma_w2 is not None:
        scales = depth_scales(act, sigma_w2=at, sigma_b2=sigma_b2)
    elif point is not None:  # q may grow without bound from where signals start
        scales = _or_none(lambda: depth_scales(act, sigma_w2=at, sigma_b2=sigma_b2))
    if scales is not None:
        console.print(Text(f"at σ_w² = {at:g}:"))
        console.print(ScaleTable(scales, point))
    elif kept is not None:
        console.print(Text(f"at σ_w² = {kept.sigma_w2:.6g} = gain², which keeps q = 1 without a bias:"))
        console.print(KeptTable(kept))
    if curves:
        console.print(CurveTables(curves))
    for line in without:
        console.print(Text(f"no curve: {one_line(line)}", style="yellow"))
    if plot is not None and curves:
        _save(curves_figure(curves, title=f"{name}: predicted over depth"), plot, console)


def _or_none(compute: Callable[[], _T]) -> _T | None:
    try:
        return compute()
    except TheoryError:
        return None


def predict_phases(
    act: Activation,
    *,
    grid: int,
    sigma_w2: float | None,
    sigma_b2: float,
    plot: Path | None,
    console: Console,
) -> None:
    """Print the phases up to the given variances, else around the critical line; write the figure."""
    import numpy as np

    from fanin.report.theory_figures import phase_figure
    from fanin.report.theory_tables import PhasePicture
    from fanin.theory.moments import gaussian_moments
    from fanin.theory.phase import phase_diagram

    if grid < 2:
        raise TheoryError(f"a phase diagram needs at least 2 points on each axis, got --grid {grid}")
    widest = sigma_w2 if sigma_w2 is not None else 2.5 / max(gaussian_moments(act).dsecond, 1e-6)
    highest = sigma_b2 if sigma_b2 > 0.0 else 0.5
    diagram = phase_diagram(
        act, sigma_w2=np.linspace(widest / grid, widest, grid), sigma_b2=np.linspace(0.0, highest, grid)
    )
    console.print(PhasePicture(diagram))
    if plot is not None:
        _save(phase_figure(diagram), plot, console)


def _assert_figure(plot: Path) -> None:
    """Check, before any work, that the figure can be written."""
    from fanin.text.figures import assert_can_draw
    from fanin.text.files import assert_place, figure_format

    figure_format(plot)
    assert_can_draw()
    assert_place(plot)


def _save(figure: Figure, plot: Path, console: Console) -> None:
    from rich.text import Text

    from fanin.text.files import write_figure
    from fanin.text.names import clean

    write_figure(plot, figure)
    console.print(Text(f"figure: {clean(plot)}", style="dim"))
