"""Figures of theory: curves over depth, and the phase diagram. They draw what they are given and write no file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fanin.text.figures import empty_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fanin.theory.critical import CriticalPoint
    from fanin.theory.depth import SignalCurves
    from fanin.theory.phase import PhaseDiagram

__all__ = ["curves_figure", "phase_figure"]

# colour-blind safe (Okabe and Ito), in the order of their contrast on white
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES: Final = ("-", "--", "-.", ":", "-", "--", "-.")


def curves_figure(curves: Sequence[SignalCurves], *, title: str) -> Figure:
    """Three panels over depth: q, 1 - c, gradient; logarithmic."""
    figure = empty_figure(size=(7.2, 8.4))
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
    """At least one decade, so that rounding errors do not look like a trend."""
    low, high = axes.get_ylim()
    if high / low < 10.0:
        middle = (low * high) ** 0.5
        axes.set_ylim(middle / 10**0.5, middle * 10**0.5)


def phase_figure(diagram: PhaseDiagram, *, line: Sequence[CriticalPoint] = ()) -> Figure:
    """log10 of chi_1 over (σ_w², σ_b²), the critical line in black, depth scales as contours."""
    figure = empty_figure(size=(7.2, 5.4))
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
